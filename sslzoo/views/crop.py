"""From images of any size to one uint8 batch: random resized crops for training, the centre crop for evaluation.

Images are PIL images of one mode (L, RGB or RGBA) or (C, H, W) uint8 tensors of one channel count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from sslzoo.views.keyed import Draw

AnyImage = Image.Image | Tensor
Size = tuple[int, int]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
"""As timm and torchvision name them; tensors know no box and no hamming."""

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
    draw = draw.at("random_resized_crop")
    boxes = random_boxes(image_sizes(images), draw, scale, ratio)
    return flip_horizontal(resized_crop(images, boxes, size, interpolation), draw.bernoulli("flip", flip))


def image_sizes(images: Sequence[AnyImage]) -> Tensor:
    """(B, 2) int64: height and width of each."""
    return torch.tensor([_height_width(image) for image in images])


def random_boxes(sizes: Tensor, draw: Draw, scale: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    """Boxes (B, 4) int64 of top, left, height, width inside images of ``sizes`` (B, 2), as ``RandomResizedCrop`` draws.

    The area's share is uniform in ``scale``, the logarithm of width / height in ``ratio``. The first of ten attempts
    that fits is placed uniformly; if none fits, the box is central and as much of the image as ``ratio`` allows
    (Szegedy et al., CVPR 2015, in torchvision's version).
    """
    height, width = sizes[:, 0:1].double(), sizes[:, 1:2].double()
    area = height * width * draw.uniform("area", *scale, shape=(_ATTEMPTS,))
    aspect = draw.uniform("aspect", math.log(ratio[0]), math.log(ratio[1]), shape=(_ATTEMPTS,)).double().exp()
    tried = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], dim=2).round().long()
    fits = ((tried > 0) & (tried <= sizes[:, None])).all(dim=2)
    first = tried[torch.arange(len(sizes)), fits.int().argmax(dim=1)]
    free = sizes - first
    placed = (draw.uniform("place", shape=(2,)).double() * (free + 1)).long()
    central = _central(sizes, ratio)
    box = torch.cat([placed, first], dim=1)
    centred = torch.cat([(sizes - central) // 2, central], dim=1)
    return torch.where(fits.any(dim=1, keepdim=True), box, centred)


def _central(sizes: Tensor, ratio: tuple[float, float]) -> Tensor:
    """The largest height and width (B, 2) whose aspect lies within ``ratio``."""
    height, width = sizes.double().unbind(1)
    fitting_height = torch.where(width / height < ratio[0], (width / ratio[0]).round(), height)
    fitting_width = torch.where(width / height > ratio[1], (height * ratio[1]).round(), width)
    return torch.stack([fitting_height, fitting_width], dim=1).long()


def resized_crop(
    images: Sequence[AnyImage], boxes: Tensor, size: Size, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """The ``boxes`` (B, 4) of the images at (H, W) ``size``: (B, C, H, W) uint8, equal to torchvision's.

    Cropping comes first because a PIL resize with ``box=`` lets the filter see beyond the box's edge, and is no faster.
    """
    cut = [_crop(image, *box) for image, box in zip(images, boxes.tolist(), strict=True)]
    return stack([_resize(image, size, interpolation) for image in cut])


def resize_center_crop(
    images: Sequence[AnyImage], size: Size, crop_pct: float = 1.0, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """The evaluation crop: (B, C, H, W) uint8, equal to timm's ``create_transform`` in crop mode "center".

    Each image is shrunk or grown until it just covers (H, W) ``size`` / ``crop_pct``, then cut (or, for a ``crop_pct``
    above 1, padded with zeros) to ``size``.
    """
    target = (math.floor(size[0] / crop_pct), math.floor(size[1] / crop_pct))
    whole = [_resize(image, _covering(_height_width(image), target), interpolation) for image in images]
    return stack([tv.center_crop(image, list(size)) for image in whole])


def _covering(size: Size, target: Size) -> Size:
    """The size that covers ``target`` in the image's own proportions; square targets round as torchvision does."""
    height, width = size
    if target[0] == target[1]:
        short = min(size)
        return int(target[0] * height / short), int(target[1] * width / short)
    ratio = min(height / target[0], width / target[1])
    return round(height / ratio), round(width / ratio)


def flip_horizontal(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the samples ``chosen`` (B,)."""
    index = chosen.nonzero().squeeze(1)
    return images.index_copy(0, index, images.index_select(0, index).flip(-1)) if len(index) else images


def stack(images: Sequence[AnyImage]) -> Tensor:
    """Images of one size and one kind to (B, C, H, W) uint8."""
    first = images[0]
    if isinstance(first, Tensor):
        return torch.stack(list(images))
    modes = {image.mode for image in images}
    if len(modes) > 1:
        raise ValueError(f"the images of a batch must have one mode, not {', '.join(sorted(modes))}")
    pixels = torch.frombuffer(bytearray().join([image.tobytes() for image in images]), dtype=torch.uint8)
    width, height = first.size
    return pixels.view(len(images), height, width, -1).permute(0, 3, 1, 2).contiguous()


def _height_width(image: AnyImage) -> Size:
    if isinstance(image, Tensor):
        return image.shape[1], image.shape[2]
    return image.height, image.width


def _crop(image: AnyImage, top: int, left: int, height: int, width: int) -> AnyImage:
    if isinstance(image, Tensor):
        return image[:, top : top + height, left : left + width]
    return image.crop((left, top, left + width, top + height))


def _resize(image: AnyImage, size: Size, interpolation: Interpolation) -> AnyImage:
    if isinstance(image, Tensor):
        return tv.resize(image, list(size), tv.InterpolationMode(interpolation), antialias=True)
    return image.resize((size[1], size[0]), Image.Resampling[interpolation.upper()])
