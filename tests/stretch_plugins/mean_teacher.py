"""A method with an EMA teacher, which is what it publishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import PretrainConfig
from sslzoo.encoders import InputSpec
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.ema import ema_update, frozen_copy
from sslzoo.nn.schedules import cosine
from sslzoo.views import draw_for
from sslzoo.views.color import color_jitter, normalize, to_float
from sslzoo.views.crop import random_resized_crop
from sslzoo.views.keyed import Draw

if TYPE_CHECKING:
    from sslzoo.run import Run


@dataclass(frozen=True)
class MeanTeacherConfig:
    teacher_momentum: float = 0.99
    """Momentum of the teacher at the start; it rises to 1."""


class TwoViews(Views):
    def __init__(self, config: MeanTeacherConfig, spec: InputSpec) -> None:
        self.spec = spec

    def crop(self, samples: list[Sample]) -> Batch:
        images = [sample["image"] for sample in samples]
        draws = [draw_for(samples).at("view", view) for view in range(2)]
        return {"crops": [random_resized_crop(images, self.spec.size[1:], draw) for draw in draws]}

    def augment(self, batch: Batch) -> Batch:
        batch["views"] = []
        for view, crop in enumerate(batch.pop("crops")):
            draw = Draw(batch["key"]).at("view", view)
            image = color_jitter(to_float(crop), draw, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8)
            batch["views"].append(normalize(image, self.spec.mean, self.spec.std))
        return batch


class MeanTeacher(PretextMethod):
    info = MethodInfo(
        name="mean-teacher",
        category="context",
        family="instance-similarity",
        modalities=("image",),
        paper=Paper(authors="sslzoo", title="A test", venue="none", year=2026, url="https://example.org"),
        summary="Predict the teacher's feature of another view.",
    )
    Config = MeanTeacherConfig
    defaults = PretrainConfig(dataset="moving-dots", encoder="test_vit", image_size=32, epochs=2, batch_size=8, lr=0.01)

    @staticmethod
    def views(config: MeanTeacherConfig, spec: InputSpec) -> Views:
        return TwoViews(config, spec)

    def __init__(self, encoder: nn.Module, config: MeanTeacherConfig) -> None:
        super().__init__(encoder, config)
        self.teacher = frozen_copy(encoder)
        self.predictor = nn.Sequential(nn.Linear(self.feature_dim, 32), nn.GELU(), nn.Linear(32, self.feature_dim))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        first, second = batch["views"]
        prediction = self.predictor(self.encoder(torch.cat([first, second])))
        with torch.no_grad():
            target = self.teacher(torch.cat([second, first]))
        return {"loss": 2 - 2 * F.cosine_similarity(prediction, target).mean()}

    def on_step_end(self, run: Run) -> None:
        ema_update(self.teacher, self.encoder, cosine(self.config.teacher_momentum, 1.0, run.progress.fraction))

    def trained_encoder(self) -> nn.Module:
        return self.teacher
