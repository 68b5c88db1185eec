"""From the maps of an encoder back to an image.

Any timm encoder with ``forward_intermediates`` serves: a convolutional network gives maps of several sizes, a
transformer of fixed width one. The published feature goes into the decoder beside the maps, and that for two reasons:
what is evaluated later is trained here, and every parameter gets a gradient, also those between the last map and the
feature (norms, class tokens, a last convolution), which the maps alone would leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import UsageError
from sslzoo.encoders import spec_of

Size = tuple[int, int]
LEAST_WIDTH = 16
"""Channels to which a decoder's width falls at most."""
PLACES = 6
"""Height and width of AlexNet's last map, from which context encoders draw (Pathak et al., CVPR 2016, section 3.1)."""


@dataclass(frozen=True)
class MapShape:
    """One map of an encoder."""

    block: int
    """Its number among what ``forward_intermediates`` gives."""
    channels: int
    size: Size
    """Height and width."""


def map_shapes(encoder: Any) -> tuple[MapShape, ...]:
    """The deepest map of each size, coarsest first, for images of the size in the encoder's spec.

    Found by looking at one black image, for what timm declares of strides does not round as each network does.

    Raises:
        UsageError: if timm gives no maps of this architecture.
    """
    spec = spec_of(encoder)
    if getattr(encoder, "forward_intermediates", None) is None:
        raise UsageError(f"timm gives no maps of {spec.architecture}: take a resnet, convnext or vit, for example")
    device, training = next(encoder.parameters()).device, encoder.training
    with torch.no_grad():
        _, maps = encoder.eval().forward_intermediates(torch.zeros(1, *spec.input.size, device=device))
    encoder.train(training)
    deepest = {(found.shape[2], found.shape[3]): (block, found.shape[1]) for block, found in enumerate(maps)}
    shapes = [MapShape(block, channels, size) for size, (block, channels) in deepest.items()]
    return tuple(sorted(shapes, key=lambda shape: shape.block, reverse=True))


def bottleneck_maps(encoder: Any) -> tuple[MapShape, ...]:
    """Of ``map_shapes``, from the coarsest one to the first that has ``PLACES`` a side.

    Of large pictures this is the last map alone. That of a small picture has too few places to draw from.
    """
    shapes = map_shapes(encoder)
    enough = [number for number, shape in enumerate(shapes) if min(shape.size) >= PLACES]
    return shapes[: enough[0] + 1] if enough else shapes


def encode_maps(encoder: Any, images: Tensor, shapes: Sequence[MapShape]) -> tuple[Tensor, list[Tensor]]:
    """The feature (B, D), equal to ``encoder(images)``, and the maps of ``shapes``, in one pass."""
    blocks = sorted(shape.block for shape in shapes)
    final, maps = encoder.forward_intermediates(images, indices=blocks, norm=True)
    by_block = dict(zip(blocks, maps, strict=True))
    return encoder.forward_head(final), [by_block[shape.block] for shape in shapes]


class Decoder(nn.Module):
    """A feature (B, D) and maps, coarsest first, to (B, channels, H, W).

    From the coarsest map on, each stage enlarges to the size of the next finer map or, beyond the last, to twice its
    size, at most to (H, W); adds a projection of the map if there is one; and convolves. The width halves with each
    stage. Enlarging by repeating pixels and then convolving goes to any size, and leaves no chequerboard (Odena,
    Dumoulin & Olah, Distill 2016, https://distill.pub/2016/deconv-checkerboard) as strided up-convolutions do.
    """

    def __init__(self, feature_dim: int, shapes: Sequence[MapShape], size: Size, channels: int, width: int) -> None:
        """``width`` is the number of channels at the coarsest map; ``shapes`` are of the maps that will be given.

        Two decoders of different ``shapes`` differ in what the encoder must keep: given its last map only, all it
        knows of the image passes through that, and given all of them, details go past it.
        """
        super().__init__()
        self.sizes = stage_sizes([shape.size for shape in shapes], size)
        widths = [max(width >> stage, LEAST_WIDTH) for stage in range(len(self.sizes))]
        self.widths = widths[1:] + widths[-1:]
        self.whole = nn.Linear(feature_dim, widths[0], bias=False)
        self.laterals = nn.ModuleList(
            nn.Conv2d(shape.channels, wide, 1, bias=False) for shape, wide in zip(shapes, widths, strict=False)
        )
        narrowings = zip(widths, self.widths, strict=True)
        self.stages = nn.ModuleList(_convolve(wide, narrow) for wide, narrow in narrowings)
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, feature: Tensor, maps: Sequence[Tensor]) -> Tensor:
        return self.last(self.decoded(feature, maps)[-1])

    def decoded(self, feature: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """What each stage gives, coarsest first: (B, ``widths[i]``, *``sizes[i]``)."""
        given = [lateral(found) for lateral, found in zip(self.laterals, maps, strict=True)]
        decoded, stages = self.whole(feature)[:, :, None, None], []
        for stage, (size, convolve) in enumerate(zip(self.sizes, self.stages, strict=True)):
            if stage:
                decoded = F.interpolate(decoded, size=size, mode="nearest")
            decoded = convolve(decoded + given[stage] if stage < len(given) else decoded)
            stages.append(decoded)
        return stages


def stage_sizes(maps: Sequence[Size], size: Size) -> list[Size]:
    """The sizes of the maps, coarsest first, then doubled until ``size`` is reached."""
    sizes = list(maps)
    while sizes[-1] != size:
        height, width = sizes[-1]
        sizes.append((min(2 * height, size[0]), min(2 * width, size[1])))
    return sizes


def _convolve(wide: int, narrow: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(wide, narrow, 3, padding=1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)
    )
