"""Methods that collapse, each in its way."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sslzoo.config import PretrainConfig
from sslzoo.encoders import InputSpec
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.views.two_views import SIMCLR_TABLE, TwoViews

PAPER = Paper(authors="Nobody", title="Nothing", venue="Nowhere", year=2026, url="https://example.org")
RECIPE = PretrainConfig(
    encoder="test_resnet",
    image_size=32,
    batch_size=16,
    optimizer="adamw",
    lr=0.003,
    schedule="constant",
    weight_decay=0.0,
    precision="fp32",
    threads=1,
    workers=0,
    log_every=2,
    monitor_features=True,
)


@dataclass(frozen=True)
class NoConfig:
    pass


class NoStopGradient(PretextMethod):
    """SimSiam without what keeps it from a constant: the two views' features are just pulled together."""

    info = MethodInfo(
        name="no_stop_gradient",
        category="context",
        family="instance-similarity",
        modalities=("image",),
        paper=PAPER,
        summary="Two views have one feature.",
    )
    Config = NoConfig
    defaults = RECIPE

    @staticmethod
    def views(config: NoConfig, spec: InputSpec) -> Views:
        return TwoViews(spec, SIMCLR_TABLE, 0.2, 1.0)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        first, second = (self.encoder(view) for view in batch["views"])
        return {"loss": -F.cosine_similarity(first, second).mean()}


class OneNumber(PretextMethod):
    """Half of the dimensions are to be the picture's brightness, and half the opposite: a line."""

    info = MethodInfo(
        name="one_number",
        category="generation",
        family="colorization",
        modalities=("image",),
        paper=PAPER,
        summary="How bright is it?",
    )
    Config = NoConfig
    defaults = RECIPE

    @staticmethod
    def views(config: NoConfig, spec: InputSpec) -> Views:
        return TwoViews(spec, SIMCLR_TABLE, 0.8, 0.5)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        view = batch["views"][0]
        features = self.encoder(view)
        bright = view.mean((1, 2, 3)).sigmoid()[:, None]
        half = self.feature_dim // 2
        target = torch.cat([bright.expand(-1, half), (1 - bright).expand(-1, self.feature_dim - half)], 1)
        return {"loss": F.mse_loss(features, target)}
