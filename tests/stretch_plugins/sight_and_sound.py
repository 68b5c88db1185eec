"""A paired method with two encoders: does this sound belong to this picture? The image encoder is published."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import PretrainConfig
from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.views import draw_for
from sslzoo.views.color import normalize, to_float
from sslzoo.views.crop import random_resized_crop


@dataclass(frozen=True)
class SightAndSoundConfig:
    audio_encoder: str = "test_vit"
    """Timm encoder of the spectrogram."""


class Pairs(Views):
    def __init__(self, config: SightAndSoundConfig, spec: InputSpec) -> None:
        self.spec = spec

    def crop(self, samples: list[Sample]) -> Batch:
        images = [sample["image"] for sample in samples]
        audio = torch.stack([sample["audio"] for sample in samples])
        return {"image": random_resized_crop(images, self.spec.size[1:], draw_for(samples).at("crop")), "audio": audio}

    def augment(self, batch: Batch) -> Batch:
        batch["image"] = normalize(to_float(batch["image"]), self.spec.mean, self.spec.std)
        batch["audio"] = F.interpolate(batch["audio"], size=(32, 32))
        return batch


class SightAndSound(PretextMethod):
    info = MethodInfo(
        name="sight-and-sound",
        category="cross_modal",
        family="visual-audio-correspondence",
        modalities=("image", "audio"),
        paper=Paper(authors="sslzoo", title="A test", venue="none", year=2026, url="https://example.org"),
        summary="Tell whether a picture and a sound belong together.",
    )
    Config = SightAndSoundConfig
    defaults = PretrainConfig(dataset="moving-dots", encoder="test_vit", image_size=32, epochs=2, batch_size=8, lr=0.01)

    @staticmethod
    def views(config: SightAndSoundConfig, spec: InputSpec) -> Views:
        return Pairs(config, spec)

    def __init__(self, encoder: nn.Module, config: SightAndSoundConfig) -> None:
        super().__init__(encoder, config)
        self.audio_encoder = create_encoder(config.audio_encoder, image_size=32, channels=1)
        self.head = nn.Linear(self.feature_dim + self.audio_encoder.num_features, 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        seen, heard = self.encoder(batch["image"]), self.audio_encoder(batch["audio"])
        pairs = torch.cat([torch.cat([seen, heard], 1), torch.cat([seen, heard.roll(1, 0)], 1)])
        together = torch.arange(2, device=pairs.device).repeat_interleave(len(seen)).float()
        return {"loss": F.binary_cross_entropy_with_logits(self.head(pairs)[:, 0], 1 - together)}
