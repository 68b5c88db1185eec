"""From images of any size to one uint8 batch: random resized crops for training, the centre crop for evaluation.

Images are PIL images in mode L, RGB or RGBA, or (C, H, W) uint8 tensors; one channel count per batch. PIL images are
resized as timm's and torchvision's transforms do it. Tensors are resized by torch, within a grey level of that (two for
bicubic); with the channels last in memory, as ``as_pixels`` has them, two to five times as fast: training gets those.
Where a bicubic filter overshoots black or white they are further apart: both clip between their two passes, of which
PIL takes the cheaper first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from sslzoo.views.keyed import Draw

AnyImage = Image.Image | Tensor
Size = tuple[int, int]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
"""As timm and torchvision name them; box and hamming are for PIL images only."""

_ATTEMPTS = 10


def random_resized_crop(
    images: Sequence[AnyImage],
    size: Size,
    draw: Draw,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
    interpolation: Interpolation = "bilinear",
) -> Tensor:
    """A random box of each image at (H, W) ``size``, mirrored with probability ``flip``: (B, C, H, W) uint8."""
    boxes = random_boxes(image_sizes(images), draw, scale, ratio)
    return resized_crop(images, boxes, draw.bernoulli("flip", flip), size, interpolation)


def as_pixels(image: AnyImage) -> AnyImage:
    """A PIL image as a (C, H, W) uint8 tensor, channels last in memory.

    One with alpha stays as it is: PIL weighs colours by their opacity when it resizes them, torch does not.
    """
    if isinstance(image, Tensor) or image.mode not in ("L", "RGB"):
        return image
    return torch.from_numpy(np.array(image).reshape(image.height, image.width, -1)).permute(2, 0, 1)


def image_sizes(images: Sequence[AnyImage]) -> Tensor:
    """(B, 2) int64: height and width of each."""
    return torch.tensor([_height_width(image) for image in images])


def random_boxes(
    sizes: Tensor, draw: Draw, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> Tensor:
    """Boxes (B, 4) int64 of top, left, height, width inside images of ``sizes`` (B, 2), as ``RandomResizedCrop`` draws.

    The area's share is uniform in ``scale``, the logarithm of width / height uniform in ``ratio``'s. The first of ten
    attempts that fits is placed uniformly; if none fits, the box is central and as large as ``ratio`` allows
    (Szegedy et al., CVPR 2015, in torchvision's version).
    """
    unit = draw.uniform("box", shape=(2, 1 + _ATTEMPTS)).double()
    area = sizes.prod(dim=1, keepdim=True) * (scale[0] + (scale[1] - scale[0]) * unit[:, 0, 1:])
    aspect = torch.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * unit[:, 1, 1:])
    tried = torch.stack([area / aspect, area * aspect], dim=2).sqrt_().round_().long()
    fits = ((tried > 0) & (tried <= sizes[:, None])).all(dim=2)
    found, first = fits.max(dim=1)
    box = torch.where(found[:, None], tried[torch.arange(len(sizes)), first], _central(sizes, ratio))
    free = sizes - box
    place = torch.where(found[:, None], (unit[:, :, 0] * (free + 1)).long(), free // 2)
    return torch.cat([place, box], dim=1)


def _central(sizes: Tensor, ratio: tuple[float, float]) -> Tensor:
    """The largest height and width (B, 2) whose aspect lies within ``ratio``."""
    height, width = sizes.double().unbind(1)
    fitting_height = torch.where(width / height < ratio[0], (width / ratio[0]).round(), height)
    fitting_width = torch.where(width / height > ratio[1], (height * ratio[1]).round(), width)
    return torch.stack([fitting_height, fitting_width], dim=1).long()


def resized_crop(
    images: Sequence[AnyImage], boxes: Tensor, flip: Tensor, size: Size, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """The ``boxes`` (B, 4) of the images at (H, W) ``size``, mirrored where ``flip`` (B,) says: (B, C, H, W) uint8.

    Cropping comes first because a PIL resize with ``box=`` lets the filter see beyond the box's edge, and is no faster.
    """
    pixels = []
    for image, box, mirrored in zip(images, boxes.tolist(), flip.tolist(), strict=True):
        resized = _pixels(_resize(_crop(image, *box), size, interpolation))
        pixels.append(resized[:, ::-1] if mirrored else resized)
    return _batch(pixels)


def resize_center_crop(
    images: Sequence[AnyImage], size: Size, crop_pct: float = 1.0, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """The evaluation crop: (B, C, H, W) uint8, equal to timm's ``create_transform`` in crop mode "center".

    Each image is shrunk or grown until it just covers (H, W) ``size`` / ``crop_pct``, then cut (or, for a ``crop_pct``
    above 1, padded with zeros) to ``size``.
    """
    target = (math.floor(size[0] / crop_pct), math.floor(size[1] / crop_pct))
    whole = (_resize(image, _covering(_height_width(image), target), interpolation) for image in images)
    return _batch([_pixels(tv.center_crop(image, list(size))) for image in whole])


def _covering(size: Size, target: Size) -> Size:
    """The image ``size`` that covers ``target`` in the same proportions; timm rounds square targets another way."""
    height, width = size
    if target[0] == target[1]:
        return target[0] * height // min(size), target[1] * width // min(size)
    ratio = min(height / target[0], width / target[1])
    return round(height / ratio), round(width / ratio)


def _height_width(image: AnyImage) -> Size:
    if isinstance(image, Tensor):
        return image.shape[-2], image.shape[-1]
    return image.height, image.width


def _crop(image: AnyImage, top: int, left: int, height: int, width: int) -> AnyImage:
    if isinstance(image, Tensor):
        return image[:, top : top + height, left : left + width]
    return image.crop((left, top, left + width, top + height))


def _resize(image: AnyImage, size: Size, interpolation: Interpolation) -> AnyImage:
    if isinstance(image, Tensor):
        if interpolation in ("bilinear", "bicubic"):
            return F.interpolate(image[None], size, mode=interpolation, antialias=True)[0]
        return tv.resize(image, list(size), tv.InterpolationMode(interpolation), antialias=True)
    return image.resize((size[1], size[0]), Image.Resampling[interpolation.upper()])


def _pixels(image: AnyImage) -> NDArray[np.uint8]:
    """(H, W, C)."""
    if isinstance(image, Tensor):
        return image.permute(1, 2, 0).numpy()
    if image.mode not in ("L", "RGB", "RGBA"):
        raise ValueError(f"images must be in mode L, RGB or RGBA, not {image.mode}; convert them first")
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, -1)


def _batch(pixels: Sequence[NDArray[np.uint8]]) -> Tensor:
    """(B, C, H, W)."""
    channels = {image.shape[2] for image in pixels}
    if len(channels) > 1:
        raise ValueError(f"images of one batch must have one channel count, not {sorted(channels)}; convert them first")
    height, width, _ = pixels[0].shape
    batch = np.empty((len(pixels), *channels, height, width), np.uint8)
    return torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image in pixels], out=batch))
