"""SimCLR: find a picture's other view among all views of the batch.

Chen, Kornblith, Norouzi & Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
https://arxiv.org/abs/2002.05709. The projector is that of the authors' code, where batch norm also follows its last
layer; its hidden layer is as wide as the encoder's feature. Negatives are all other views of the batch on all
processes. A micro-batch of an accumulated step is a batch of its own, so accumulation adds no negatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.gather import gather
from sslzoo.nn.heads import hidden_layers
from sslzoo.nn.precision import in_float32
from sslzoo.views.two_views import SIMCLR_TABLE, TwoViews, shown


@dataclass(frozen=True)
class SimCLRConfig:
    temperature: float = 0.1
    """Divides the cosines; lower looks harder at the most similar negatives. The paper's for CIFAR-10 is 0.5."""
    projection_dim: int = 128
    """Dimensions in which views are compared."""
    min_scale: float = 0.08
    """Smallest crop, as a share of the picture's area."""
    color_strength: float = 1.0
    """Strength of the colour distortion: the paper's s, 0.5 for CIFAR-10."""


@in_float32
def nt_xent(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The normalised, temperature-scaled cross entropy (equation 1), averaged over the 2 N views of N pictures.

    ``first`` and ``second`` are (N, D) projections of the two views. Each view is classified as its partner among
    the 2 N - 1 others: the partner is in the denominator, the view itself is not. Also returns the accuracy of that.
    """
    views = F.normalize(torch.cat([first, second]), dim=1)
    logits = (views @ views.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(logits, partner), (logits.argmax(1) == partner).float().mean()


class SimCLR(PretextMethod):
    info = MethodInfo(
        name="simclr",
        category="context",
        family="instance-similarity",
        modalities=("image",),
        paper=Paper(
            authors="Chen, Kornblith, Norouzi & Hinton",
            title="A Simple Framework for Contrastive Learning of Visual Representations",
            venue="ICML",
            year=2020,
            url="https://arxiv.org/abs/2002.05709",
        ),
        summary="Find a picture's other view among the views of all pictures of the batch.",
    )
    Config = SimCLRConfig
    # Section 2.2 and appendix B: 100 epochs as in its comparisons; the best result took 1000.
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=100,
        batch_size=4096,
        optimizer="lars",
        lr=0.3,
        base_batch_size=256,
        momentum=0.9,
        weight_decay=1e-6,
        warmup_epochs=10,
    )
    recipes = {"small": {**SMALL, "temperature": 0.2, "min_scale": 0.2, "color_strength": 0.5}}

    @staticmethod
    def views(config: SimCLRConfig, spec: InputSpec) -> Views:
        return TwoViews(spec, SIMCLR_TABLE, config.min_scale, config.color_strength)

    def __init__(self, encoder: nn.Module, config: SimCLRConfig) -> None:
        super().__init__(encoder, config)
        norm = nn.BatchNorm1d(config.projection_dim)
        norm.bias.requires_grad_(False)  # the authors' last batch norm scales, but does not shift
        self.projector = nn.Sequential(
            hidden_layers(self.feature_dim, self.feature_dim),
            nn.Linear(self.feature_dim, config.projection_dim, bias=False),
            norm,
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        first, second = self.projector(self.encoder(torch.cat(batch["views"]))).chunk(2)
        if self.training:
            first, second = gather(first), gather(second)
        loss, accuracy = nt_xent(first, second, self.config.temperature)
        return {"loss": loss, "accuracy": accuracy}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        return shown(batch["views"], spec_of(self.encoder).input)
