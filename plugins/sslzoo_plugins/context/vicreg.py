"""VICReg: equal projections of two views, kept from collapse by the variance and covariance of each.

Bardes, Ponce & LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", ICLR 2022,
https://arxiv.org/abs/2105.04906. Where the paper's equations and the authors' code differ, this is the code, from which
the published numbers come: the invariance term is a mean over dimensions too, the variance term a mean over the two
views. Statistics are those of the batch on all processes. The rate falls to 0; the authors' falls to a thousandth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.gather import gather
from sslzoo.nn.heads import hidden_layers
from sslzoo.nn.precision import in_float32
from sslzoo.views.two_views import BYOL_TABLE, TwoViews, shown


@dataclass(frozen=True)
class VICRegConfig:
    invariance_weight: float = 25.0
    """Weight of the distance between the two views: the paper's lambda."""
    variance_weight: float = 25.0
    """Weight of the hinge on standard deviations: mu."""
    covariance_weight: float = 1.0
    """Weight of the covariances between dimensions: nu."""
    projection_dim: int = 8192
    """Width of the three layers of the projector (the paper's expander)."""
    min_scale: float = 0.08
    """Smallest crop, as a share of the picture's area."""
    color_strength: float = 1.0
    """Multiplies the paper's strengths of the colour jitter."""


@in_float32
def invariance(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of the (N, D) of two views (equation 5, also divided by D)."""
    return F.mse_loss(first, second)


@in_float32
def variance(projections: Tensor) -> Tensor:
    """How far the standard deviations of the dimensions of (N, D) fall short of 1, on average (equations 1 and 2)."""
    centred = projections - projections.mean(0)
    deviation = (centred.square().sum(0) / max(len(projections) - 1, 1) + 1e-4).sqrt()
    return F.relu(1 - deviation).mean()


@in_float32
def covariance(projections: Tensor) -> Tensor:
    """The sum of squared covariances between different dimensions of (N, D), divided by D (equations 3 and 4)."""
    centred = projections - projections.mean(0)
    matrix = centred.T @ centred / max(len(projections) - 1, 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / len(matrix)


class VICReg(PretextMethod):
    info = MethodInfo(
        name="vicreg",
        category="context",
        family="instance-similarity",
        modalities=("image",),
        paper=Paper(
            authors="Bardes, Ponce & LeCun",
            title="VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
            venue="ICLR",
            year=2022,
            url="https://arxiv.org/abs/2105.04906",
        ),
        summary="Bring two views' projections together while their dimensions stay spread and uncorrelated.",
    )
    Config = VICRegConfig
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=1000,
        batch_size=2048,
        optimizer="lars",
        lr=0.2,
        base_batch_size=256,
        momentum=0.9,
        weight_decay=1e-6,
        warmup_epochs=10,
    )
    recipes = {"small": {**SMALL, "projection_dim": 512, "min_scale": 0.2, "color_strength": 0.5}}

    @staticmethod
    def views(config: VICRegConfig, spec: InputSpec) -> Views:
        return TwoViews(spec, BYOL_TABLE, config.min_scale, config.color_strength)

    def __init__(self, encoder: nn.Module, config: VICRegConfig) -> None:
        super().__init__(encoder, config)
        width = config.projection_dim
        self.projector = nn.Sequential(
            hidden_layers(self.feature_dim, width, width), nn.Linear(width, width, bias=False)
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        config = self.config
        first, second = (self.projector(self.encoder(view)) for view in batch["views"])
        if self.training:
            first, second = gather(first), gather(second)
        terms = {
            "invariance": invariance(first, second),
            "variance": (variance(first) + variance(second)) / 2,
            "covariance": covariance(first) + covariance(second),
        }
        loss = (
            config.invariance_weight * terms["invariance"]
            + config.variance_weight * terms["variance"]
            + config.covariance_weight * terms["covariance"]
        )
        return {"loss": loss, **terms}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        return shown(batch["views"], spec_of(self.encoder).input)
