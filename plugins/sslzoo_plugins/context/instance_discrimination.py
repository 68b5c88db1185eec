"""Instance discrimination: every picture is a class of its own.

Wu, Xiong, Yu & Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018,
https://arxiv.org/abs/1805.01978. A memory bank holds what the encoder last made of each picture. A picture is told from
the noise of randomly drawn entries by noise-contrastive estimation, with the constant Z of the softmax estimated from
the first batch, and is drawn to its own entry by proximal regularization, which the authors' code leaves out.

Entries change at the end of a step, those of all processes' pictures on every process. A held-out picture has no entry:
it is its own, as though it had just been stored, and its score tells how it stands out from those in the bank. The
colour jitter comes before the random grey, not after.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.gather import gather
from sslzoo.nn.memory_bank import MemoryBank
from sslzoo.nn.precision import in_float32
from sslzoo.views.keyed import Draw
from sslzoo.views.multi_crop import Crop, MultiCrop
from sslzoo.views.two_views import Augmentation

if TYPE_CHECKING:
    from sslzoo.run import Run

COLORS = Augmentation("bilinear", 0.4, 0.4, 0.4, 0.4, jitter_p=1.0, gray_p=0.2, blur_p=0.0)
"""The authors' code's."""


@dataclass(frozen=True)
class InstanceDiscriminationConfig:
    temperature: float = 0.07
    """Divides the cosines."""
    noise_samples: int = 4096
    """Entries of the memory bank that each picture is told from."""
    proximal: float = 30.0
    """Weight of the squared distance between a picture and its entry."""
    memory_momentum: float = 0.5
    """How much of an entry stays when its picture comes again."""
    projection_dim: int = 128
    """Dimensions in which pictures are compared."""
    min_scale: float = 0.2
    """Smallest crop, as a share of the picture's area."""


@in_float32
def nce(own: Tensor, noise: Tensor, log_z: Tensor, count: int) -> Tensor:
    """Noise-contrastive estimation (equation 7), averaged over the batch.

    ``own`` (B,) are cosines with the right entry over the temperature, ``noise`` (B, m) those with m entries drawn
    uniformly from ``count``. With the probability P = exp(cosine / temperature) / Z, that an entry is no noise has the
    probability P / (P + m / count), which is a logistic function.
    """
    log_odds = log_z + math.log(noise.shape[1] / count)
    return (F.softplus(log_odds - own) + F.softplus(noise - log_odds).sum(1)).mean()


def log_normalizer(noise: Tensor, count: int) -> Tensor:
    """The logarithm of Z (equation 8): ``count`` times the mean of exp(noise), for (B, m) as ``nce`` takes it."""
    return noise.logsumexp((0, 1)) + math.log(count / noise.numel())


@in_float32
def unit(vectors: Tensor) -> Tensor:
    """(B, D) of length one, in float32."""
    return F.normalize(vectors, dim=1)


@in_float32
def cosines(features: Tensor, entries: Tensor) -> Tensor:
    """Inner products (B, M) of features (B, D) with M entries (B, M, D) for each."""
    return torch.einsum("bd,bmd->bm", features, entries)


class InstanceDiscrimination(PretextMethod):
    info = MethodInfo(
        name="instance_discrimination",
        category="context",
        family="instance-similarity",
        modalities=("image",),
        paper=Paper(
            authors="Wu, Xiong, Yu & Lin",
            title="Unsupervised Feature Learning via Non-Parametric Instance Discrimination",
            venue="CVPR",
            year=2018,
            url="https://arxiv.org/abs/1805.01978",
        ),
        summary="Tell a picture from all others by what a memory bank holds of them.",
    )
    Config = InstanceDiscriminationConfig
    # Divided by ten at epochs 120 and 160.
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=200,
        batch_size=256,
        optimizer="momentum",
        lr=0.03,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="step",
        milestones=(0.6, 0.8),
    )
    recipes = {"small": {**SMALL, "temperature": 0.2, "noise_samples": 512, "proximal": 3.0}}

    log_z: Tensor

    @staticmethod
    def views(config: InstanceDiscriminationConfig, spec: InputSpec) -> Views:
        return MultiCrop(spec, (Crop(spec.size[1:], (config.min_scale, 1.0), COLORS),))

    def __init__(self, encoder: nn.Module, config: InstanceDiscriminationConfig) -> None:
        super().__init__(encoder, config)
        self.head = nn.Linear(self.feature_dim, config.projection_dim)
        self.memory = MemoryBank(config.projection_dim, config.memory_momentum)
        self.register_buffer("log_z", torch.tensor(-math.inf))
        self.newest: list[tuple[Tensor, Tensor]] = []

    def on_start(self, run: Run) -> None:
        self.memory.resize(run.num_samples)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        config, rows, index = self.config, self.memory.rows, batch["index"]
        features = unit(self.head(self.encoder(batch["views"][0])))
        entries = rows[index] if self.training else features
        drawn = Draw(batch["key"]).integers("noise", len(rows), (config.noise_samples,))
        own = cosines(features, entries[:, None])[:, 0] / config.temperature
        noise = cosines(features, rows[drawn]) / config.temperature
        terms = {
            "nce": nce(own, noise, self.normalizer(noise.detach()), len(rows)),
            "proximal": (features - entries).square().sum(1).mean(),
        }
        if self.training:
            self.newest.append((gather(index), gather(features.detach())))
        return {"loss": terms["nce"] + config.proximal * terms["proximal"], **terms}

    def normalizer(self, noise: Tensor) -> Tensor:
        """The logarithm of Z, estimated from the first batch of all processes and then kept."""
        if self.log_z.isfinite():
            return self.log_z
        estimate = log_normalizer(noise, len(self.memory.rows))
        if self.training:
            estimate = gather(estimate.exp()[None]).mean().log()
            self.log_z.copy_(estimate)
        return estimate

    def on_step_end(self, run: Run) -> None:
        for index, features in self.newest:
            self.memory.put(index, features)
        self.newest.clear()
