"""A method that clusters all features before each epoch, and starts its head anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import PretrainConfig
from sslzoo.encoders import InputSpec
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.views import draw_for
from sslzoo.views.color import normalize, to_float
from sslzoo.views.crop import random_resized_crop

if TYPE_CHECKING:
    from sslzoo.run import Run


@dataclass(frozen=True)
class ReclusterConfig:
    clusters: int = 4
    """Number of pseudo-classes."""


class OneView(Views):
    def __init__(self, config: ReclusterConfig, spec: InputSpec) -> None:
        self.spec = spec

    def crop(self, samples: list[Sample]) -> Batch:
        images = [sample["image"] for sample in samples]
        return {"image": random_resized_crop(images, self.spec.size[1:], draw_for(samples).at("crop"))}

    def augment(self, batch: Batch) -> Batch:
        batch["views"] = [normalize(to_float(batch.pop("image")), self.spec.mean, self.spec.std)]
        return batch


class Recluster(PretextMethod):
    info = MethodInfo(
        name="recluster",
        category="context",
        family="clustering",
        modalities=("image",),
        paper=Paper(authors="sslzoo", title="A test", venue="none", year=2026, url="https://example.org"),
        summary="Predict the cluster an image fell into before this epoch.",
    )
    Config = ReclusterConfig
    defaults = PretrainConfig(
        dataset="moving-shapes[train[:48]]", encoder="test_resnet", image_size=32, epochs=2, batch_size=8, lr=0.01
    )

    @staticmethod
    def views(config: ReclusterConfig, spec: InputSpec) -> Views:
        return OneView(config, spec)

    def __init__(self, encoder: nn.Module, config: ReclusterConfig) -> None:
        super().__init__(encoder, config)
        self.head = nn.Linear(self.feature_dim, config.clusters)
        self.register_buffer("pseudo_labels", torch.zeros(0, dtype=torch.long))

    def on_start(self, run: Run) -> None:
        self.pseudo_labels = torch.zeros(run.num_samples, dtype=torch.long, device=run.accelerator.device)

    def on_epoch_start(self, run: Run) -> None:
        features = F.normalize(run.features(self.encoder), dim=1)
        seeds = features[torch.randperm(len(features))[: self.config.clusters]]
        self.pseudo_labels.copy_((features @ seeds.T).argmax(1))
        self.head.reset_parameters()
        run.forget(self.head)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.head(self.encoder(batch["views"][0]))
        return {"loss": F.cross_entropy(logits, self.pseudo_labels[batch["index"]])}
