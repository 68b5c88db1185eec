"""A clip method: does this clip run backwards? Its 2D encoder sees frames, so what is published is an image encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import PretrainConfig
from sslzoo.encoders import InputSpec
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.views.color import normalize, to_float
from sslzoo.views.keyed import Draw


@dataclass(frozen=True)
class ClipDirectionConfig:
    frames: int = 4
    """Frames of a clip."""


class Clips(Views):
    def __init__(self, config: ClipDirectionConfig, spec: InputSpec) -> None:
        self.frames, self.spec = config.frames, spec

    def crop(self, samples: list[Sample]) -> Batch:
        return {"clip": torch.stack([sample["clip"][: self.frames] for sample in samples])}

    def augment(self, batch: Batch) -> Batch:
        clip = to_float(batch.pop("clip").flatten(0, 1))
        clip = normalize(clip, self.spec.mean, self.spec.std).unflatten(0, (-1, self.frames))
        backwards = Draw(batch["key"]).bernoulli("backwards", 0.5)
        clip = torch.where(backwards[:, None, None, None, None], clip.flip(1), clip)
        batch["views"] = [clip.transpose(1, 2)]  # (B, C, T, H, W)
        batch["target"] = backwards.long()
        return batch


class ClipDirection(PretextMethod):
    info = MethodInfo(
        name="clip-direction",
        category="context",
        family="order-verification",
        modalities=("clip",),
        paper=Paper(authors="sslzoo", title="A test", venue="none", year=2026, url="https://example.org"),
        summary="Tell whether a clip runs backwards.",
    )
    Config = ClipDirectionConfig
    defaults = PretrainConfig(dataset="moving-dots", encoder="test_vit", image_size=32, epochs=2, batch_size=8, lr=0.01)

    @staticmethod
    def views(config: ClipDirectionConfig, spec: InputSpec) -> Views:
        return Clips(config, spec)

    def __init__(self, encoder: nn.Module, config: ClipDirectionConfig) -> None:
        super().__init__(encoder, config)
        self.head = nn.Linear(config.frames * self.feature_dim, 2)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        frames = batch["views"][0].transpose(1, 2)
        feature = self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).flatten(1)
        return {"loss": F.cross_entropy(self.head(feature), batch["target"])}
