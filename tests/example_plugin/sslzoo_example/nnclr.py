"""NNCLR: a picture's positive is its nearest neighbour among earlier pictures.

Dwibedi, Aytar, Tompson, Sermanet & Zisserman, "With a Little Help from My Friends: Nearest-Neighbor Contrastive
Learning of Visual Representations", ICCV 2021, https://arxiv.org/abs/2104.14548. As in SimCLR a view is told from those
of all other pictures, but by the nearest neighbour of its other view in a queue of earlier projections: by another
picture of, one hopes, the same kind.

The hidden layers of projector and predictor are as wide as the encoder's feature and twice as wide, which are the
paper's 2048 and 4096 for ResNet-50. The queue is filled at the end of a step, from all processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from sslzoo.config import PretrainConfig
from sslzoo.encoders import InputSpec
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.gather import gather
from sslzoo.nn.heads import hidden_layers
from sslzoo.nn.queue import Queue
from sslzoo.views.two_views import SIMCLR_TABLE, TwoViews
from torch import Tensor, nn

if TYPE_CHECKING:
    from sslzoo.run import Run


@dataclass(frozen=True)
class NNCLRConfig:
    temperature: float = 0.1
    """Divides the cosines."""
    queue_length: int = 98304
    """Earlier projections, among which the neighbours are looked for."""
    projection_dim: int = 256
    """Dimensions in which views are compared."""
    min_scale: float = 0.08
    """Smallest crop, as a share of the picture's area."""


def nearest(projections: Tensor, queue: Tensor) -> Tensor:
    """The row of ``queue`` (K, D) most like each of the ``projections`` (N, D), all of length one: (N, D)."""
    return queue[(projections @ queue.T).argmax(1)]


def contrast(neighbours: Tensor, predictions: Tensor, temperature: float) -> Tensor:
    """Each of the ``neighbours`` (N, D) is to be told its own prediction among ``predictions`` (N, D): a scalar."""
    logits = neighbours @ predictions.T / temperature
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


class NNCLR(PretextMethod):
    info = MethodInfo(
        name="nnclr",
        category="context",
        family="instance-similarity",
        modalities=("image",),
        paper=Paper(
            authors="Dwibedi, Aytar, Tompson, Sermanet & Zisserman",
            title="With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of Visual Representations",
            venue="ICCV",
            year=2021,
            url="https://arxiv.org/abs/2104.14548",
        ),
        summary="Tell a picture from others by its nearest neighbour among earlier pictures.",
        contract=1,
    )
    Config = NNCLRConfig
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=1000,
        batch_size=4096,
        optimizer="lars",
        lr=0.3,
        base_batch_size=256,
        momentum=0.9,
        weight_decay=1e-6,
        warmup_epochs=10,
    )
    recipes = {
        "small": {
            "queue_length": 1024,
            "projection_dim": 64,
            "epochs": 15,
            "batch_size": 64,
            "optimizer": "adamw",
            "lr": 2e-3,
            "base_batch_size": 0,
            "weight_decay": 0.05,
            "warmup_epochs": 1,
        }
    }

    @staticmethod
    def views(config: NNCLRConfig, spec: InputSpec) -> Views:
        return TwoViews(spec, SIMCLR_TABLE, config.min_scale, color_strength=1.0)

    def __init__(self, encoder: nn.Module, config: NNCLRConfig) -> None:
        super().__init__(encoder, config)
        width, dim = self.feature_dim, config.projection_dim
        self.projector = nn.Sequential(
            hidden_layers(width, width, width), nn.Linear(width, dim, bias=False), nn.BatchNorm1d(dim)
        )
        self.predictor = nn.Sequential(hidden_layers(dim, 2 * width), nn.Linear(2 * width, dim))
        # A submodule with a buffer: it is saved with each checkpoint, and a resumed run finds the same neighbours.
        self.queue = Queue(config.queue_length, dim)
        self.newest: list[Tensor] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        projections = self.projector(self.encoder(torch.cat(batch["views"])))
        predictions = F.normalize(self.predictor(projections), dim=1)
        projections = F.normalize(projections.detach(), dim=1)
        first_neighbours, second_neighbours = nearest(projections, self.queue.rows).chunk(2)
        first, second = predictions.chunk(2)
        parts = [first_neighbours, second_neighbours, first, second]
        if self.training:
            parts = [gather(part) for part in parts]
            self.newest.append(gather(projections.chunk(2)[0]))  # the queue takes the first view only
        first_neighbours, second_neighbours, first, second = parts
        temperature = self.config.temperature
        losses = contrast(first_neighbours, second, temperature), contrast(second_neighbours, first, temperature)
        return {"loss": (losses[0] + losses[1]) / 2}

    def on_step_end(self, run: Run) -> None:
        for projections in self.newest:
            self.queue.put(projections)
        self.newest.clear()
