"""MoCo v2: tell the key of a picture's other view from a queue of older keys.

Chen, Fan, Girshick & He, "Improved Baselines with Momentum Contrastive Learning", 2020,
https://arxiv.org/abs/2003.04297, on He, Fan, Wu, Xie & Girshick, "Momentum Contrast for Unsupervised Visual
Representation Learning", CVPR 2020, https://arxiv.org/abs/1911.05722. The projector's hidden layer is as wide as the
encoder's feature, which is the paper's 2048 for ResNet-50.

Keys come from the teacher, a slow average of the encoder that normalises by batch statistics, as the authors' does.
They join the queue at the end of a step, so negatives are older than all keys of the step, however many micro-batches
it has. For N pictures, a queue of more than N keys also holds older keys of the very same pictures.

Batch statistics would tell a query its key: both would have those of one batch, and the queue's keys would not. The
authors compute them on each of 8 GPUs alone, and give the GPUs the views for the keys in another order than those for
the queries (shuffling BN). Here groups of ``group_size`` take the place of GPUs: queries are normalised in groups of
the batch, keys in groups of the shuffled batch of all processes. So this also holds on one process, with the same
groups as on several, given that a process's part of the batch divides into whole groups and that the batch makes two
groups at least. ``sync_batch_norm`` would undo it and is off by default. Encoders without batch norm are spared both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.ema import ema_update, frozen_copy
from sslzoo.nn.gather import gather, own_part
from sslzoo.nn.precision import in_float32
from sslzoo.nn.queue import Queue
from sslzoo.views.keyed import Draw
from sslzoo.views.two_views import MOCO_V2_TABLE, TwoViews, shown

if TYPE_CHECKING:
    from sslzoo.run import Run


@dataclass(frozen=True)
class MoCoV2Config:
    temperature: float = 0.2
    """Divides the cosines; lower looks harder at the most similar negatives."""
    queue_length: int = 65536
    """Older keys to tell the right one from; at most the number of pictures makes sense."""
    teacher_momentum: float = 0.999
    """How much of the teacher stays at each step; lower for runs of few steps."""
    projection_dim: int = 128
    """Dimensions of queries and keys."""
    group_size: int = 32
    """Samples that share batch statistics: the authors' 256 on 8 GPUs."""
    min_scale: float = 0.2
    """Smallest crop, as a share of the picture's area."""
    color_strength: float = 1.0
    """Multiplies the paper's strengths of the colour jitter."""


@in_float32
def info_nce(queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Equation 1 of the first paper: each query is classified as its own key among that and all ``negatives``.

    ``queries`` and ``keys`` are (B, D), ``negatives`` (K, D), all of length one. Returns the loss and the accuracy.
    """
    positive = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat([positive, queries @ negatives.T], dim=1) / temperature
    first = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits, first), (logits.argmax(1) == 0).float().mean()


@in_float32
def unit(vectors: Tensor) -> Tensor:
    """(B, D) at length one."""
    return F.normalize(vectors, dim=1)


class MoCoV2(PretextMethod):
    info = MethodInfo(
        name="moco_v2",
        category="context",
        family="instance-similarity",
        modalities=("image",),
        paper=Paper(
            authors="Chen, Fan, Girshick & He",
            title="Improved Baselines with Momentum Contrastive Learning",
            venue="arXiv",
            year=2020,
            url="https://arxiv.org/abs/2003.04297",
        ),
        summary="Tell the teacher's key of a picture's other view from a long queue of older keys.",
    )
    Config = MoCoV2Config
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=200,
        batch_size=256,
        optimizer="momentum",
        lr=0.03,
        base_batch_size=256,
        momentum=0.9,
        weight_decay=1e-4,
        sync_batch_norm=False,
    )
    recipes = {"small": {**SMALL, "queue_length": 2048, "teacher_momentum": 0.99, "color_strength": 0.5}}

    @staticmethod
    def views(config: MoCoV2Config, spec: InputSpec) -> Views:
        return TwoViews(spec, MOCO_V2_TABLE, config.min_scale, config.color_strength)

    def __init__(self, encoder: nn.Module, config: MoCoV2Config) -> None:
        super().__init__(encoder, config)
        width = self.feature_dim
        self.projector = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.projection_dim))
        self.teacher = frozen_copy(nn.Sequential(encoder, self.projector))
        self.queue = Queue(config.queue_length, config.projection_dim)
        self.newest: list[Tensor] = []
        self.has_batch_norm = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in encoder.modules())

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        query_view, key_view = batch["views"]
        queries = unit(self.projector(self.in_groups(self.encoder, query_view)))
        keys = self.keys(key_view, batch["key"])
        loss, accuracy = info_nce(queries, keys, self.queue.rows, self.config.temperature)
        return {"loss": loss, "accuracy": accuracy}

    @torch.no_grad()
    def keys(self, views: Tensor, sample_keys: Tensor) -> Tensor:
        """The teacher's (B, D) of length one; in training they are put aside for the queue."""
        if not self.training:
            return unit(self.teacher(views))
        if self.has_batch_norm:  # the order is drawn from the samples' keys, and so is the same on all processes
            order = Draw(gather(sample_keys)).bits("shuffle").argsort(stable=True)
            shuffled = own_part(gather(views)[order])
            everyones = gather(self.in_groups(self.teacher, shuffled))[order.argsort()]
        else:
            everyones = gather(self.teacher(views))
        everyones = unit(everyones)
        self.newest.append(everyones)
        return own_part(everyones)

    def in_groups(self, network: nn.Module, images: Tensor) -> Tensor:
        """``network(images)`` with batch statistics of ``group_size`` samples each."""
        if not (self.training and self.has_batch_norm):
            return network(images)
        groups = math.ceil(len(images) / self.config.group_size)
        return torch.cat([network(group) for group in images.chunk(groups)])

    def on_step_end(self, run: Run) -> None:
        for keys in self.newest:
            self.queue.put(keys)
        self.newest.clear()
        ema_update(self.teacher, nn.Sequential(self.encoder, self.projector), self.config.teacher_momentum)

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        return shown(batch["views"], spec_of(self.encoder).input)
