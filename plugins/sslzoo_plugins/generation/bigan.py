"""BiGAN: is this a picture with what the encoder finds in it, or random numbers with the picture made of them?

Donahue, Krähenbühl & Darrell, "Adversarial Feature Learning", ICLR 2017, https://arxiv.org/abs/1605.09782. The
discriminator sees pairs (x, E(x)) and (G(z), z); to make it err, encoder and generator must invert each other
(section 3.2). Both minimise its loss with the labels exchanged (section 3.4), and all three step at once on the same
batch. The encoder's picture may be larger than the one that is generated and judged (section 3.5).

Details are those of the authors' code: latents found by the encoder are squeezed into the range of the random ones; in
the discriminator every convolution after the first one adds a projection of the latent, whose weights begin as large
as those of a whole kernel together.

Deviations. The encoder is any, with its own initial weights and non-linearities, in place of AlexNet's convolutions
with leaky ReLU. Its feature is batch-normed, as those convolutions are, and the linear layer upon it begins with
weights that spread latents like the random ones, as theirs does by its many inputs: else the discriminator knows pairs
by the size of the latent from the first step on and need never look at both parts. The generator is DCGAN's; the
authors' has the latent added before each layer, not the first alone. Pairs of either kind are judged in one batch:
normalised in a batch of its own, as by the authors, each kind would hide its colours from the discriminator. Pictures
are cropped at random and mirrored, for data sets smaller than the paper's.

It takes patience: in the log that the authors publish with their code, of ten classes of ImageNet, features are worse
than an untrained encoder's for the first few thousand steps, and clearly better after about twenty thousand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.adversarial import frozen_call, judged
from sslzoo.nn.generators import Generator, draw_weights
from sslzoo.views.color import denormalize
from sslzoo.views.latents import PicturesAndLatents

KERNEL, START = 5, 4
"""Size of the discriminator's kernels, and of its last map."""
LOGISTIC = math.pi / 3**0.5
"""Standard deviation of the numbers whose sigmoid is uniform."""


@dataclass(frozen=True)
class BiGANConfig:
    latent_dim: int = 200
    """Length of what a picture is generated from, and encoded to, in -1 to 1."""
    generated_size: int = 64
    """Height and width of generated pictures, at most those of the encoder's."""
    generator_width: int = 64
    """Channels before the generator's last layer; each layer before it has twice as many, up to 1024."""
    discriminator_width: int = 64
    """Channels after the discriminator's first layer; each layer after it has twice as many."""
    min_scale: float = 0.5
    """Smallest crop, as a share of the picture's area."""


class Discriminator(nn.Module):
    """Pictures (B, C, H, W) and their latents (B, latent_dim) to logits (B, 1): four convolutions that halve."""

    def __init__(self, channels: int, latent_dim: int, width: int) -> None:
        super().__init__()
        widths = [width << step for step in range(4)]
        self.first = _halve(channels, width)
        self.convolve = nn.ModuleList(_halve(wide, 2 * wide) for wide in widths[:-1])
        self.condition = nn.ModuleList(nn.Linear(latent_dim, wide, bias=False) for wide in widths[1:])
        self.norm = nn.ModuleList(nn.BatchNorm2d(wide) for wide in widths[1:])
        self.last = nn.Sequential(
            nn.AdaptiveAvgPool2d(START), nn.Flatten(), nn.Linear(START * START * widths[-1], 1, bias=False)
        )
        draw_weights(self)
        for condition in self.condition:
            nn.init.normal_(condition.get_parameter("weight"), std=0.02 * KERNEL * KERNEL)

    def forward(self, pictures: Tensor, latents: Tensor) -> Tensor:
        maps = F.leaky_relu(self.first(pictures), 0.2)
        for convolve, condition, norm in zip(self.convolve, self.condition, self.norm, strict=True):
            maps = F.leaky_relu(norm(convolve(maps) + condition(latents)[:, :, None, None]), 0.2)
        return self.last(maps)


def _halve(narrow: int, wide: int) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, KERNEL, stride=2, padding=KERNEL // 2, bias=False)


class BiGAN(PretextMethod):
    info = MethodInfo(
        name="bigan",
        category="generation",
        family="image-generation",
        modalities=("image",),
        paper=Paper(
            authors="Donahue, Krähenbühl & Darrell",
            title="Adversarial Feature Learning",
            venue="ICLR",
            year=2017,
            url="https://arxiv.org/abs/1605.09782",
        ),
        summary="Tell pictures and what is found in them from random numbers and what is made of them.",
    )
    Config = BiGANConfig
    # The authors' code and its README: Adam at 2e-4 with a momentum of 0.5, 100 epochs of ImageNet. The rate falls
    # exponentially to a hundredth over the second half, here in two steps.
    defaults = PretrainConfig(
        encoder="resnet18",
        image_size=112,
        epochs=100,
        batch_size=128,
        optimizer="adam",
        lr=2e-4,
        momentum=0.5,
        weight_decay=2.5e-5,
        schedule="step",
        milestones=(0.625, 0.875),
    )
    # At 5e-4 and with twice the width the discriminator wins within two epochs of clip art, and nothing more is learnt.
    recipes = {
        "small": {
            **SMALL,
            "optimizer": "adam",
            "lr": 2e-4,
            "momentum": 0.5,
            "weight_decay": 2.5e-5,
            "schedule": "constant",
            "warmup_epochs": 0.0,
            "generator_width": 32,
            "discriminator_width": 16,
        }
    }

    @staticmethod
    def views(config: BiGANConfig, spec: InputSpec) -> Views:
        return PicturesAndLatents(spec, config.latent_dim, config.min_scale)

    def __init__(self, encoder: nn.Module, config: BiGANConfig) -> None:
        super().__init__(encoder, config)
        spec = spec_of(encoder).input
        channels, *size = spec.size
        height, width = (min(length, config.generated_size) for length in size)
        self.size = (height, width)
        to_latent = nn.Linear(self.feature_dim, config.latent_dim, bias=False)
        nn.init.normal_(to_latent.weight, std=LOGISTIC / self.feature_dim**0.5)
        self.head = nn.Sequential(nn.BatchNorm1d(self.feature_dim), to_latent)
        self.generator = Generator(
            config.latent_dim, replace(spec, size=(channels, height, width)), config.generator_width
        )
        self.discriminator = Discriminator(channels, config.latent_dim, config.discriminator_width)

    def infer(self, pictures: Tensor) -> Tensor:
        """Latents (B, latent_dim) in -1 to 1 of pictures of the encoder's size."""
        return self.head(self.encoder(pictures)).sigmoid() * 2 - 1

    def shrink(self, pictures: Tensor) -> Tensor:
        """Pictures of the encoder's size as the discriminator sees them."""
        if pictures.shape[2:] == self.size:
            return pictures
        return F.interpolate(pictures, size=self.size, mode="bilinear", antialias=True)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        latent = batch["latent"]
        real, inferred = self.shrink(batch["views"][0]), self.infer(batch["views"][0])
        fake = self.generator(latent)
        pictures, latents = torch.cat([real, fake]), torch.cat([inferred, latent])
        found, made = self.discriminator(pictures.detach(), latents.detach()).chunk(2)
        discriminator_loss = judged(found, real=True) + judged(made, real=False)
        found, made = frozen_call(self.discriminator, pictures, latents).chunk(2)
        encoder_loss, generator_loss = judged(found, real=False), judged(made, real=True)
        return {
            "loss": discriminator_loss + encoder_loss + generator_loss,
            "discriminator_loss": discriminator_loss,
            "encoder_loss": encoder_loss,
            "generator_loss": generator_loss,
        }

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures, those generated from what the encoder finds in them, and those from random numbers."""
        spec, images = spec_of(self.encoder).input, batch["views"][0]
        pictures = {
            "pictures": self.shrink(images),
            "reconstructed": self.generator(self.infer(images)),
            "generated": self.generator(batch["latent"]),
        }
        return {title: denormalize(shown, spec.mean, spec.std) for title, shown in pictures.items()}
