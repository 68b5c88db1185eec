"""Crops of clips together with what is known of each pixel, so that the geometry of what comes out is right.

A crop moves, scales and perhaps mirrors the picture, and everything follows:

- what names or measures something (``depth``, ``instances``, ``classes``, ``normals``, ``flow``, ``visible``) is taken
  from the nearest pixel, as a mean over an edge would belong to neither side; ``contours`` are wherever a pixel covers
  some of one, so that lines stay closed;
- ``depth`` is along the optical axis and keeps its value; ``flow`` is scaled like the picture;
- what leaves the box is no longer ``visible``;
- ``intrinsics`` are moved and scaled like the picture;
- a mirrored picture is one of a mirrored world. With D = diag(-1, 1, 1), the x of ``flow`` and ``normals`` changes its
  sign, ``camera`` becomes D C D (so its rotation still is one, and so are those between frames), and the intrinsics
  are such that focal lengths stay positive.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.views import Batch, Sample
from sslzoo.views.clips import clip_resized_crop
from sslzoo.views.crop import Interpolation, Size, image_sizes, random_boxes
from sslzoo.views.keyed import Draw

_MIRROR = torch.tensor([-1.0, 1.0, 1.0, 1.0])


def dense_random_resized_crop(
    samples: Sequence[Sample],
    fields: Sequence[str],
    size: Size,
    draw: Draw,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
) -> Batch:
    """``dense_resized_crop`` of one random box of each clip, mirrored with probability ``flip``.

    The box is drawn as ``crop.random_resized_crop`` draws it.
    """
    boxes = random_boxes(image_sizes([sample["clip"] for sample in samples]), draw, scale, ratio)
    return dense_resized_crop(samples, fields, boxes, draw.bernoulli("flip", flip), size)


def dense_resized_crop(
    samples: Sequence[Sample],
    fields: Sequence[str],
    boxes: Tensor,
    flip: Tensor,
    size: Size,
    interpolation: Interpolation = "bilinear",
) -> Batch:
    """The ``fields`` in the ``boxes`` (B, 4: top, left, height, width), mirrored where ``flip`` (B,) says.

    Each is (B, T, C, H, W) at (H, W) ``size`` and of its own dtype; ``camera`` is (B, T, 4, 4), ``intrinsics``
    (B, 3, 3). ``interpolation`` is that of the frames.

    Raises:
        UsageError: if a sample has no such field.
    """
    wanted = {"flow", *fields} if "visible" in fields else fields
    missing = sorted(set(wanted) - set(samples[0]).intersection(*samples[1:]))
    if missing:
        raise UsageError(f"these samples have no {' and no '.join(missing)}; data that have them: world, world-actions")
    return {name: _field(name, samples, boxes, flip, size, interpolation) for name in fields}


def _field(
    name: str, samples: Sequence[Sample], boxes: Tensor, flip: Tensor, size: Size, interpolation: Interpolation
) -> Tensor:
    values = [sample[name] for sample in samples]
    if name == "clip":
        return clip_resized_crop(values, boxes, flip, size, interpolation)
    if name == "intrinsics":
        return crop_intrinsics(torch.stack(values), boxes, flip, size)
    if name == "camera":
        return mirror_poses(torch.stack(values), flip)
    if name == "visible":
        values = [
            value & _stays(sample["flow"], box)
            for value, sample, box in zip(values, samples, boxes.tolist(), strict=True)
        ]
    shrink = _covering if name == "contours" else _nearest
    taken = torch.stack([shrink(_cut(value, box), size) for value, box in zip(values, boxes.tolist(), strict=True)])
    if name == "flow":
        taken = taken * (torch.tensor([size[1], size[0]]) / boxes[:, [3, 2]])[:, None, :, None, None]
    mirrored = taken.flip(-1)
    if name in ("flow", "normals"):
        mirrored[:, :, 0].neg_()
    return torch.where(flip[:, None, None, None, None], mirrored, taken)


def crop_intrinsics(intrinsics: Tensor, boxes: Tensor, flip: Tensor, size: Size) -> Tensor:
    """Pinhole matrices (B, 3, 3) of whole frames as those of their ``boxes`` at ``size``."""
    box = boxes.to(intrinsics.dtype)
    scale = torch.tensor([size[1], size[0]], dtype=intrinsics.dtype) / box[:, [3, 2]]
    moved = intrinsics.clone()
    moved[:, :2, 2] -= box[:, [1, 0]]
    moved[:, :2] *= scale[:, :, None]
    mirrored = moved * _MIRROR[:3].to(moved) * _MIRROR[:3, None].to(moved)
    mirrored[:, 0, 2] += size[1]
    return torch.where(flip[:, None, None], mirrored, moved)


def mirror_poses(poses: Tensor, flip: Tensor) -> Tensor:
    """Poses (B, ..., 4, 4) in a mirrored world where ``flip`` (B,) says: D C D with D = diag(-1, 1, 1, 1)."""
    mirror = _MIRROR.to(poses)
    chosen = flip.view(-1, *[1] * (poses.dim() - 1))
    return torch.where(chosen, poses * mirror * mirror[:, None], poses)


def _cut(value: Tensor, box: Sequence[int]) -> Tensor:
    top, left, height, width = box
    return value[:, :, top : top + height, left : left + width]


def _nearest(value: Tensor, size: Size) -> Tensor:
    """The pixels whose squares hold the centres of the pixels at ``size``."""
    rows, columns = (
        (torch.arange(new) * 2 + 1) * old // (2 * new) for new, old in zip(size, value.shape[2:], strict=True)
    )
    return value[:, :, rows[:, None], columns]


def _covering(value: Tensor, size: Size) -> Tensor:
    return F.adaptive_max_pool2d(value.float(), size).bool()


def _stays(flow: Tensor, box: Sequence[int]) -> Tensor:
    """(T, 1, H, W) bool: whether what ``flow`` (T, 2, H, W) moves is in the box then."""
    top, left, height, width = box
    rows, columns = (torch.arange(length) + 0.5 for length in flow.shape[2:])
    x, y = columns + flow[:, :1], rows[:, None] + flow[:, 1:]
    return (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
