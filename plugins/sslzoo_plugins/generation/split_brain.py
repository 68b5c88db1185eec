"""Split-brain autoencoder: tell the colours from the lightness, and the lightness from the colours.

Zhang, Isola & Efros, "Split-Brain Autoencoders: Unsupervised Learning by Cross-Channel Prediction", CVPR 2017,
https://arxiv.org/abs/1611.09842. In CIELAB, colours a, b are predicted from L as one of 313 bins, with the five nearest
as target (see ``colorization``), and L from a, b as one of 100, both by cross-entropy; all pixels count alike.

Deviations. The paper splits AlexNet along its channels into two half-networks, one for each task, and publishes both
side by side, which is no plain encoder of colour pictures. Here one encoder does both tasks, given one part of the
picture at a time, which is an alternative that the paper names and finds weaker. The part that is kept from it is made
constant: L comes as a grey picture, a and b as a picture whose lightness is 50 everywhere (colours that
sRGB does not have at that lightness are cut off). So at evaluation it sees both parts together for the first time. Maps
and sizes are as in ``colorization``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.color_bins import ColorBins, annealed_mean, require_rgb, soft_cross_entropy
from sslzoo.nn.decoders import Decoder, encode_maps, map_shapes
from sslzoo.nn.precision import in_float32
from sslzoo.views import draw_for
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import random_resized_crop
from sslzoo.views.lab import lab_to_rgb, only_colors, only_lightness, paled, rgb_to_lab

STRIDE = 4
LIGHTNESS_BINS = 100


@dataclass(frozen=True)
class SplitBrainConfig:
    decoder_dim: int = 512
    """Channels of both decoders where they begin; each stage has half as many."""
    min_scale: float = 0.5
    """Smallest crop, as a share of the picture's area."""


class LightnessAndColors(Views):
    """A crop, perhaps mirrored: its grey picture and that of its colours only, normalised, and ``lab``."""

    def __init__(self, config: SplitBrainConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec

    def crop(self, samples: list[Sample]) -> Batch:
        images, scale = [sample["image"] for sample in samples], (self.config.min_scale, 1.0)
        return {"image": random_resized_crop(images, self.spec.size[1:], draw_for(samples).at("crop"), scale, flip=0.5)}

    def augment(self, batch: Batch) -> Batch:
        lab = batch["lab"] = rgb_to_lab(to_float(batch.pop("image")))
        parts = (only_lightness(lab), only_colors(lab))
        batch["views"] = [normalize(part, self.spec.mean, self.spec.std, inplace=True) for part in parts]
        return batch


@in_float32
def lightness_cross_entropy(logits: Tensor, lightness: Tensor) -> Tensor:
    """Of logits (B, 100, H, W) over bins of one unit, and L (B, H, W); white is in the last bin."""
    return F.cross_entropy(logits, lightness.long().clamp(0, LIGHTNESS_BINS - 1))


class SplitBrain(PretextMethod):
    info = MethodInfo(
        name="split_brain",
        category="generation",
        family="colorization",
        modalities=("image",),
        paper=Paper(
            authors="Zhang, Isola & Efros",
            title="Split-Brain Autoencoders: Unsupervised Learning by Cross-Channel Prediction",
            venue="CVPR",
            year=2017,
            url="https://arxiv.org/abs/1611.09842",
        ),
        summary="Tell the colours of a picture from its lightness, and its lightness from its colours.",
    )
    Config = SplitBrainConfig
    # The recipe of the same authors' colorization.
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=35,
        batch_size=80,
        optimizer="adam",
        lr=3e-5,
        momentum=0.9,
        weight_decay=1e-3,
        schedule="step",
        milestones=(0.44, 0.55, 0.73),
    )
    recipes = {"small": {**SMALL, "decoder_dim": 128}}

    @staticmethod
    def views(config: SplitBrainConfig, spec: InputSpec) -> Views:
        return LightnessAndColors(config, spec)

    def __init__(self, encoder: nn.Module, config: SplitBrainConfig) -> None:
        super().__init__(encoder, config)
        require_rgb(encoder)
        _, height, width = spec_of(encoder).input.size
        self.size = (height // STRIDE, width // STRIDE)
        maps = map_shapes(encoder)
        self.maps = [shape for shape in maps if shape.size[0] <= self.size[0]] or maps[:1]
        self.colors = ColorBins()
        to_map = (self.feature_dim, self.maps, self.size)
        self.to_colors = Decoder(*to_map, len(self.colors), config.decoder_dim)
        self.to_lightness = Decoder(*to_map, LIGHTNESS_BINS, config.decoder_dim)

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of colours (B, 313, H / 4, W / 4) given lightness, and of lightness (B, 100, H / 4, W / 4) given colours."""
        feature, maps = encode_maps(self.encoder, torch.cat(batch["views"]), self.maps)
        parts = [part.chunk(2) for part in (feature, *maps)]
        (grey, *grey_maps), (colored, *colored_maps) = zip(*parts, strict=True)
        return self.to_colors(grey, grey_maps), self.to_lightness(colored, colored_maps)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        colors, lightness = self.logits(batch)
        lab = F.interpolate(batch["lab"], size=self.size, mode="nearest")
        color_loss = soft_cross_entropy(colors, *self.colors.encode(lab[:, 1:])).mean()
        lightness_loss = lightness_cross_entropy(lightness, lab[:, 0])
        return {"loss": color_loss + lightness_loss, "color_loss": color_loss, "lightness_loss": lightness_loss}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Each part as the encoder sees it, what it makes of it, and the original."""
        spec, lab = spec_of(self.encoder).input, batch["lab"]
        colors, lightness = self.logits(batch)
        middles = torch.arange(LIGHTNESS_BINS, device=lab.device)[:, None] + 0.5
        ab, lightness = (
            F.interpolate(annealed_mean(logits, bins), size=lab.shape[2:], mode="bilinear")
            for logits, bins in ((colors, self.colors.bins), (lightness, middles))
        )
        grey, colored = (denormalize(view, spec.mean, spec.std) for view in batch["views"])
        return {
            "lightness": grey,
            "with predicted colours": lab_to_rgb(paled(torch.cat([lab[:, :1], ab], dim=1))),
            "colours": colored,
            "with predicted lightness": lab_to_rgb(paled(torch.cat([lightness, lab[:, 1:]], dim=1))),
            "original": lab_to_rgb(lab),
        }
