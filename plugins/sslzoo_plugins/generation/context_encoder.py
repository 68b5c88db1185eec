"""Context encoder: from what is around it, predict a missing part of a picture.

Pathak, Krähenbühl, Donahue, Darrell & Efros, "Context Encoders: Feature Learning by Inpainting", CVPR 2016,
https://arxiv.org/abs/1604.07379. Missing is the centre, or blocks, or a region of any shape, which gives the best
features (section 3.3); it is filled with the mean colour. Two details are those of the authors' code: around a missing
centre a band that can be seen is predicted too, and its error counts ten times; regions are where smoothed noise is
low, rather than shapes from PASCAL's segmentations. The L2 error is of missing pixels (equation 1).

The adversarial loss is off by default, for the paper trains features without it (section 5.2: it did not converge with
AlexNet); ``adversarial=0.001`` is its inpainting. The discriminator sees what is predicted, in place and on grey, and
nothing of the context, where a seam would tell it all (section 3.2). It learns ten times more slowly.

Deviations. The decoder has the picture's size, so that all masks are alike, and reads the encoder's feature and its
last map; where a small picture leaves that fewer places than AlexNet's 6 x 6, also earlier ones until one has as many.
Each goes through the paper's channel-wise fully-connected layer, which spreads what is known over the picture and, as
one weight per pair of places, belongs to one image size. The band is as wide as the paper's 7 of 128 pixels; a mask of
a region has exactly a quarter of the pixels, where the code has 20 to 30 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.adversarial import frozen_call, judged
from sslzoo.nn.decoders import Decoder, bottleneck_maps, encode_maps
from sslzoo.nn.precision import in_float32
from sslzoo.views import draw_for
from sslzoo.views.color import normalize, to_float
from sslzoo.views.crop import random_resized_crop
from sslzoo.views.keyed import Draw
from sslzoo.views.masks import block_mask, center_mask, region_mask

MISSING, BLOCKS = 0.25, 10
"""Share of the pixels that are missing, and of how many blocks."""
OVERLAP, OVERLAP_WEIGHT = 7 / 128, 10.0
"""Width of the band that a missing centre has in common with its context, and what its error counts."""


@dataclass(frozen=True)
class ContextEncoderConfig:
    mask: Literal["region", "blocks", "center"] = "region"
    """What is missing: a quarter of the picture in any shape, up to a quarter in ten blocks, or its centre."""
    adversarial: float = 0.0
    """Weight of the adversarial loss; that of the L2 loss is the rest. The paper's for inpainting is 0.001."""
    discriminator_dim: int = 64
    """Channels of the discriminator's first layer."""
    decoder_dim: int = 512
    """Channels of the decoder where it begins; each stage has half as many, but at least 16."""
    min_scale: float = 0.2
    """Smallest crop, as a share of the picture's area."""


class MaskedPictures(Views):
    """A crop without its missing part, normalised; the crop in [-1, 1]; and what the error at each pixel counts."""

    def __init__(self, config: ContextEncoderConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec

    def crop(self, samples: list[Sample]) -> Batch:
        images, scale = [sample["image"] for sample in samples], (self.config.min_scale, 1.0)
        return {"image": random_resized_crop(images, self.spec.size[1:], draw_for(samples).at("crop"), scale)}

    def augment(self, batch: Batch) -> Batch:
        image = to_float(batch.pop("image"))
        missing, batch["weight"] = missing_and_weight(self.config.mask, Draw(batch["key"]), self.spec.size[1:])
        seen = normalize(image, self.spec.mean, self.spec.std).masked_fill_(missing, 0.0)  # 0 is the mean colour
        batch["views"], batch["target"] = [seen], image.mul_(2).sub_(1)
        return batch


def missing_and_weight(mask: str, draw: Draw, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where pixels are missing (B, 1, H, W) bool, and what their error counts (B, 1, H, W): 0 where none is counted."""
    if mask == "region":
        missing = region_mask(draw, size, MISSING)
    elif mask == "blocks":
        missing = block_mask(draw, size, BLOCKS, MISSING)
    else:
        predicted, missing = center_mask(size), center_mask(size, margin=round(OVERLAP * min(size)))
        weight = torch.where(missing, 1.0, OVERLAP_WEIGHT) * predicted
        missing, weight = (part.to(draw.key.device).repeat(len(draw.key), 1, 1, 1) for part in (missing, weight))
        return missing, weight
    return missing, missing.float()


@in_float32
def masked_error(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Equation 1: squared errors (B, C, H, W) times ``weight`` (B, 1, H, W), by the number of those that count."""
    error = (predicted - target).square().mean(dim=1, keepdim=True) * weight
    return (error.flatten(1).sum(dim=1) / (weight > 0).flatten(1).sum(dim=1)).mean()


class ChannelwiseLinear(nn.Module):
    """Each channel's map through a fully-connected layer of its own (section 3.1): (B, C, H, W) to the same.

    It begins by passing maps on as they are.
    """

    def __init__(self, channels: int, places: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(places).repeat(channels, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return torch.einsum("bcn,cnm->bcm", maps.flatten(2), self.weight).view_as(maps)


def discriminator(channels: int, dim: int) -> nn.Sequential:
    """DCGAN's, as in the authors' code: halve the picture and double the channels four times; logits (B, 1)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, dim, 4, 2, 1), nn.LeakyReLU(0.2)]
    for wide in (2 * dim, 4 * dim, 8 * dim):
        layers += [nn.Conv2d(wide // 2, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * 8 * dim, 1))


class ContextEncoder(PretextMethod):
    info = MethodInfo(
        name="context_encoder",
        category="generation",
        family="inpainting",
        modalities=("image",),
        paper=Paper(
            authors="Pathak, Krähenbühl, Donahue, Darrell & Efros",
            title="Context Encoders: Feature Learning by Inpainting",
            venue="CVPR",
            year=2016,
            url="https://arxiv.org/abs/1604.07379",
        ),
        summary="From what is around it, predict a missing part of a picture.",
    )
    Config = ContextEncoderConfig
    # The authors' code: Adam at 2e-4 with a first beta of 0.5, times ten for encoder and decoder.
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=25,
        batch_size=64,
        optimizer="adam",
        lr=2e-3,
        momentum=0.5,
        weight_decay=0.0,
        schedule="constant",
    )
    recipes = {"small": {**SMALL, "decoder_dim": 128, "discriminator_dim": 16, "min_scale": 0.5}}

    @staticmethod
    def views(config: ContextEncoderConfig, spec: InputSpec) -> Views:
        return MaskedPictures(config, spec)

    def __init__(self, encoder: nn.Module, config: ContextEncoderConfig) -> None:
        super().__init__(encoder, config)
        channels, height, width = spec_of(encoder).input.size
        self.maps = bottleneck_maps(encoder)
        self.spread = nn.ModuleList(ChannelwiseLinear(found.channels, math.prod(found.size)) for found in self.maps)
        self.decoder = Decoder(self.feature_dim, self.maps, (height, width), channels, config.decoder_dim)
        self.discriminator = discriminator(channels, config.discriminator_dim) if config.adversarial else None

    def lr_scales(self) -> dict[str, float]:
        return {"discriminator.": 0.1}

    def predict(self, seen: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1]: the whole picture, of which only what is missing is ever trained."""
        feature, maps = encode_maps(self.encoder, seen, self.maps)
        return self.decoder(feature, [spread(found) for spread, found in zip(self.spread, maps, strict=True)]).tanh()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        predicted, target, weight = self.predict(batch["views"][0]), batch["target"], batch["weight"]
        error = masked_error(predicted, target, weight)
        if self.discriminator is None:
            return {"loss": error}
        counts = weight > 0
        real, fake, share = target * counts, predicted * counts, self.config.adversarial
        judging = judged(self.discriminator(real), True) + judged(self.discriminator(fake.detach()), False)
        fooling = judged(frozen_call(self.discriminator, fake), True)
        return {
            "loss": (1 - share) * error + share * fooling + judging,
            "squared_error": error,
            "generator_loss": fooling,
            "discriminator_loss": judging,
        }

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures as the encoder sees them, with what is missing filled in, and as they were."""
        target, predicted = batch["target"], self.predict(batch["views"][0]).float()
        missing = batch["weight"] == 1  # in the band it is more
        pictures = {
            "seen": target.masked_fill(missing, 0.0),
            "filled in": torch.where(missing, predicted, target),
            "original": target,
        }
        return {title: ((picture + 1) / 2).clamp(0, 1) for title, picture in pictures.items()}
