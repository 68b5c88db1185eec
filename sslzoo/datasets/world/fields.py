"""How the fields of clips are kept: in few bytes that are read in milliseconds, with LZ4, each frame by itself.

================================= ============================================================================
``clip``                          as it is
``instances``, ``classes``        one byte
``contours``, ``visible``         one bit
``depth``                         16 bits of its logarithm: within 0.005 %; from 0.2 to 60 m, or infinite
``flow``                          16 bits: within 1/128 pixel, and at most 511 pixels
``normals``                       three bytes, to unit length when read: within 0.4 degrees
``sound``                         16 bits: within 1/65534 of full scale
``camera``, ``intrinsics``        float32
================================= ============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sslzoo.datasets.world.camera import FAR, NEAR
from sslzoo.views.clips import PER_FRAME

_INFINITE = np.iinfo(np.uint16).max
_NO_FLOW = np.iinfo(np.int16).min
_PER_PIXEL = 64


@dataclass(frozen=True)
class Form:
    """How a field is kept."""

    dtype: type[np.generic]
    """Of the array that is compressed."""
    pack: Callable[[NDArray], NDArray] = np.asarray
    """To that array."""
    unpack: Callable[[NDArray], NDArray] = np.asarray
    """From that array, which nobody else has."""


def encode(name: str, values: NDArray) -> bytes:
    """``values`` of a field, each frame compressed by itself, after the places in bytes where frames end, as int32.

    Of a frame first all low bytes come, then all high ones, where a number has two.
    """
    packed = FORMS[name].pack(values).astype(FORMS[name].dtype)
    frames = [_codec().compress(_bytes(frame), asbytes=True) for frame in (packed if name in PER_FRAME else [packed])]
    return np.cumsum([len(frame) for frame in frames], dtype=np.int32).tobytes() + b"".join(frames)


def _bytes(frame: NDArray) -> bytes:
    if frame.dtype == np.bool_:
        frame = np.packbits(frame)
    elif frame.itemsize == 2:
        frame = np.ascontiguousarray(frame.reshape(-1, 1).view(np.uint8).T)
    return frame.tobytes()


def decode(
    name: str, stored: pa.Buffer, shape: tuple[int, ...], frames: NDArray[np.integer] | slice = slice(None)
) -> NDArray:
    """The field of this ``shape`` again, or those ``frames`` of it, as an array of its own; no other frame is read."""
    if name not in PER_FRAME:
        return FORMS[name].unpack(_packed(name, stored, 1, shape, [0])[0])
    wanted = np.arange(shape[0])[frames].tolist()
    return FORMS[name].unpack(_packed(name, stored, shape[0], shape[1:], wanted))


def _packed(name: str, stored: pa.Buffer, count: int, shape: tuple[int, ...], wanted: list[int]) -> NDArray:
    """(``wanted``, *``shape``): some of the ``count`` frames as ``pack`` made them."""
    kind, numbers = np.dtype(FORMS[name].dtype), int(np.prod(shape))
    size = -(-numbers // 8) if kind == np.bool_ else numbers * kind.itemsize
    ends = [0, *np.frombuffer(stored, np.int32, count).tolist()]
    found = np.empty((len(wanted), size), np.uint8)
    for row, frame in zip(found, wanted, strict=True):
        block = stored.slice(4 * count + ends[frame], ends[frame + 1] - ends[frame])
        row[:] = np.frombuffer(_codec().decompress(block, size), np.uint8)
    if kind == np.bool_:
        found = np.unpackbits(found, axis=1, count=numbers)
    elif kind.itemsize == 2:
        low, high = found[:, :numbers], found[:, numbers:]
        found = high.astype(np.uint16)
        found <<= 8
        found |= low
    return found.view(kind).reshape(len(wanted), *shape)


@cache
def _codec() -> pa.Codec:
    return pa.Codec("lz4")


def _pack_depth(depth: NDArray) -> NDArray:
    near = np.where(np.isfinite(depth), depth, FAR).clip(NEAR, FAR)
    steps = np.round(np.log(near / NEAR) / np.log(FAR / NEAR) * (_INFINITE - 1))
    return np.where(np.isfinite(depth), steps, _INFINITE)


@cache
def _depths() -> NDArray[np.float32]:
    """(65536,) metres by what is kept."""
    depths = NEAR * (FAR / NEAR) ** (np.arange(_INFINITE + 1) / (_INFINITE - 1))
    depths[_INFINITE] = np.inf
    return depths.astype(np.float32)


def _pack_flow(flow: NDArray) -> NDArray:
    steps = np.round(np.nan_to_num(flow) * _PER_PIXEL).clip(1 - 2**15, 2**15 - 1)
    return np.where(np.isnan(flow), _NO_FLOW, steps)


def _unpack_flow(kept: NDArray) -> NDArray:
    flow = kept.astype(np.float32)
    flow /= _PER_PIXEL
    flow[kept == _NO_FLOW] = np.nan
    return flow


def _unpack_normals(kept: NDArray) -> NDArray:
    normals = kept.astype(np.float32)
    length = np.square(normals[:, 0])
    for part in (normals[:, 1], normals[:, 2]):
        length += part * part
    normals /= np.sqrt(np.maximum(length, 1, out=length), out=length)[:, None]
    return normals


FORMS = {
    "clip": Form(np.uint8),
    "depth": Form(np.uint16, _pack_depth, lambda kept: _depths().take(kept)),
    "normals": Form(np.int8, lambda normals: np.round(normals * 127), _unpack_normals),
    "instances": Form(np.uint8, unpack=lambda kept: kept.astype(np.int32)),
    "classes": Form(np.uint8),
    "contours": Form(np.bool_),
    "flow": Form(np.int16, _pack_flow, _unpack_flow),
    "visible": Form(np.bool_),
    "camera": Form(np.float32),
    "intrinsics": Form(np.float32),
    "sound": Form(np.int16, lambda sound: np.round(sound * 32767), lambda kept: kept.astype(np.float32) / 32767),
}
