"""Barlow Twins: the projections of two views agree in each dimension, and the dimensions with no other.

Zbontar, Jing, Misra, LeCun & Deny, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021,
https://arxiv.org/abs/2103.03230. Correlations are those of the batch on all processes, whose statistics also
standardise it, and the gradient is that of one process. (The authors' sum over processes gives 1 / W of that on W,
which LARS does not notice and other optimizers do.) The rate falls to 0; the authors' to a thousandth.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.gather import gather
from sslzoo.nn.heads import hidden_layers
from sslzoo.nn.precision import in_float32
from sslzoo.views.two_views import BYOL_TABLE, TwoViews, shown


@dataclass(frozen=True)
class BarlowTwinsConfig:
    redundancy_weight: float = 0.0051
    """Weight of the off-diagonal terms: the authors' code has 0.0051, the paper 0.005."""
    projection_dim: int = 8192
    """Width of the projector's three layers."""
    bias_lr_scale: float = 0.024
    """Learning rate of biases and norms as a share of the weights': 0.0048 of 0.2 with LARS. Without LARS use 1."""
    min_scale: float = 0.08
    """Smallest crop, as a share of the picture's area."""
    color_strength: float = 1.0
    """Multiplies the paper's strengths of the colour jitter."""


@in_float32
def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """(D, D): how each dimension of ``first`` (N, D) correlates with each of ``second`` over the batch (equation 2)."""
    return standardized(first).T @ standardized(second) / len(first)


def standardized(projections: Tensor) -> Tensor:
    """(N, D) with mean 0 and variance 1 in each dimension; batch norm's epsilon keeps constant dimensions at 0."""
    centred = projections - projections.mean(0)
    return centred / (centred.square().mean(0) + 1e-5).sqrt()


def distance_from_identity(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """The invariance and the redundancy term (equation 1): squared errors on and off the diagonal, summed."""
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum(), correlation.square().sum() - diagonal.square().sum()


class BarlowTwins(PretextMethod):
    info = MethodInfo(
        name="barlow_twins",
        category="context",
        family="instance-similarity",
        modalities=("image",),
        paper=Paper(
            authors="Zbontar, Jing, Misra, LeCun & Deny",
            title="Barlow Twins: Self-Supervised Learning via Redundancy Reduction",
            venue="ICML",
            year=2021,
            url="https://arxiv.org/abs/2103.03230",
        ),
        summary="Make the cross-correlation between two views' projections the identity.",
    )
    Config = BarlowTwinsConfig
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=1000,
        batch_size=2048,
        optimizer="lars",
        lr=0.2,
        base_batch_size=256,
        momentum=0.9,
        weight_decay=1.5e-6,
        warmup_epochs=10,
    )
    recipes = {"small": {**SMALL, "projection_dim": 512, "bias_lr_scale": 1.0, "min_scale": 0.2, "color_strength": 0.5}}

    @staticmethod
    def views(config: BarlowTwinsConfig, spec: InputSpec) -> Views:
        return TwoViews(spec, BYOL_TABLE, config.min_scale, config.color_strength)

    def __init__(self, encoder: nn.Module, config: BarlowTwinsConfig) -> None:
        super().__init__(encoder, config)
        width = config.projection_dim
        self.projector = nn.Sequential(
            hidden_layers(self.feature_dim, width, width), nn.Linear(width, width, bias=False)
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        first, second = (self.projector(self.encoder(view)) for view in batch["views"])
        if self.training:
            first, second = gather(first), gather(second)
        invariance, redundancy = distance_from_identity(cross_correlation(first, second))
        loss = invariance + self.config.redundancy_weight * redundancy
        return {"loss": loss, "invariance": invariance, "redundancy": redundancy}

    def lr_scales(self) -> dict[str, float]:
        one_dimensional = (name for name, parameter in self.named_parameters() if parameter.ndim == 1)
        return dict.fromkeys(one_dimensional, self.config.bias_lr_scale)

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        return shown(batch["views"], spec_of(self.encoder).input)
