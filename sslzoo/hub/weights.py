"""model.safetensors: tensors by name and nothing else. Nothing here can run code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sslzoo.config import UserError

WEIGHTS = "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".tar")

_ALIGNMENT = 64
_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16"} | {
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Names of number formats in the file."""
MOST_HEADER = 2**23
"""Bytes: enough for some fifty thousand tensors."""


def write_weights(state: Mapping[str, Tensor], path: Path) -> str:
    """Write a state dict, and return its sha256; tensors that share memory are written once for each name.

    The format leaves the order of tensors open. Here each one whose size allows it starts at a multiple of 64 bytes:
    transformers computes right on the mapped file, and some matrix products of a processor round differently on
    tensors that lie askew, so that the file would not give the same features through every door.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    order = sorted(tensors, key=lambda name: (tensors[name].nbytes % _ALIGNMENT > 0, -tensors[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        header[name] = {"dtype": _DTYPES[tensors[name].dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    parts: list[bytes | memoryview] = [
        len(text).to_bytes(8, "little") + text,
        *(_bytes_of(tensors[name]) for name in order),
    ]
    with path.open("wb") as file, ThreadPoolExecutor(1) as pool:
        digest = pool.submit(_digest, parts)
        file.writelines(parts)
    return digest.result()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.flatten().view(torch.uint8).numpy().data


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return sha256.hexdigest()


def weights_file(folder: Path) -> Path:
    """The weights in ``folder``.

    Raises:
        UserError: if there are none, or only pickled ones.
    """
    path = folder / WEIGHTS
    if path.is_file():
        return path
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES) if folder.is_dir() else []
    if pickles:
        raise UserError(
            f"{folder} has no {WEIGHTS}, only {', '.join(pickles)}, which can run code and are never opened; "
            "ask its author for safetensors"
        )
    raise UserError(f"{folder} has no {WEIGHTS}; it was not copied whole: fetch or save it again")


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a file, from its header alone.

    Raises:
        UserError: if the file is truncated, or its header does not fit its content.
    """
    with _reading(path):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU.

    Raises:
        UserError: if the file is truncated, or its header does not fit its content.
    """
    with _reading(path):
        return safetensors.torch.load_file(path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); fetch or save it again") from error


def check_fit(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], complaint: str) -> None:
    """Hold the shapes of a file's tensors against those of an encoder.

    Raises:
        UserError: ``complaint``, with the names of the tensors that are missing, unexpected, or of another shape.
    """
    wrong = [
        f"{name} is {found[name]} instead of {shape}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    troubles = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(found.keys() - wanted.keys()),
        "of the wrong shape": wrong,
    }
    text = "; ".join(f"{len(names)} {kind}: {few(names)}" for kind, names in troubles.items() if names)
    if text:
        raise UserError(f"{complaint} ({text})")


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def load_strictly(encoder: nn.Module, state: Mapping[str, Tensor], complaint: str, *, in_place: bool = False) -> None:
    """Give ``encoder`` exactly the tensors of ``state``, in its own number formats.

    With ``in_place``, those that are contiguous, on its device and in its formats are not copied: ``encoder`` is for
    looking at only, as who trains it changes ``state``.

    Raises:
        UserError: as ``check_fit`` does.
    """
    own = encoder.state_dict()
    check_fit(shapes_of(own), shapes_of(state), complaint)
    if in_place:  # flattened, as 1 x 1 kernels that were channels_last are contiguous, too, but convolve otherwise
        state = {name: tensor.to(own[name]).flatten().view_as(own[name]) for name, tensor in state.items()}
    encoder.load_state_dict(dict(state), assign=in_place)


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file, in one call: read in pieces, it would wait for Python's lock at each of them."""
    with path.open("rb") as file:
        empty = not os.fstat(file.fileno()).st_size  # and cannot be mapped
        return hashlib.sha256(b"" if empty else mmap(file.fileno(), 0, access=ACCESS_READ)).hexdigest()


def few(names: list[str], most: int = 3) -> str:
    """The first names of a list, in one line."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
