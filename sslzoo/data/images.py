"""From the bytes of a file to a picture with the channels that were asked for."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from sslzoo.config import UserError
from sslzoo.data.source import Unreadable

# What Pillow raises on broken files, as found by corrupting files of every format it reads.
_BROKEN = (
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    EOFError,
    struct.error,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
)
# No pictures in pixels: Pillow hands them to other programs (EPS to Ghostscript), or only knows their names.
_NOT_PICTURES = {"EPS", "WMF", "MPEG", "GRIB", "BUFR", "HDF5"}
_LYING = (5, 6, 7, 8)
"""EXIF's orientations with width and height exchanged."""
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@cache
def picture_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read."""
    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_PICTURES)


@cache
def picture_extensions() -> frozenset[str]:
    """File name endings of those formats, lower case with their dot."""
    formats = picture_formats()
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats)


def decode_image(raw: bytes | str | Path, name: str) -> Image.Image:
    """The picture in ``raw`` (a file's bytes, or its path), loaded whole and turned as its EXIF says.

    Raises:
        Unreadable: ``name`` and the reason.
    """
    with _opened(raw, name) as image:
        image.load()
        return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image


def image_size(raw: bytes | str | Path, name: str) -> tuple[int, int]:
    """Width and height of what ``decode_image`` gives, from the file's head.

    Raises:
        Unreadable: ``name`` and the reason.
    """
    with _opened(raw, name) as image:
        width, height = image.size
        return (height, width) if _orientation(image) in _LYING else (width, height)


@contextmanager
def _opened(raw: bytes | str | Path, name: str) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata, large pictures: nothing anyone can act on
            data = raw if isinstance(raw, bytes) else Path(raw).read_bytes()
            if not data:
                raise Unreadable(f"{name}: the file is empty")
            yield Image.open(io.BytesIO(data), formats=picture_formats())
    except UnidentifiedImageError as error:  # its text holds an address in memory
        raise Unreadable(f"{name}: not a picture of a known format") from error
    except _BROKEN as error:
        raise Unreadable(f"{name}: {_reason(error)}") from error


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def with_channels(image: Image.Image | np.ndarray | Tensor, channels: int) -> Image.Image | Tensor:
    """The picture with 1 (grey), 3 (RGB) or 4 (RGBA) channels; an array (H, W, C) uint8 as a (C, H, W) tensor.

    A tensor is (C, H, W) uint8 already.

    Transparent pictures are laid on white unless 4 channels are asked for. Sixteen bits are scaled to eight.

    Raises:
        UserError: if an array does not have ``channels`` channels of uint8, or a picture cannot have them.
    """
    if isinstance(image, Tensor):
        image = image.movedim(0, -1).numpy()
    if isinstance(image, np.ndarray):
        return _array_with_channels(image, channels)
    mode = _MODES.get(channels)
    if mode is None:
        have = len(image.getbands())
        raise UserError(f"the images have {have} channels and can be given 1, 3 or 4, not {channels}: use --channels 3")
    if image.mode == mode and "transparency" not in image.info:
        return image
    image = _eight_bits(image)
    if mode == "RGBA":
        return image.convert("RGBA")
    if _is_transparent(image):
        image = _on_white(image.convert("RGBA"))
    return image.convert("RGB").convert(mode)  # by way of RGB, as LAB has no other


def _array_with_channels(array: np.ndarray, channels: int) -> Tensor:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.dtype != np.uint8:
        raise UserError(f"an image array must be (H, W, C) uint8, not {array.shape} {array.dtype}")
    have = array.shape[2]
    if have != channels:
        raise UserError(f"the image arrays have {have} channels, not {channels}: use --channels {have}")
    return torch.from_numpy(array.transpose(2, 0, 1).copy())


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow would clip 16-bit values to 255; its 32-bit integers are 16-bit files too (PGM, older PNG)."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode == "La":
        return image.convert("LA")
    return image


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in {"RGBA", "RGBa", "LA", "PA"} or "transparency" in image.info


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def _reason(error: BaseException) -> str:
    """One line, and the same on every machine: without the paths that the system's errors carry."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
