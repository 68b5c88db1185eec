"""Colour operations on float images (B, C, H, W) with values in [0, 1], each sample with its own parameters.

The arithmetic is that of torchvision's ``transforms.v2.functional`` for float tensors. Three channels are RGB and four
are RGB with an alpha that no operation touches. Other channel counts have no hue, no saturation and no grey:
operations on those leave them as they are, and brightness, contrast and solarizing treat all channels alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, wraps
from itertools import permutations

import torch
from torch import Tensor

from sslzoo.views.chosen import on_chosen_, where
from sslzoo.views.keyed import Draw

_LUMA = (0.2989, 0.587, 0.114)


def to_float(images: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1], divided as timm's and torchvision's ``ToTensor`` do."""
    return images.to(torch.float32).div_(255)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """``(images - mean) / std``, per channel."""
    return images.sub(_per_channel(mean, images)).div_(_per_channel(std, images))


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
) -> Tensor:
    """With probability ``p``, torchvision's ``ColorJitter``: (B, C, H, W) again.

    The first three factors are uniform in ``[max(0, 1 - x), 1 + x]``, the hue's shift is in ``[-hue, hue]``, where 1
    is the full circle. Each sample takes the adjustments in its own random order; one of strength 0 is left out.
    """
    factors, order = draw_jitter(draw, brightness, contrast, saturation, hue)
    return jitter(images, factors, order, draw.bernoulli("color_jitter", p))


def draw_jitter(
    draw: Draw, brightness: float, contrast: float, saturation: float, hue: float
) -> tuple[dict[str, Tensor], Tensor]:
    """The factors (B,) of the adjustments, and their order (B,) as a place in ``itertools.permutations(factors)``."""
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    unit = draw.uniform("color_jitter factors", shape=(4,)).unbind(1)
    low = {name: max(0.0, 1 - x) if name != "hue" else -x for name, x in strengths.items()}
    high = {name: 1 + x if name != "hue" else x for name, x in strengths.items()}
    factors = {name: low[name] + (high[name] - low[name]) * u for name, u in zip(strengths, unit, strict=True) if strengths[name]}
    return factors, draw.integers("color_jitter order", math.factorial(len(factors)))


def jitter(images: Tensor, factors: dict[str, Tensor], order: Tensor, chosen: Tensor) -> Tensor:
    """Adjust the samples ``chosen`` (B,) by their ``factors`` in their ``order`` (see ``draw_jitter``)."""
    images = images.clone()
    orders = list(permutations(factors))
    group = torch.where(chosen, order, len(orders))
    members = group.argsort(stable=True).split(group.bincount(minlength=len(orders) + 1).tolist())
    for names, index in zip(orders, members, strict=False):
        on_chosen_(images, index, partial(_adjust, names), *(factors[name] for name in names))
    return images


def _adjust(names: Sequence[str], images: Tensor, *factors: Tensor) -> Tensor:
    for name, factor in zip(names, factors, strict=True):
        images = _ADJUST[name](images, factor)
    return images


def grayscale(images: Tensor, draw: Draw, p: float = 0.2) -> Tensor:
    """With probability ``p``, the luma of RGB images in place of all three colours."""
    images = images.clone()
    on_chosen_(images, where(draw.bernoulli("grayscale", p)), to_grayscale)
    return images


def solarize(images: Tensor, draw: Draw, p: float = 0.2, threshold: float = 128 / 255) -> Tensor:
    """With probability ``p``, invert all values from ``threshold`` up.

    On floats torchvision computes ``where(x >= threshold, 1 - x, x)`` with the threshold in [0, 1]; PIL's threshold of
    128 grey levels is 128 / 255.
    """
    images = images.clone()
    on_chosen_(images, where(draw.bernoulli("solarize", p)), partial(invert_from, threshold=threshold))
    return images


def _keep_alpha(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The operation on the first three of four channels."""

    @wraps(operation)
    def on_colors(images: Tensor, *parameters: Tensor, **options: float) -> Tensor:
        if images.shape[1] != 4:
            return operation(images, *parameters, **options)
        return torch.cat([operation(images[:, :3], *parameters, **options), images[:, 3:]], dim=1)

    return on_colors


@_keep_alpha
def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Times ``factor`` (B,)."""
    return images.mul(_per_sample(factor)).clamp_(0, 1)


@_keep_alpha
def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the sample's mean grey, by ``factor`` (B,)."""
    mean = images.mean(dim=(2, 3))
    grey = (mean * mean.new_tensor(_LUMA)).sum(1) if images.shape[1] == 3 else mean.mean(1)
    return images.mul(_per_sample(factor)).add_(_per_sample(grey * (1 - factor))).clamp_(0, 1)


@_keep_alpha
def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Away from each pixel's grey, by ``factor`` (B,)."""
    if images.shape[1] != 3:
        return images
    grey = _luma(images) * (1 - factor[:, None, None])
    return images.mul(_per_sample(factor)).add_(grey[:, None]).clamp_(0, 1)


@_keep_alpha
def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by ``shift`` (B,) of a full circle.

    Torchvision goes to HSV and back; here the hue (in sixths of the circle: red 0, green 2, blue 4) places each colour
    between the pixel's lowest and highest value directly, which is the same function without its branches.
    """
    if images.shape[1] != 3:
        return images
    red, green, blue = images.unbind(1)
    low = torch.minimum(torch.minimum(red, green), blue)
    high = torch.maximum(torch.maximum(red, green), blue)
    away_from_red = (green + blue).sub_(red).sub_(low).div_((high - low).clamp_min_(1e-12)).add_(1)
    hue = away_from_red.copysign_(green - blue).add_(6 * shift[:, None, None])
    hue.sub_(hue.div(6).floor_(), alpha=6)
    turned = torch.empty_like(images)
    torch.lerp(high, low, _ramp(hue, 3), out=turned[:, 0])
    torch.lerp(low, high, _ramp(hue, 2), out=turned[:, 1])
    torch.lerp(low, high, _ramp(hue, 4), out=turned[:, 2])
    return turned


def _ramp(hue: Tensor, centre: int) -> Tensor:
    """1 within a sixth of ``centre``, falling to 0 at two sixths."""
    return hue.sub(centre).abs_().neg_().add_(2).clamp_(0, 1)


@_keep_alpha
def to_grayscale(images: Tensor) -> Tensor:
    """The luma of RGB images, three times."""
    return _luma(images)[:, None].expand_as(images) if images.shape[1] == 3 else images


@_keep_alpha
def invert_from(images: Tensor, threshold: float) -> Tensor:
    """``1 - x`` where ``x >= threshold``."""
    return torch.where(images >= threshold, 1 - images, images)


_ADJUST: dict[str, Callable[..., Tensor]] = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}


def _luma(images: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, H, W): ITU-R 601, rounded as torchvision has it."""
    red, green, blue = images.unbind(1)
    return red.mul(_LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def _per_sample(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _per_channel(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values, dtype=images.dtype, device=images.device)[:, None, None]
