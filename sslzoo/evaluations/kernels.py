"""The filters of the first layer, as pictures (Krizhevsky et al., ImageNet Classification with Deep Convolutional
Neural Networks, NeurIPS 2012, Fig. 3; of patch embeddings, as Dosovitskiy et al., An Image Is Worth 16x16 Words, ICLR
2021, Fig. 7)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import timm
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Source
from sslzoo.encoders import spec_of
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.canvas import Canvas
from sslzoo.figures import LINE, MARGIN, WIDTH

_GAP = 3
_BETWEEN = 32
_LARGEST = 96
"""Pixels of a filter in the figure, at most."""


@dataclass(frozen=True)
class KernelsConfig:
    filters: int = 64
    """How many are drawn, at most: those with the largest weights."""


@final
class Kernels(Evaluation):
    """What the encoder looks for first: the weights of its first convolution or patch embedding.

    Each filter is scaled by its own largest weight, with zero in the middle of the grey levels, so that its pattern is
    seen and not its strength. Those that are mostly grey come first, from coarse to fine (mean spatial frequency), then
    the coloured ones by the axis of their hue.

    Filters over a number of channels other than 1 and 3 are drawn in grey, as the one spatial pattern that explains
    most of them (the leading singular vector). Nothing depends on the data.
    """

    info = EvaluationInfo(
        name="kernels",
        version=1,
        metric="",
        modalities=("image",),
        summary="Filters of the first layer, each scaled by its largest weight.",
        fits=False,
    )
    Config = KernelsConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Look at the weights; the data is not read.

        Raises:
            UsageError: if no filter is to be drawn, or there is no layer with filters over the input's channels.
            UserError: if weights are not finite.
        """
        if self.config.filters < 1:
            raise UsageError(f"at least one filter must be drawn, not {self.config.filters}")
        name, weight = first_filters(encoder)
        if not weight.isfinite().all():
            raise UserError(f"the weights of {name} are not finite, so the encoder has diverged; draw an earlier one")
        strongest = weight.flatten(1).norm(dim=1).argsort(descending=True, stable=True)[: self.config.filters]
        pictures = as_pictures(weight[strongest.sort().values])
        channels, height, width = weight.shape[1:]
        title = f"{name}: {len(weight)} filters of {height} × {width} over {channels} channel{'s' * (channels > 1)}"
        return Result(
            metrics={},
            details={"layer": name, "filters": len(weight), "shape": list(weight.shape[1:])},
            visuals={"filters": pictures[in_order(pictures)], "title": title},
        )

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        """A grid of filters for each encoder, beside each other."""
        first = results["trained"].visuals
        count, _, high, wide = first["filters"].shape
        room = (WIDTH - 2 * MARGIN - _BETWEEN) / 2
        columns = math.ceil(math.sqrt(count))
        side = min(_LARGEST, int((room + _GAP) / columns) - _GAP)
        side = side // max(high, wide) * max(high, wide) or side  # whole squares for the weights
        width, height = side * wide // max(high, wide), side * high // max(high, wide)
        rows = math.ceil(count / columns)
        shown = f", {count} of them" if count < results["trained"].details["filters"] else ""
        caption = f"{first['title']}{shown}; each scaled by its largest weight, mid-grey is zero"
        top = Canvas.TOP + LINE
        canvas = Canvas(WIDTH, top + rows * (height + _GAP) + MARGIN, "First-layer filters", caption)
        for number, (name, result) in enumerate(results.items()):
            start = MARGIN + number * (room + _BETWEEN)
            canvas.text(name, start, top - 8, size=11, va="bottom")
            for place, picture in enumerate(result.visuals["filters"]):
                left, low = start + place % columns * (width + _GAP), top + place // columns * (height + _GAP)
                canvas.picture(picture, left, low, width, height)
        return {"kernels": canvas.figure}


def first_filters(encoder: nn.Module) -> tuple[str, Tensor]:
    """The name of an encoder's first layer, and its filters (N, C, h, w).

    That is the one which timm names for the architecture, or else the first convolution over images.

    Raises:
        UsageError: if there is none.
    """
    spec = spec_of(encoder)
    described = timm.get_pretrained_cfg(spec.architecture)
    named = described.first_conv if described else None
    modules = dict(encoder.named_modules())
    wanted = [named] if isinstance(named, str) else list(named or ())
    for name in [*wanted, *modules]:
        weight = getattr(modules.get(name), "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 4:
            return name, weight.detach().float().cpu()
    raise UsageError(
        f"{spec.architecture} has no convolution or patch embedding with filters to draw; choose another encoder"
    )


def as_pictures(weight: Tensor) -> Tensor:
    """(N, C, h, w) weights to (N, 1 or 3, h, w) in [0, 1], where zero is 0.5 and a filter's largest weight 0 or 1."""
    if weight.shape[1] not in (1, 3):
        left, strength, right = torch.linalg.svd(weight.double().flatten(2), full_matrices=False)
        sign = left[:, :, 0].sum(1).sign()
        pattern = right[:, 0] * (sign + (sign == 0))[:, None]
        weight = pattern.reshape(len(weight), 1, *weight.shape[2:]).float()
    largest = weight.flatten(1).abs().amax(1).clamp(min=1e-12)
    return 0.5 + weight / (2 * largest[:, None, None, None])


def in_order(pictures: Tensor) -> Tensor:
    """(N,) places of pictures (N, C, h, w): grey ones by mean spatial frequency, then coloured ones by hue.

    Coloured is a filter that has more than half of its energy in differences between channels.
    """
    weight = pictures.double() - 0.5
    grey = weight.mean(1, keepdim=True)
    energy = weight.square().sum((1, 2, 3)).clamp(min=1e-12)
    coloured = (weight - grey).square().sum((1, 2, 3)) > energy / 2
    spectrum = torch.fft.fft2(grey[:, 0]).abs().square()
    axes = [torch.fft.fftfreq(size, dtype=torch.float64) for size in weight.shape[2:]]
    radius = (axes[0][:, None].square() + axes[1].square()).sqrt()
    frequency = (spectrum * radius).sum((1, 2)) / spectrum.sum((1, 2)).clamp(min=1e-12)
    key = torch.where(coloured, 2 + _hue(weight), frequency)
    return key.argsort(stable=True)


def _hue(weight: Tensor) -> Tensor:
    """(N,) in [0, 1): the angle of the axis along which a filter's colours vary most; a half turn is the same axis."""
    if weight.shape[1] != 3:
        return weight.new_zeros(len(weight))
    red, green, blue = weight.flatten(2).unbind(1)
    across, up = red - (green + blue) / 2, math.sqrt(3) / 2 * (green - blue)
    twice = torch.atan2(2 * (across * up).sum(1), (across.square() - up.square()).sum(1))
    return (twice / (2 * math.pi)) % 1
