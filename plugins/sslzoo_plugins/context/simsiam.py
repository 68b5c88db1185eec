"""SimSiam: predict the projection of a picture's other view, whose gradient is stopped.

Chen & He, "Exploring Simple Siamese Representation Learning", CVPR 2021, https://arxiv.org/abs/2011.10566. Neither
negatives nor a teacher: what keeps the encoder from collapsing is the stopped gradient. The predictor's learning rate
falls with the others', the paper's baseline; keeping it constant gave the authors 0.4 % more (table 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.heads import hidden_layers
from sslzoo.nn.precision import in_float32
from sslzoo.nn.spread import spread
from sslzoo.views.two_views import MOCO_V2_TABLE, TwoViews, shown


@dataclass(frozen=True)
class SimSiamConfig:
    projection_dim: int = 2048
    """Width of the projector's layers, and dimensions of what is predicted."""
    predictor_dim: int = 512
    """Width of the predictor's one hidden layer, a bottleneck."""
    min_scale: float = 0.2
    """Smallest crop, as a share of the picture's area."""
    color_strength: float = 1.0
    """Multiplies the paper's strengths of the colour jitter."""


@in_float32
def negative_cosine(predictions: Tensor, projections: Tensor) -> Tensor:
    """Equation 1 with the gradient of ``projections`` stopped, averaged over the (B, D)."""
    return -F.cosine_similarity(predictions, projections.detach()).mean()


class SimSiam(PretextMethod):
    info = MethodInfo(
        name="simsiam",
        category="context",
        family="instance-similarity",
        modalities=("image",),
        paper=Paper(
            authors="Chen & He",
            title="Exploring Simple Siamese Representation Learning",
            venue="CVPR",
            year=2021,
            url="https://arxiv.org/abs/2011.10566",
        ),
        summary="Predict the projection of a picture's other view, through which no gradient goes.",
    )
    Config = SimSiamConfig
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=100,
        batch_size=512,
        optimizer="momentum",
        lr=0.05,
        base_batch_size=256,
        momentum=0.9,
        weight_decay=1e-4,
    )
    recipes = {
        "small": {
            **SMALL,
            "projection_dim": 512,
            "predictor_dim": 128,
            "color_strength": 0.5,
        }
    }

    @staticmethod
    def views(config: SimSiamConfig, spec: InputSpec) -> Views:
        return TwoViews(spec, MOCO_V2_TABLE, config.min_scale, config.color_strength)

    def __init__(self, encoder: nn.Module, config: SimSiamConfig) -> None:
        super().__init__(encoder, config)
        width, bottleneck = config.projection_dim, config.predictor_dim
        self.projector = nn.Sequential(
            hidden_layers(self.feature_dim, width, width),
            nn.Linear(width, width, bias=False),
            nn.BatchNorm1d(width, affine=False),
        )
        self.predictor = nn.Sequential(hidden_layers(width, bottleneck), nn.Linear(bottleneck, width))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        first, second = (self.projector(self.encoder(view)) for view in batch["views"])
        loss = negative_cosine(self.predictor(first), second) / 2 + negative_cosine(self.predictor(second), first) / 2
        return {"loss": loss, "projection_std": spread(first)}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        return shown(batch["views"], spec_of(self.encoder).input)
