"""SwAV: predict from one view which prototypes another is assigned to.

Caron, Misra, Mairal, Goyal, Bojanowski & Joulin, "Unsupervised Learning of Visual Features by Contrasting Cluster
Assignments", NeurIPS 2020, https://arxiv.org/abs/2006.09882. The views of a batch are assigned to prototypes in equal
parts by Sinkhorn's algorithm (online clustering), and every view, also the small ones of multi-crop, predicts the codes
of the two large ones. Assignments are over the batch of all processes, to which a queue of older projections may be
added when it is small. As in the authors' code the prototypes stand still during the first epoch.

Deviations. The projector's hidden layer is as wide as the encoder's feature. The rate falls to 0, the authors' to a
thousandth. The queue is filled from the first step, where the authors begin in the epoch that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.gather import gather, own_part
from sslzoo.nn.heads import hidden_layers
from sslzoo.nn.multi_crop import cross_view_entropy, encode_crops
from sslzoo.nn.precision import in_float32
from sslzoo.nn.prototypes import Prototypes
from sslzoo.nn.queue import Queue
from sslzoo.nn.sinkhorn import log_sinkhorn
from sslzoo.views.multi_crop import MultiCrop, global_and_local, shown_crops
from sslzoo.views.two_views import SIMCLR_TABLE

if TYPE_CHECKING:
    from sslzoo.run import Run

ASSIGNED = 2
"""Views that are assigned to prototypes: the large ones."""
COLORS = replace(SIMCLR_TABLE[0], interpolation="bilinear")
"""The authors' code's, for all views."""


@dataclass(frozen=True)
class SwAVConfig:
    prototypes: int = 3000
    """Directions that views are assigned to; several times the number of classes one hopes for."""
    temperature: float = 0.1
    """Divides the cosines of predictions."""
    epsilon: float = 0.05
    """Divides the cosines of assignments; smaller makes them harder."""
    sinkhorn_iterations: int = 3
    """Iterations that make the parts equal."""
    queue_length: int = 0
    """Older projections of each large view that are assigned with the batch: 3840 for the paper's batches of 256."""
    queue_start_epoch: int = 15
    """The first epoch, from 0, in which they are; until it is full the queue also holds random directions."""
    freeze_epochs: int = 1
    """Epochs in which the prototypes stand still."""
    projection_dim: int = 128
    """Dimensions of projections and prototypes."""
    local_crops: int = 6
    """Small views."""
    local_size: int = 0
    """Height and width of the small views in pixels; 0 takes the paper's, 96 for an image size of 224."""
    min_scale: float = 0.05
    """Smallest small crop, as a share of the picture's area."""
    global_scale: float = 0.14
    """Smallest large crop, and largest small one."""
    color_strength: float = 1.0
    """Multiplies the paper's strengths of the colour jitter."""


@torch.no_grad()
@in_float32
def codes(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Equal assignment of B views to K prototypes (section 3.1): (B, K), each row a distribution.

    ``scores`` (B, K) are cosines. Each prototype gets B / K in all, the closer the more iterations.
    """
    views, prototypes = scores.shape
    return log_sinkhorn(scores.T / epsilon, iterations, rows=views / prototypes).exp().T


class SwAV(PretextMethod):
    info = MethodInfo(
        name="swav",
        category="context",
        family="clustering",
        modalities=("image",),
        paper=Paper(
            authors="Caron, Misra, Mairal, Goyal, Bojanowski & Joulin",
            title="Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
            venue="NeurIPS",
            year=2020,
            url="https://arxiv.org/abs/2006.09882",
        ),
        summary="Predict from one view which prototypes another view is assigned to.",
    )
    Config = SwAVConfig
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=800,
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
            **SMALL,
            "prototypes": 50,
            "freeze_epochs": 0,
            "local_crops": 4,
            "min_scale": 0.15,
            "global_scale": 0.4,
            "color_strength": 0.5,
        }
    }

    queue_is_used: Tensor

    @staticmethod
    def views(config: SwAVConfig, spec: InputSpec) -> Views:
        crops = global_and_local(
            spec,
            (COLORS, COLORS),
            COLORS,
            local_crops=config.local_crops,
            local_size=config.local_size,
            min_scale=config.min_scale,
            global_scale=config.global_scale,
        )
        return MultiCrop(spec, crops, config.color_strength)

    def __init__(self, encoder: nn.Module, config: SwAVConfig) -> None:
        super().__init__(encoder, config)
        width, dim = self.feature_dim, config.projection_dim
        self.projector = nn.Sequential(hidden_layers(width, width), nn.Linear(width, dim))
        self.prototypes = Prototypes(config.prototypes, dim)
        self.queue = Queue(config.queue_length, ASSIGNED * dim) if config.queue_length else None
        self.register_buffer("queue_is_used", torch.tensor(False))
        self.newest: list[Tensor] = []

    def on_epoch_start(self, run: Run) -> None:
        self.queue_is_used.fill_(run.progress.epoch >= self.config.queue_start_epoch)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.held = self.prototypes.weight.detach().clone()
        features = encode_crops(self.encoder, batch["views"])
        projections = self.projector(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        scores = self.prototypes(projections)
        loss = cross_view_entropy(self.assigned(projections[:, :ASSIGNED].detach()), scores / self.config.temperature)
        agreement = (scores[:, 0].argmax(1) == scores[:, 1].argmax(1)).float().mean()
        return {"loss": loss, "agreement": agreement}

    @torch.no_grad()
    def assigned(self, projections: Tensor) -> Tensor:
        """Codes (B, 2, K) of the large views' projections (B, 2, dim).

        In training they are made with those of all processes and with the queue, and the projections put aside for it.
        """
        config = self.config
        everyones = F.normalize(gather(projections) if self.training else projections, dim=-1)
        together = everyones
        if self.training and self.queue is not None:
            self.newest.append(everyones)
            if self.queue_is_used:
                together = torch.cat([self.queue.rows.unflatten(1, (ASSIGNED, -1)), everyones])
        scores = self.prototypes(together)
        found = [codes(view, config.epsilon, config.sinkhorn_iterations) for view in scores.unbind(1)]
        assigned = torch.stack(found, dim=1)[-len(everyones) :]
        return own_part(assigned) if self.training else assigned

    @torch.no_grad()
    def on_step_end(self, run: Run) -> None:
        if run.progress.step <= self.config.freeze_epochs * run.progress.steps_per_epoch:
            self.prototypes.weight.copy_(self.held)
            run.forget(self.prototypes)
        self.prototypes.normalize()
        for projections in self.newest:
            assert self.queue is not None
            self.queue.put(projections.flatten(1))
        self.newest.clear()

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        return shown_crops(batch["views"], spec_of(self.encoder).input)
