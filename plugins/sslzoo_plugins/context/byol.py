"""BYOL: predict the teacher's projection of a picture's other view.

Grill, Strub, Altché, Tallec et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
NeurIPS 2020, https://arxiv.org/abs/2006.07733. The teacher (the paper's target network) is an average of the student
whose momentum rises to 1; like the authors' it normalises by batch statistics while it teaches. What is published is
the student's encoder, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.ema import ema_update, frozen_copy
from sslzoo.nn.heads import hidden_layers
from sslzoo.nn.precision import in_float32
from sslzoo.nn.schedules import cosine
from sslzoo.nn.spread import spread
from sslzoo.views.two_views import BYOL_TABLE, TwoViews, shown

if TYPE_CHECKING:
    from sslzoo.run import Run


@dataclass(frozen=True)
class BYOLConfig:
    teacher_momentum: float = 0.996
    """How much of the teacher stays at the first step; it rises to 1. Lower for runs of few steps."""
    hidden_dim: int = 4096
    """Width of projector and predictor."""
    projection_dim: int = 256
    """Dimensions of what is predicted."""
    min_scale: float = 0.08
    """Smallest crop, as a share of the picture's area."""
    color_strength: float = 1.0
    """Multiplies the paper's strengths of the colour jitter."""


@in_float32
def regression(predictions: Tensor, targets: Tensor) -> Tensor:
    """The squared distance of normalised vectors (equation 2), averaged over the (B, D): 2 - 2 cosines."""
    return 2 - 2 * F.cosine_similarity(predictions, targets).mean()


class BYOL(PretextMethod):
    info = MethodInfo(
        name="byol",
        category="context",
        family="instance-similarity",
        modalities=("image",),
        paper=Paper(
            authors="Grill, Strub, Altché, Tallec et al.",
            title="Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
            venue="NeurIPS",
            year=2020,
            url="https://arxiv.org/abs/2006.07733",
        ),
        summary="Predict a slowly moving teacher's projection of a picture's other view.",
    )
    Config = BYOLConfig
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=1000,
        batch_size=4096,
        optimizer="lars",
        lr=0.2,
        base_batch_size=256,
        momentum=0.9,
        weight_decay=1.5e-6,
        warmup_epochs=10,
    )
    recipes = {
        "small": {
            **SMALL,
            "lr": 0.004,
            "hidden_dim": 512,
            "projection_dim": 128,
            "teacher_momentum": 0.99,
            "min_scale": 0.2,
            "color_strength": 0.5,
        }
    }

    @staticmethod
    def views(config: BYOLConfig, spec: InputSpec) -> Views:
        return TwoViews(spec, BYOL_TABLE, config.min_scale, config.color_strength)

    def __init__(self, encoder: nn.Module, config: BYOLConfig) -> None:
        super().__init__(encoder, config)
        hidden, projection = config.hidden_dim, config.projection_dim
        self.projector = nn.Sequential(
            hidden_layers(self.feature_dim, hidden), nn.Linear(hidden, projection, bias=False)
        )
        self.predictor = nn.Sequential(hidden_layers(projection, hidden), nn.Linear(hidden, projection, bias=False))
        self.teacher = frozen_copy(nn.Sequential(encoder, self.projector))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        views = batch["views"]
        projections = [self.projector(self.encoder(view)) for view in views]
        predictions = [self.predictor(projection) for projection in projections]
        with torch.no_grad():
            targets = [self.teacher(view) for view in views]
        loss = regression(predictions[0], targets[1]) + regression(predictions[1], targets[0])
        return {"loss": loss, "projection_std": spread(projections[0])}

    def on_step_end(self, run: Run) -> None:
        momentum = cosine(self.config.teacher_momentum, 1.0, run.progress.fraction)
        ema_update(self.teacher, nn.Sequential(self.encoder, self.projector), momentum)

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        return shown(batch["views"], spec_of(self.encoder).input)
