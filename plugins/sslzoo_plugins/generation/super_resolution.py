"""Super-resolution (SRGAN): draw a small picture larger, with the details that it lost.

Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network", CVPR 2017,
https://arxiv.org/abs/1609.04802. A picture is shrunk by bicubic interpolation; the generator enlarges it by layers that
compute four pixels in the channels of each and put them in place (PixelShuffle, Shi et al., CVPR 2016); the loss is
content plus a thousandth of the adversarial one (equation 3). The content loss is the squared error of pixels: the
paper's SRGAN-MSE (section 3.3). Its better-known one compares features of a VGG that was trained on labels, which a
self-supervised method does not have.

The encoder gets the small picture, which therefore has the encoder's image size, and what is drawn is ``scale`` times
as large. The paper's generator keeps the small picture's size up to its last layers, while an encoder ends 16 or 32
times smaller; so a decoder goes from the encoder's last map back to the small picture's size, with the earlier maps
beside it, and the paper's enlarging layers follow. A transformer has maps of one size only. As details finer than the
maps would be lost, the network adds to the bicubically enlarged picture, in place of the paper's skip over its blocks.

Further deviations: the adversarial loss is there from the first step, not after a million steps without it; the last
convolution is 3 x 3, not 9 x 9; crops are resized, and mirrored; and the discriminator pools to 6 x 6, which in the
paper is its size at 96 pixels, before its first fully-connected layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.adversarial import frozen_call, judged
from sslzoo.nn.decoders import Decoder, encode_maps, map_shapes
from sslzoo.nn.precision import in_float32
from sslzoo.views import draw_for
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import random_resized_crop


@dataclass(frozen=True)
class SuperResolutionConfig:
    scale: Literal[2, 4] = 4
    """How many times higher and wider the picture becomes."""
    adversarial: float = 1e-3
    """Weight of the adversarial loss beside the content loss."""
    decoder_dim: int = 512
    """Channels of the decoder where it begins; each stage has half as many, but at least 16."""
    generator_dim: int = 64
    """Channels of the layers that enlarge."""
    discriminator_dim: int = 64
    """Channels of the discriminator's first layer."""
    min_scale: float = 0.5
    """Smallest crop, as a share of the picture's area."""


class SmallPictures(Views):
    """A crop shrunk to the encoder's size, normalised, and as ``target`` the crop itself, in [-1, 1]."""

    def __init__(self, config: SuperResolutionConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec

    def crop(self, samples: list[Sample]) -> Batch:
        images, draw = [sample["image"] for sample in samples], draw_for(samples).at("crop")
        size = (self.config.scale * self.spec.size[1], self.config.scale * self.spec.size[2])
        return {"image": random_resized_crop(images, size, draw, (self.config.min_scale, 1.0), interpolation="bicubic")}

    def augment(self, batch: Batch) -> Batch:
        image = to_float(batch.pop("image"))
        small = F.interpolate(image, size=self.spec.size[1:], mode="bicubic", antialias=True).clamp_(0, 1)
        batch["views"] = [normalize(small, self.spec.mean, self.spec.std, inplace=True)]
        batch["target"] = image.mul_(2).sub_(1)
        return batch


def enlarging(dim: int, channels: int, scale: int) -> nn.Sequential:
    """(B, dim, H, W) to (B, channels, scale H, scale W): twice as large by each sub-pixel layer; at first all zeros."""
    layers: list[nn.Module] = [nn.ReLU()]
    for _ in range(round(math.log2(scale))):
        layers += [nn.Conv2d(dim, 4 * dim, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()]
    last = nn.Conv2d(dim, channels, 3, padding=1)
    for parameter in last.parameters():  # what is drawn begins as the bicubic picture
        nn.init.zeros_(parameter)
    return nn.Sequential(*layers, last)


def discriminator(channels: int, dim: int) -> nn.Sequential:
    """The paper's (figure 4): eight convolutions, of which every second halves the picture; logits (B, 1)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, dim, 3, padding=1), nn.LeakyReLU(0.2)]
    widths = (dim, dim, 2 * dim, 2 * dim, 4 * dim, 4 * dim, 8 * dim, 8 * dim)
    for number, (wide, wider) in enumerate(zip(widths, widths[1:], strict=False)):
        convolve = nn.Conv2d(wide, wider, 3, stride=2 - number % 2, padding=1, bias=False)
        layers += [convolve, nn.BatchNorm2d(wider), nn.LeakyReLU(0.2)]
    head = (nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(36 * 8 * dim, 16 * dim), nn.LeakyReLU(0.2))
    return nn.Sequential(*layers, *head, nn.Linear(16 * dim, 1))


@in_float32
def squared_error(drawn: Tensor, target: Tensor) -> Tensor:
    """Equation 4: the mean over all pixels."""
    return (drawn - target).square().mean()


def psnr(error: Tensor) -> Tensor:
    """The peak signal-to-noise ratio in dB of a squared error between pixels in [-1, 1]."""
    return 10 * (4 / error.clamp(min=1e-10)).log10()


class SuperResolution(PretextMethod):
    info = MethodInfo(
        name="super_resolution",
        category="generation",
        family="super-resolution",
        modalities=("image",),
        paper=Paper(
            authors="Ledig et al.",
            title="Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network",
            venue="CVPR",
            year=2017,
            url="https://arxiv.org/abs/1609.04802",
        ),
        summary="Draw a small picture larger, with the details that it lost.",
    )
    Config = SuperResolutionConfig
    # Section 3.2: 1.2 million steps of 16 pictures, at 1e-4 but for the last 100 thousand. Both players have one rate.
    # The paper's small pictures are 24 pixels wide, less than an encoder's last map is worth.
    defaults = PretrainConfig(
        encoder="resnet50",
        image_size=64,
        epochs=15,
        batch_size=16,
        optimizer="adam",
        lr=1e-4,
        momentum=0.9,
        weight_decay=0.0,
        schedule="step",
        milestones=(11 / 12,),
    )
    recipes = {"small": {**SMALL, "scale": 2, "decoder_dim": 128, "generator_dim": 8, "discriminator_dim": 8}}

    @staticmethod
    def views(config: SuperResolutionConfig, spec: InputSpec) -> Views:
        return SmallPictures(config, spec)

    def __init__(self, encoder: nn.Module, config: SuperResolutionConfig) -> None:
        super().__init__(encoder, config)
        channels, height, width = spec_of(encoder).input.size
        self.maps = map_shapes(encoder)
        self.decoder = Decoder(self.feature_dim, self.maps, (height, width), config.generator_dim, config.decoder_dim)
        self.enlarge = enlarging(config.generator_dim, channels, config.scale)
        self.discriminator = discriminator(channels, config.discriminator_dim)

    def draw(self, small: Tensor) -> tuple[Tensor, Tensor]:
        """The large picture (B, C, scale H, scale W) in [-1, 1], and the bicubic one that it began from."""
        spec = spec_of(self.encoder).input
        picture = denormalize(small, spec.mean, spec.std) * 2 - 1
        bicubic = F.interpolate(picture, scale_factor=self.config.scale, mode="bicubic").clamp(-1, 1)
        return bicubic + self.enlarge(self.decoder(*encode_maps(self.encoder, small, self.maps))), bicubic

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        target = batch["target"]
        drawn, bicubic = self.draw(batch["views"][0])
        content = squared_error(drawn, target)
        judging = judged(self.discriminator(target), True) + judged(self.discriminator(drawn.detach()), False)
        fooling = judged(frozen_call(self.discriminator, drawn), True)
        return {
            "loss": content + self.config.adversarial * fooling + judging,
            "generator_loss": fooling,
            "discriminator_loss": judging,
            "psnr": psnr(content.detach()),
            "bicubic_psnr": psnr(squared_error(bicubic, target)),
        }

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """The middle of each picture, pixel by pixel: small, enlarged bicubically and by the network, and as it was."""
        spec, small, scale = spec_of(self.encoder).input, batch["views"][0], self.config.scale
        drawn, bicubic = self.draw(small)
        repeated = F.interpolate(denormalize(small, spec.mean, spec.std) * 2 - 1, scale_factor=scale, mode="nearest")
        large = {"small": repeated, "bicubic": bicubic, "super-resolved": drawn.float(), "original": batch["target"]}
        (height, width), top, left = spec.size[1:], *((scale - 1) * length // 2 for length in spec.size[1:])
        middle = (..., slice(top, top + height), slice(left, left + width))
        return {title: ((image[middle] + 1) / 2).clamp(0, 1) for title, image in large.items()}
