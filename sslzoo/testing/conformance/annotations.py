"""Do masks and boxes fit the images that they are of?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslzoo.config import UserError
from sslzoo.data.annotation import VOID
from sslzoo.data.source import Annotation, Source


def misfit(split: str, source: Source, looked_at: int) -> str:
    """What is wrong with the first annotations of a split; empty if nothing is, or there are none."""
    for index in range(min(looked_at, len(source))):
        try:
            found = source.annotation(index)
        except UserError:  # it has none
            return ""
        size = _size(source.read(index)["image"])
        faults = (
            _mask_fault(found, source, size),
            _boxes_fault(found, source, size),
            _other(found, source.annotation(index)),
        )
        for fault in filter(None, faults):
            return f"{fault} in sample {index} of {split}"
    return ""


def _size(image: Any) -> tuple[int, int]:
    """Width and height."""
    return (image.shape[2], image.shape[1]) if isinstance(image, Tensor) else image.size


def _mask_fault(found: Annotation, source: Source, size: tuple[int, int]) -> str:
    if found.mask is None:
        return "mask_names name classes, but there is no mask" if source.mask_names else ""
    if found.mask.dtype != torch.uint8 or found.mask.shape != size[::-1]:
        return (
            f"the mask is {found.mask.dtype} of shape {tuple(found.mask.shape)}, not uint8 of the image's {size[::-1]}"
        )
    classes = found.mask[found.mask != VOID]
    if len(classes) and int(classes.max()) >= len(source.mask_names):
        return f"the mask holds {int(classes.max())}, with {len(source.mask_names)} mask names"
    return ""


def _boxes_fault(found: Annotation, source: Source, size: tuple[int, int]) -> str:
    if found.boxes is None:
        return ""
    boxes, number = found.boxes, len(found.boxes)
    if boxes.dtype != torch.float32 or boxes.shape != (number, 4):
        return f"the boxes are {boxes.dtype} of shape {tuple(boxes.shape)}, not float32 of shape (N, 4)"
    if not ((boxes[:, :2] < boxes[:, 2:]).all() and (boxes >= 0).all() and (boxes[:, 2:] <= torch.tensor(size)).all()):
        return f"a box is empty or not in the image of {size[0]} x {size[1]}"
    labels, ignored = found.labels, found.ignored
    if labels is None or labels.dtype != torch.int64 or labels.shape != (number,):
        return f"the {number} boxes do not have one int64 label each"
    if number and not 0 <= int(labels.min()) <= int(labels.max()) < len(source.class_names):
        return f"the labels of boxes run to {int(labels.max())}, with {len(source.class_names)} class names"
    if ignored is not None and (ignored.dtype != torch.bool or ignored.shape != (number,)):
        return f"ignored is not one bool for each of {number} boxes"
    return ""


def _other(one: Annotation, again: Annotation) -> str:
    for part in ("mask", "boxes", "labels", "ignored"):
        first, second = getattr(one, part), getattr(again, part)
        if (first is None) != (second is None) or (first is not None and not torch.equal(first, second)):
            return f"{part} is another when it is read again"
    return ""
