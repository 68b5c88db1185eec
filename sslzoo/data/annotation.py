"""Masks and boxes as files give them, held against the image that they belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sslzoo.data.source import Annotation, Unreadable

VOID = 255
"""In a mask: not to be scored."""
_SLACK = 1.0
"""Pixels that a box may reach beyond its image, as rounded numbers and other ways to count pixels have it."""


def annotate(
    name: str,
    size: tuple[int, int],
    *,
    mask: np.ndarray | None = None,
    classes: int = 0,
    boxes: Sequence[Sequence[float]] | np.ndarray | None = None,
    labels: Sequence[int] | np.ndarray = (),
    ignored: Sequence[bool] | np.ndarray = (),
) -> Annotation:
    """The annotation of the image ``name`` of ``size`` (W, H).

    ``mask`` (H, W) holds one of ``classes`` numbers or 255 in each pixel; ``boxes`` are left, top, right, bottom in
    pixels, and cut where they reach up to one pixel beyond the image.

    Raises:
        Unreadable: if the mask has another size or more classes, or a box is empty or not in the image.
    """
    given = torch.tensor(np.asarray(ignored), dtype=torch.bool)
    return Annotation(
        mask=None if mask is None else _mask(name, size, mask, classes),
        boxes=None if boxes is None else _boxes(name, size, boxes),
        labels=None if boxes is None else torch.tensor(np.asarray(labels), dtype=torch.int64),
        ignored=given if boxes is not None and given.any() else None,
    )


def class_map(image: Image.Image | np.ndarray, name: str) -> np.ndarray:
    """(H, W): the class numbers that the picture ``name`` spells, as a palette's positions or as grey values.

    Raises:
        Unreadable: if it has colours.
    """
    if isinstance(image, Image.Image) and image.mode not in {"P", "L", "1", "I", "I;16", "I;16B", "I;16L"}:
        raise Unreadable(
            f"{name}: a mask holds a class number in each pixel (palette or grey), but this is {image.mode}"
        )
    values = np.asarray(image)
    values = values[:, :, 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if values.ndim != 2:
        raise Unreadable(f"{name}: a mask holds a class number in each pixel, but this is {values.shape}")
    return values.astype(np.int64)


def _mask(name: str, size: tuple[int, int], mask: np.ndarray, classes: int) -> Tensor:
    if mask.shape != size[::-1]:
        raise Unreadable(f"{name}: its mask is {_pixels(mask.shape[::-1])}, the image {_pixels(size)}")
    strange = mask[(mask != VOID) & ((mask >= min(classes, VOID)) | (mask < 0))]
    if len(strange):
        raise Unreadable(f"{name}: its mask has the class {strange.max()}, but they go from 0 to {classes - 1}")
    return torch.from_numpy(mask.astype(np.uint8))


def _boxes(name: str, size: tuple[int, int], boxes: Sequence[Sequence[float]] | np.ndarray) -> Tensor:
    given, limit = np.asarray(boxes, dtype=np.float64).reshape(-1, 4), np.array([*size, *size])
    cut = given.clip(0, limit).astype(np.float32)
    near = ((given >= -_SLACK) & (given <= limit + _SLACK)).all(1) & (cut[:, :2] < cut[:, 2:]).all(1)
    for wrong, reason in (
        (given[~(given[:, :2] < given[:, 2:]).all(1)], "is empty or inverted"),
        (given[~near], f"is not in the image, which is {_pixels(size)}"),
    ):
        if len(wrong):
            raise Unreadable(f"{name}: the box ({', '.join(f'{side:g}' for side in wrong[0])}) {reason}")
    return torch.from_numpy(cut)


def _pixels(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
