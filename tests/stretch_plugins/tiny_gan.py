"""Two players with one optimizer: the discriminator's trunk is the encoder, the generator learns at another rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import PretrainConfig
from sslzoo.encoders import InputSpec
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.adversarial import frozen_call
from sslzoo.views import draw_for
from sslzoo.views.color import to_float
from sslzoo.views.crop import random_resized_crop
from sslzoo.views.keyed import Draw


@dataclass(frozen=True)
class TinyGANConfig:
    latent_dim: int = 8
    """Length of the generator's input."""


class RealImages(Views):
    def __init__(self, config: TinyGANConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec

    def crop(self, samples: list[Sample]) -> Batch:
        images = [sample["image"] for sample in samples]
        return {"image": random_resized_crop(images, self.spec.size[1:], draw_for(samples).at("crop"))}

    def augment(self, batch: Batch) -> Batch:
        batch["views"] = [to_float(batch.pop("image")) * 2 - 1]
        batch["latent"] = Draw(batch["key"]).normal("latent", (self.config.latent_dim,))
        return batch


class TinyGAN(PretextMethod):
    info = MethodInfo(
        name="tiny-gan",
        category="generation",
        family="image-generation",
        modalities=("image",),
        paper=Paper(authors="sslzoo", title="A test", venue="none", year=2026, url="https://example.org"),
        summary="Tell real pictures from generated ones.",
    )
    Config = TinyGANConfig
    defaults = PretrainConfig(
        dataset="moving-shapes[train[:48]]",
        encoder="test_vit",
        image_size=32,
        epochs=2,
        batch_size=8,
        optimizer="adamw",
        lr=2e-4,
    )

    @staticmethod
    def views(config: TinyGANConfig, spec: InputSpec) -> Views:
        return RealImages(config, spec)

    def __init__(self, encoder: nn.Module, config: TinyGANConfig) -> None:
        super().__init__(encoder, config)
        self.discriminator_head = nn.Linear(self.feature_dim, 1)
        self.generator = nn.Sequential(
            nn.Linear(config.latent_dim, 3 * 32 * 32), nn.Tanh(), nn.Unflatten(1, (3, 32, 32))
        )

    def lr_scales(self) -> dict[str, float]:
        return {"generator.": 2.0}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        real, fake = batch["views"][0], self.generator(batch["latent"])
        judged_real = self.discriminator_head(self.encoder(real))
        judged_fake = self.discriminator_head(self.encoder(fake.detach()))
        fooled = frozen_call(self.discriminator_head, frozen_call(self.encoder, fake))
        discriminator_loss = F.softplus(-judged_real).mean() + F.softplus(judged_fake).mean()
        generator_loss = F.softplus(-fooled).mean()
        return {
            "loss": discriminator_loss + generator_loss,
            "discriminator_loss": discriminator_loss,
            "generator_loss": generator_loss,
        }
