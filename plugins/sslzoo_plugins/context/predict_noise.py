"""Noise as targets (NAT): predict which random direction a picture was given.

Bojanowski & Joulin, "Unsupervised Learning by Predicting Noise", ICML 2017, https://arxiv.org/abs/1704.05310. Every
picture has a target of its own, a point drawn uniformly from the unit sphere. Targets never move, but every third epoch
the pictures of each batch exchange theirs so that their distances are the least possible: similar pictures end up with
close targets, and no two pictures with one, so features cannot collapse.

Where paper and authors' code differ this is the code, but for one thing: its loss is a sum over the batch, here it is
the mean, and the learning rate is multiplied by the batch size. Targets are functions of their number, so that only
who has which is kept: for ImageNet 10 MB instead of 10 GB. The exchange is over the batch of all processes; micro-
batches of an accumulated step exchange among themselves. Held-out pictures have no targets: they are scored by the
least distances to as many new ones.

Deviations. A linear layer on the encoder's pooled feature takes the place of AlexNet's fully connected layers. Pictures
keep their colours: the paper's Sobel filter would have to be a part of the encoder, which no user of plain timm weights
would have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.gather import gather
from sslzoo.nn.precision import in_float32
from sslzoo.views import draw_for
from sslzoo.views.color import normalize, to_float
from sslzoo.views.crop import image_sizes, resized_crop
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import random_squares

if TYPE_CHECKING:
    from sslzoo.run import Run


@dataclass(frozen=True)
class PredictNoiseConfig:
    target_dim: int = 2048
    """Dimensions of the sphere the targets lie on."""
    exchange_every: int = 3
    """Epochs from one in which targets are exchanged to the next."""


class SquareCrop(Views):
    """A square with 7/8 of the shorter side, anywhere, perhaps mirrored: the authors' 224 of 256 pixels."""

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec

    def crop(self, samples: list[Sample]) -> Batch:
        images, draw = [sample["image"] for sample in samples], draw_for(samples)
        boxes = random_squares(image_sizes(images), draw.at("crop"), (7 / 8, 7 / 8))
        return {"image": resized_crop(images, boxes, draw.bernoulli("flip", 0.5), self.spec.size[1:])}

    def augment(self, batch: Batch) -> Batch:
        batch["views"] = [normalize(to_float(batch.pop("image")), self.spec.mean, self.spec.std, inplace=True)]
        return batch


@in_float32
def squared_distance(features: Tensor, targets: Tensor) -> Tensor:
    """The mean over the batch of the squared distance of the features' directions to targets on the sphere (B, D)."""
    return (F.normalize(features, dim=1) - targets).square().sum(1).mean()


@torch.no_grad()
@in_float32
def best_exchange(features: Tensor, targets: Tensor) -> Tensor:
    """The order (B,) of the targets (B, D) whose distances to the features' directions have the least sum.

    By the Hungarian method, on the CPU; for points on a sphere the least distances are the largest inner products.
    """
    scores = F.normalize(features, dim=1) @ targets.T
    order = linear_sum_assignment(scores.cpu().numpy(), maximize=True)[1]
    return torch.from_numpy(order).to(features.device)


class PredictNoise(PretextMethod):
    info = MethodInfo(
        name="predict_noise",
        category="context",
        family="clustering",
        modalities=("image",),
        paper=Paper(
            authors="Bojanowski & Joulin",
            title="Unsupervised Learning by Predicting Noise",
            venue="ICML",
            year=2017,
            url="https://arxiv.org/abs/1704.05310",
        ),
        summary="Predict a picture's own random direction, exchanged with other pictures where that is closer.",
    )
    Config = PredictNoiseConfig
    # Plain gradient descent: a rate of 0.01 for the sum over the batch.
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=100,
        batch_size=256,
        optimizer="sgd",
        lr=0.01,
        base_batch_size=1,
        momentum=0.0,
        weight_decay=0.0,
        schedule="constant",
    )
    recipes = {"small": {**SMALL, "target_dim": 64, "exchange_every": 1}}

    noise_key: Tensor
    owned: Tensor
    exchanging: Tensor

    @staticmethod
    def views(config: PredictNoiseConfig, spec: InputSpec) -> Views:
        return SquareCrop(spec)

    def __init__(self, encoder: nn.Module, config: PredictNoiseConfig) -> None:
        super().__init__(encoder, config)
        self.head = nn.Linear(self.feature_dim, config.target_dim)
        self.register_buffer("noise_key", torch.randint(2**62, (1,)))
        self.register_buffer("owned", torch.zeros(0, dtype=torch.long))
        self.register_buffer("exchanging", torch.tensor(True))

    def on_start(self, run: Run) -> None:
        """Give the target of each number to the picture of that number."""
        self.owned = torch.arange(run.num_samples, device=run.accelerator.device)

    def on_epoch_start(self, run: Run) -> None:
        self.exchanging.fill_(run.progress.epoch % self.config.exchange_every == 0)

    def targets(self, numbers: Tensor, purpose: str = "target") -> Tensor:
        """The points (B, target_dim) on the sphere with these numbers (B,)."""
        directions = Draw(self.noise_key).of(numbers).normal(purpose, (self.config.target_dim,))
        return F.normalize(directions, dim=1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        features = self.head(self.encoder(batch["views"][0]))
        index = batch["index"]
        if not self.training:
            targets = self.targets(index, "held-out")
            targets = targets[best_exchange(features, targets)]
        else:
            if self.exchanging:
                self.exchange(gather(features.detach()), gather(index))
            targets = self.targets(self.owned[index])
        return {"loss": squared_distance(features, targets)}

    def exchange(self, features: Tensor, index: Tensor) -> None:
        """Let the pictures ``index`` (B,), of all processes, have each other's targets in the best order."""
        numbers = self.owned[index]
        self.owned[index] = numbers[best_exchange(features, self.targets(numbers))]
