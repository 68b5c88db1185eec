"""Colour operations on float images (B, C, H, W) with values in [0, 1], each sample with its own parameters.

The arithmetic is that of torchvision's ``transforms.v2.functional`` for float tensors. Three channels are RGB, four are
RGB with an alpha that nothing here touches. Images of any other number of channels have no hue, and their grey is the
mean of the channels.

With ``inplace`` an operation writes over the images it is given. On a CPU that spares a fifth of SimCLR's augmentation
at 64 pixels and half of it at 224, where fresh memory costs more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from sslzoo.views.chosen import comes_alone, on_chosen_, where
from sslzoo.views.keyed import Draw

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def to_float(images: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1], divided as timm's and torchvision's ``ToTensor`` do."""
    return images.to(torch.float32).div_(255)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    """``(images - mean) / std``, per channel."""
    images = images if inplace else images.clone()
    return images.sub_(_per_channel(mean, images)).div_(_per_channel(std, images))


def denormalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The inverse of ``normalize``, clamped to [0, 1]: for pictures."""
    return images.mul(_per_channel(std, images)).add_(_per_channel(mean, images)).clamp_(0, 1)


def color_jitter(
    images: Tensor,
    draw: Draw,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    p: float = 1.0,
    inplace: bool = False,
) -> Tensor:
    """With probability ``p``, torchvision's ``ColorJitter``.

    The first three factors are uniform in ``[max(0, 1 - x), 1 + x]``, the hue's shift is in ``[-hue, hue]``, where 1
    is the full circle. Each sample takes the adjustments in its own random order; one of strength 0 is left out.
    """
    images = images if inplace else images.clone()
    strengths = (brightness, contrast, saturation, hue)
    if any(strengths):
        jitter_(images, *draw_jitter(draw, strengths), draw.bernoulli("color_jitter", p))
    return images


def draw_jitter(draw: Draw, strengths: tuple[float, float, float, float]) -> tuple[Tensor, Tensor]:
    """Factors (B, 4) of brightness, contrast, saturation and hue, and the order (B, up to 4) of those in use."""
    unit = draw.uniform("color_jitter factors", shape=(4,))
    low = unit.new_tensor([max(0.0, 1 - strength) for strength in strengths[:HUE]] + [-strengths[HUE]])
    high = unit.new_tensor([1 + strength for strength in strengths[:HUE]] + [strengths[HUE]])
    used = torch.tensor([which for which, strength in enumerate(strengths) if strength], device=unit.device)
    return low + (high - low) * unit, used[draw.permutation("color_jitter order", len(used))]


def jitter_(images: Tensor, factors: Tensor, order: Tensor, chosen: Tensor) -> None:
    """Adjust the samples ``chosen`` (B,) by their ``factors`` (B, 4) in their ``order`` (B, 1 to 4), in place.

    Samples that turn the hue at the same turn differ in their other turns by data only, so they go together.
    """
    is_hue = order == HUE
    turns = order.shape[1]
    hue_turn = torch.where(is_hue.any(dim=1), is_hue.int().argmax(dim=1), turns)
    for turn in range(turns + 1):
        index = where(chosen & (hue_turn == turn))
        in_order = partial(_adjust_in_order_, hue_turn=turn)
        on_chosen_(_colors(images), index, in_order, order, factors.gather(1, order))


def _adjust_in_order_(images: Tensor, order: Tensor, factors: Tensor, hue_turn: int) -> Tensor:
    for turn, (which, factor) in enumerate(zip(order.unbind(1), factors.unbind(1), strict=True)):
        images = adjust_hue_(images, factor) if turn == hue_turn else adjust_tone_(images, which, factor)
    return images


def adjust_tone_(images: Tensor, which: Tensor, factor: Tensor) -> Tensor:
    """Scale each sample's distance from black, its mean grey or its grey picture by ``factor`` (B,), in place.

    ``which`` (B,) says what: BRIGHTNESS, CONTRAST or SATURATION.
    """
    if len(images) == 1 and comes_alone(images):
        return _adjust_one_tone_(images, int(which), float(factor), float(1 - factor))
    grey = _grey(images)
    mean_grey = grey.mean(dim=2).mean(dim=1)  # dim=(1, 2) would sum a large image in as many parts as threads
    level = (1 - factor) * (which == CONTRAST) * mean_grey
    picture = (1 - factor) * (which == SATURATION)
    origin = grey.mul_(picture[:, None, None]).add_(level[:, None, None])
    return images.mul_(factor[:, None, None, None]).add_(origin[:, None]).clamp_(0, 1)


def _adjust_one_tone_(image: Tensor, which: int, factor: float, rest: float) -> Tensor:
    """The same to the bit for (1, C, H, W), in half the passes over memory; ``rest`` is ``1 - factor`` in float32."""
    if which == BRIGHTNESS:
        return image.mul_(factor).clamp_(0, 1)
    grey = _grey(image)
    origin = grey[:, None] if which == SATURATION else grey.mean(dim=2).mean(dim=1)
    return image.mul_(factor).add_(origin.mul_(rest)).clamp_(0, 1)


def adjust_hue_(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by ``shift`` (B,) of a full circle, in place.

    Torchvision goes to HSV and back; here the hue, in sixths of the circle, places each colour between the pixel's
    lowest and highest value directly, which is the same function without its branches.
    """
    if images.shape[1] != 3:
        return images
    red, green, blue = images.unbind(1)
    low = torch.minimum(torch.minimum(red, green), blue)
    high = torch.maximum(torch.maximum(red, green), blue)
    away_from_red = (green + blue).sub_(red).sub_(low).div_((high - low).clamp_min_(1e-12)).add_(1)
    hue = away_from_red.copysign_(green - blue).div_(6).add_(1 + shift[:, None, None]).frac_().mul_(6)
    away = (hue[:, None] - hue.new_tensor([3, 2, 4])[:, None, None]).abs_().sub_(1).clamp_(0, 1)
    torch.lerp(low, high, away[:, 0], out=images[:, 0])
    torch.lerp(high[:, None], low[:, None], away[:, 1:], out=images[:, 1:])
    return images


def grayscale(images: Tensor, draw: Draw, p: float = 0.2, inplace: bool = False) -> Tensor:
    """With probability ``p``, the grey picture in place of every colour."""
    images = images if inplace else images.clone()
    on_chosen_(_colors(images), where(draw.bernoulli("grayscale", p)), to_grayscale)
    return images


def to_grayscale(images: Tensor) -> Tensor:
    """The grey picture in every channel."""
    return _grey(images)[:, None].expand_as(images)


def solarize(images: Tensor, draw: Draw, p: float = 0.2, threshold: float = 128 / 255, inplace: bool = False) -> Tensor:
    """With probability ``p``, invert all values from ``threshold`` up.

    On floats torchvision computes ``where(x >= threshold, 1 - x, x)`` with the threshold in [0, 1]; PIL's threshold of
    128 grey levels is 128 / 255.
    """
    images = images if inplace else images.clone()
    on_chosen_(_colors(images), where(draw.bernoulli("solarize", p)), partial(invert_from, threshold=threshold))
    return images


def invert_from(images: Tensor, threshold: float) -> Tensor:
    """``1 - x`` where ``x >= threshold``."""
    return torch.where(images >= threshold, 1 - images, images)


def _colors(images: Tensor) -> Tensor:
    """The channels that are not alpha; a view."""
    return images[:, :3] if images.shape[1] == 4 else images


def _grey(images: Tensor) -> Tensor:
    """(B, H, W): of RGB the luma of ITU-R 601, rounded as torchvision has it."""
    if images.shape[1] != 3:
        return images.mean(dim=1)
    red, green, blue = images.unbind(1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def _per_channel(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values, dtype=images.dtype, device=images.device)[:, None, None]
