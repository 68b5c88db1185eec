"""An encoder's feature maps by stride, and the feature pyramid that detectors look at."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from dataclasses import replace

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.evaluations.annotated import Annotated, stacked
from sslzoo.views.color import normalize

COARSEST = 32
_KEPT = 2**30
"""Bytes of a frozen encoder's maps that are not computed again."""


class FeatureMaps(nn.Module):
    """The last of an encoder's maps at each of its strides from ``finest`` to 32, by timm's ``forward_intermediates``.

    A plain transformer has one stride, and gives its last token map. The encoder is a copy that stays in ``eval()``:
    batch statistics are those of its pretraining, whether it is trained on or not.
    """

    def __init__(self, encoder: nn.Module, image_size: int, finest: int, finetune: bool) -> None:
        """``image_size`` is the side of the images to come, in pixels; 0 doubles the encoder's own if it takes that.

        Raises:
            UsageError: if the encoder does not tell its maps, cannot take images of this size, or makes nothing but a
                point of them.
        """
        super().__init__()
        if not hasattr(encoder, "forward_intermediates"):
            raise UsageError(f"timm's {type(encoder).__name__} does not tell its feature maps; choose another encoder")
        self.encoder = deepcopy(encoder).requires_grad_(finetune).eval()
        self.spec, found = self._sized(image_size)
        _, height, width = self.spec.size
        strides = [round(max(height / high, width / wide)) for _, high, wide in found]
        plain = len(set(strides)) == 1
        places = {  # of equal strides the last stays, which is the deepest
            stride: place
            for place, (stride, size) in enumerate(zip(strides, found, strict=True))
            if (plain or finest <= stride <= COARSEST) and min(size[1:]) > 1
        }
        if not places:
            raise UsageError(
                f"the encoder makes maps of {found[-1][1]} x {found[-1][2]} of images of {height} x {width} px, so "
                f"there is no place in them; choose a larger --image-size"
            )
        self.places = dict(sorted(places.items()))
        self.channels = [found[place][0] for place in self.places.values()]
        self._kept: dict[tuple[int, bool], list[Tensor]] = {}
        self._room = _KEPT

    @property
    def strides(self) -> list[int]:
        """Ascending, as the maps come."""
        return list(self.places)

    def train(self, mode: bool = True) -> FeatureMaps:
        """Nothing changes: the encoder stays in ``eval()``."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, C, H, W) to a map (B, ``channels[i]``, h, w) for each of ``strides``.

        Raises:
            UserError: if a map is not finite.
        """
        maps = self.encoder.forward_intermediates(images, intermediates_only=True)  # type: ignore[operator]
        maps = [maps[place] for place in self.places.values()]
        if not all(bool(each.isfinite().all()) for each in maps):
            raise UserError(
                "the encoder's feature maps are not finite, so it has diverged; evaluate an earlier one, or train "
                "with a lower rate"
            )
        return maps

    def of(self, samples: list[Annotated], mirrored: Tensor) -> list[Tensor]:
        """The maps of training samples, of which ``mirrored`` (B,) are turned round.

        Those of a frozen encoder are kept for the next epoch, as far as ``_KEPT`` allows.
        """
        keys = list(zip((sample.index for sample in samples), mirrored.tolist(), strict=True))
        new = [place for place, key in enumerate(keys) if key not in self._kept]
        computed: dict[tuple[int, bool], list[Tensor]] = {}
        if new:
            device = next(self.encoder.parameters()).device
            images = stacked([samples[place] for place in new], device, mirrored[new])
            maps = self(normalize(images, self.spec.mean, self.spec.std, inplace=True))
            computed = {keys[place]: [each[row] for each in maps] for row, place in enumerate(new)}
            if not maps[0].requires_grad:
                self._keep(computed)
        return [torch.stack(level) for level in zip(*(self._kept.get(k) or computed[k] for k in keys), strict=True)]

    def _keep(self, computed: dict[tuple[int, bool], list[Tensor]]) -> None:
        for key, maps in computed.items():
            self._room -= sum(each.numel() * each.element_size() for each in maps)
            if self._room > 0:
                self._kept[key] = [each.clone() for each in maps]  # not a view of its whole batch

    def _sized(self, image_size: int) -> tuple[InputSpec, list[torch.Size]]:
        """What images are like, and (C, h, w) of all maps that are made of them."""
        own = spec_of(self.encoder).input
        if image_size:
            spec = replace(own, size=(own.size[0], image_size, image_size))
            return spec, self._probe(spec)
        larger = replace(own, size=(own.size[0], 2 * own.size[1], 2 * own.size[2]))
        try:
            return larger, self._probe(larger)
        except UsageError:  # most transformers have positions of one size only
            return own, self._probe(own)

    def _probe(self, spec: InputSpec) -> list[torch.Size]:
        zeros = torch.zeros(1, *spec.size, device=next(self.encoder.parameters()).device)
        try:
            with torch.no_grad():
                maps = self.encoder.forward_intermediates(zeros, intermediates_only=True)  # type: ignore[operator]
        except (AssertionError, RuntimeError, ValueError) as error:  # each architecture has its own
            complaint = " ".join(str(error).split())
            raise UsageError(
                f"the encoder cannot take images of {spec.size[1]} x {spec.size[2]} px: {complaint}; choose another "
                f"--image-size, or leave it out"
            ) from error
        return [each.shape[1:] for each in maps]


class Pyramid(nn.Module):
    """Maps of ``out_channels`` channels at strides 4, 8, 16, …, as torchvision's detectors want their backbone.

    Of encoders with several strides by a feature pyramid network (Lin et al., Feature Pyramid Networks for Object
    Detection, CVPR 2017). Of plain transformers by the simple feature pyramid, all levels from the last map (Li et al.,
    Exploring Plain Vision Transformer Backbones for Object Detection, ECCV 2022, section 3).
    """

    def __init__(self, maps: FeatureMaps, out_channels: int) -> None:
        """Levels whose smallest ``anchor`` is as large as the images are left out."""
        super().__init__()
        self.maps, self.out_channels = maps, out_channels
        several = len(maps.strides) > 1
        self.levels: nn.Module = (
            FeaturePyramidNetwork(maps.channels, out_channels, LastLevelMaxPool())
            if several
            else SimplePyramid(maps.channels[0], _power_of_two(maps.strides[0]), out_channels)
        )
        strides = maps.strides if several else list(SimplePyramid.STRIDES)
        strides = [*strides, 2 * strides[-1]]
        self.strides = [stride for stride in strides if anchor(stride) < max(maps.spec.size[1:])] or strides[:1]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised images (B, C, H, W) to (B, ``out_channels``, H / stride, W / stride) by the stride's place."""
        maps: dict[str, Tensor] = OrderedDict((str(place), each) for place, each in enumerate(self.maps(images)))
        if isinstance(self.levels, SimplePyramid):
            high, wide = images.shape[2:]
            stride = self.levels.stride
            maps = {"0": F.interpolate(maps["0"], (high // stride, wide // stride), mode="bilinear")}
        levels = list(self.levels(maps).values())[: len(self.strides)]
        return OrderedDict((str(place), level) for place, level in enumerate(levels))


def anchor(stride: int) -> int:
    """Side of the smallest anchor of a level, in pixels."""
    return 4 * stride


class SimplePyramid(nn.Module):
    """Levels of strides 4 to 64 from one map, as ViTDet makes them: up by transposed convolutions, down by pooling."""

    STRIDES = (4, 8, 16, 32)

    def __init__(self, channels: int, stride: int, out_channels: int) -> None:
        """The map has ``channels`` channels, and its stride is a power of two."""
        super().__init__()
        self.stride = stride
        self.stages = nn.ModuleList(_scaled(channels, stride, level, out_channels) for level in self.STRIDES)

    def forward(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """The map under ``0``, (B, C, h, w), to all levels, the finest first."""
        levels = [stage(maps["0"]) for stage in self.stages]
        levels.append(F.max_pool2d(levels[-1], kernel_size=1, stride=2))
        return {str(place): level for place, level in enumerate(levels)}


def _scaled(channels: int, stride: int, level: int, out_channels: int) -> nn.Sequential:
    """A map of ``stride`` to one of stride ``level``."""
    layers: list[nn.Module] = []
    while stride > level:
        if layers:
            layers += [LayerNorm2d(channels), nn.GELU()]
        narrower = max(channels // 2, 1)
        layers.append(nn.ConvTranspose2d(channels, narrower, kernel_size=2, stride=2))
        channels, stride = narrower, stride // 2
    while stride < level:
        layers.append(nn.MaxPool2d(kernel_size=2))
        stride *= 2
    layers += [nn.Conv2d(channels, out_channels, kernel_size=1, bias=False), LayerNorm2d(out_channels)]
    layers += [nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False), LayerNorm2d(out_channels)]
    return nn.Sequential(*layers)


def _power_of_two(stride: int) -> int:
    """The nearest one, as pyramids halve: 16 for patches of 14 pixels, whose map is then resized."""
    return 1 << round(torch.tensor(float(stride)).log2().item())
