"""DCGAN: is this a photograph, or did the generator make it?

Radford, Metz & Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", ICLR 2016, https://arxiv.org/abs/1511.06434. The trunk of the discriminator is the encoder, whose features
are what the paper evaluates. The generator is the paper's; its loss is the one that does not saturate, as in the
authors' code.

Deviations. The discriminator is any encoder, with its own initial weights, strides and non-linearities and one linear
layer upon its pooled feature, not the paper's four convolutions. Real and generated pictures go through it in one
batch, where the paper's go apart: with batch norm right behind the input, which the paper's discriminator leaves out
and most encoders have, a generated batch of its own would be normalised until it looks like a real one. Both players
step at once on the gradients of the same batch, as in BiGAN's code, rather than in turns. Pictures are cropped at
random and mirrored, for data sets smaller than the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.adversarial import frozen_call, judged
from sslzoo.nn.generators import Generator
from sslzoo.views.color import denormalize
from sslzoo.views.latents import PicturesAndLatents


@dataclass(frozen=True)
class DCGANConfig:
    latent_dim: int = 100
    """Length of what a picture is generated from, uniform in -1 to 1."""
    generator_width: int = 128
    """Channels before the generator's last layer; each layer before it has twice as many, up to 1024."""
    min_scale: float = 0.5
    """Smallest crop, as a share of the picture's area."""


class DCGAN(PretextMethod):
    info = MethodInfo(
        name="dcgan",
        category="generation",
        family="image-generation",
        modalities=("image",),
        paper=Paper(
            authors="Radford, Metz & Chintala",
            title="Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
            venue="ICLR",
            year=2016,
            url="https://arxiv.org/abs/1511.06434",
        ),
        summary="Tell pictures from those that a generator makes.",
    )
    Config = DCGANConfig
    # Section 4: Adam at 2e-4 with a momentum of 0.5, batches of 128. The number of epochs is ours.
    defaults = PretrainConfig(
        encoder="resnet18",
        image_size=64,
        epochs=25,
        batch_size=128,
        optimizer="adam",
        lr=2e-4,
        momentum=0.5,
        weight_decay=0.0,
        schedule="constant",
    )
    recipes = {
        "small": {
            **SMALL,
            "optimizer": "adam",
            "lr": 2e-4,
            "momentum": 0.5,
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup_epochs": 0.0,
            "generator_width": 32,
        }
    }

    @staticmethod
    def views(config: DCGANConfig, spec: InputSpec) -> Views:
        return PicturesAndLatents(spec, config.latent_dim, config.min_scale)

    def __init__(self, encoder: nn.Module, config: DCGANConfig) -> None:
        super().__init__(encoder, config)
        self.head = nn.Linear(self.feature_dim, 1)
        self.generator = Generator(config.latent_dim, spec_of(encoder).input, config.generator_width)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        real, fake = batch["views"][0], self.generator(batch["latent"])
        found, unmasked = self.head(self.encoder(torch.cat([real, fake.detach()]))).chunk(2)
        _, deceiving = frozen_call(self.head, frozen_call(self.encoder, torch.cat([real, fake]))).chunk(2)
        discriminator_loss = judged(found, real=True) + judged(unmasked, real=False)
        generator_loss = judged(deceiving, real=True)
        return {
            "loss": discriminator_loss + generator_loss,
            "discriminator_loss": discriminator_loss,
            "generator_loss": generator_loss,
        }

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures, generated ones, and those half-way from each to the next."""
        spec, latent = spec_of(self.encoder).input, batch["latent"]
        pictures = {
            "pictures": batch["views"][0],
            "generated": self.generator(latent),
            "half-way to the next": self.generator((latent + latent.roll(-1, dims=0)) / 2),
        }
        return {title: denormalize(shown, spec.mean, spec.std) for title, shown in pictures.items()}
