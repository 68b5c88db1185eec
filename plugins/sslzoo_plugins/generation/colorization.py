"""Colorization: which colours does this grey picture have?

Zhang, Isola & Efros, "Colorful Image Colorization", ECCV 2016, https://arxiv.org/abs/1603.08511. From the lightness L
of CIELAB a distribution over 313 bins of colours a, b is predicted for each pixel. Its target is the five nearest bins,
weighted by a Gaussian of sigma 5, and pixels of rare colours count more (equations 2 to 4). What is shown is the
annealed mean of the prediction (equation 5). Pictures without colour (no a or b beyond 5) are not asked for, as in the
authors' code.

The encoder sees L as a grey RGB picture of that lightness, normalised as at evaluation, and so remains a plain encoder
of colour pictures.

Deviations. How frequent colours are is counted in the run's own pictures from the first batch on, instead of in
ImageNet beforehand: the first steps go by the first pictures. The paper dilates its networks to keep a stride of 8, or
16 for AlexNet; an encoder of any stride keeps its own here, and a convolutional decoder reads its feature and maps down
to the size of the prediction, a quarter of the picture's, which is that of the paper's colorization network.
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
from sslzoo.nn.gather import gather
from sslzoo.views import draw_for
from sslzoo.views.color import normalize, to_float
from sslzoo.views.crop import random_resized_crop
from sslzoo.views.lab import lab_to_rgb, only_lightness, paled, rgb_to_lab

STRIDE = 4


@dataclass(frozen=True)
class ColorizationConfig:
    uniform: float = 0.5
    """How much of a uniform distribution is mixed into the frequency by whose inverse colours count; 1 counts all
    alike."""
    temperature: float = 0.38
    """Sharpens the predicted distribution before its mean is shown: 1 gives the mean, 0 the mode."""
    decoder_dim: int = 512
    """Channels of the decoder where it begins; each stage has half as many."""
    min_scale: float = 0.5
    """Smallest crop, as a share of the picture's area."""


class Grey(Views):
    """A crop, perhaps mirrored: its grey picture, normalised, and ``lab``."""

    def __init__(self, config: ColorizationConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec

    def crop(self, samples: list[Sample]) -> Batch:
        images, scale = [sample["image"] for sample in samples], (self.config.min_scale, 1.0)
        return {"image": random_resized_crop(images, self.spec.size[1:], draw_for(samples).at("crop"), scale, flip=0.5)}

    def augment(self, batch: Batch) -> Batch:
        batch["lab"] = rgb_to_lab(to_float(batch.pop("image")))
        grey = only_lightness(batch["lab"])
        batch["views"] = [normalize(grey, self.spec.mean, self.spec.std, inplace=True)]
        return batch


class ColorCounts(nn.Module):
    """How frequent the bins are in the pictures of the run, and so how much a pixel of each counts."""

    counts: Tensor
    """(bins,): how many pictures' worth of pixels each has had, beginning with one picture shared out evenly."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.full((bins,), 1 / bins))

    @torch.no_grad()
    def add(self, index: Tensor, weights: Tensor) -> None:
        """Count the encodings (B, 5, H, W) of a batch, the same on all processes, which must call this together."""
        mine = torch.zeros_like(self.counts).index_add_(0, index.flatten(), weights.flatten().to(self.counts))
        self.counts += gather(mine[None] / index[0, 0].numel()).sum(dim=0)

    @property
    def prior(self) -> Tensor:
        """(bins,): the mean encoding of all pixels so far.

        It is their empirical distribution, smoothed by the Gaussian of the encoding as the authors smooth ImageNet's.
        """
        return self.counts / self.counts.sum()

    def rarity(self, uniform: float) -> Tensor:
        """(bins,): inverse to the prior with ``uniform`` of an even one mixed in; their mean is 1 (equation 4)."""
        prior = self.prior
        weights = 1 / ((1 - uniform) * prior + uniform / len(prior))
        return weights / (prior * weights).sum()


class Colorization(PretextMethod):
    info = MethodInfo(
        name="colorization",
        category="generation",
        family="colorization",
        modalities=("image",),
        paper=Paper(
            authors="Zhang, Isola & Efros",
            title="Colorful Image Colorization",
            venue="ECCV",
            year=2016,
            url="https://arxiv.org/abs/1603.08511",
        ),
        summary="Tell the colours of a picture from its lightness.",
    )
    Config = ColorizationConfig
    # The authors' solver for feature learning: Adam at 3e-5, lowered after 240, 300 and 400 thousand steps of 80
    # pictures, about 35 epochs of ImageNet.
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
    # Where most of every picture is white, weights as uneven as for photographs take an evener mixture.
    recipes = {"small": {**SMALL, "decoder_dim": 128, "uniform": 0.9}}

    @staticmethod
    def views(config: ColorizationConfig, spec: InputSpec) -> Views:
        return Grey(config, spec)

    def __init__(self, encoder: nn.Module, config: ColorizationConfig) -> None:
        super().__init__(encoder, config)
        require_rgb(encoder)
        _, height, width = spec_of(encoder).input.size
        self.size = (height // STRIDE, width // STRIDE)
        maps = map_shapes(encoder)
        self.maps = [shape for shape in maps if shape.size[0] <= self.size[0]] or maps[:1]
        self.colors = ColorBins()
        self.counts = ColorCounts(len(self.colors))
        self.decoder = Decoder(self.feature_dim, self.maps, self.size, len(self.colors), config.decoder_dim)

    def logits(self, batch: Batch) -> Tensor:
        """(B, 313, H / 4, W / 4)."""
        return self.decoder(*encode_maps(self.encoder, batch["views"][0], self.maps))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.logits(batch)
        ab = F.interpolate(batch["lab"][:, 1:], size=self.size, mode="nearest")
        index, weights = self.colors.encode(ab)
        colored = (ab.abs() > 5).flatten(1).any(dim=1)[:, None, None]
        if self.training:
            self.counts.add(index, weights * colored[:, None])
        entropy = soft_cross_entropy(logits, index, weights) * colored
        rarity = self.counts.rarity(self.config.uniform)[index[:, 0]]
        return {"loss": (entropy * rarity).mean(), "cross_entropy": entropy.mean()}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """What the encoder sees, with the predicted colours, and as it was."""
        lab = batch["lab"]
        predicted = annealed_mean(self.logits(batch), self.colors.bins, self.config.temperature)
        predicted = F.interpolate(predicted, size=lab.shape[2:], mode="bilinear")
        return {
            "lightness": only_lightness(lab),
            "coloured as predicted": lab_to_rgb(paled(torch.cat([lab[:, :1], predicted], dim=1))),
            "original": lab_to_rgb(lab),
        }
