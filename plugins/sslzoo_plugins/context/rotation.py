"""Rotation prediction (RotNet): which way up is this picture?

Gidaris, Singh & Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018,
https://arxiv.org/abs/1803.07728. All four turns of an image are in one batch, and a turn moves pixels without
interpolating, so that no resampling artefact gives the answer away (section 2.2 of the paper).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.views import draw_for
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import random_resized_crop


@dataclass(frozen=True)
class RotationConfig:
    min_scale: float = 0.08
    """Smallest crop, as a share of the picture's area."""


class FourRotations(Views):
    """One random crop, perhaps mirrored, turned by 0, 90, 180 and 270 degrees."""

    def __init__(self, config: RotationConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec

    def crop(self, samples: list[Sample]) -> Batch:
        images = [sample["image"] for sample in samples]
        size = self.spec.size[1:]
        scale = (self.config.min_scale, 1.0)
        return {"image": random_resized_crop(images, size, draw_for(samples).at("crop"), scale=scale, flip=0.5)}

    def augment(self, batch: Batch) -> Batch:
        image = normalize(to_float(batch.pop("image")), self.spec.mean, self.spec.std, inplace=True)
        batch["views"] = [torch.rot90(image, turns, dims=(-2, -1)) for turns in range(4)]
        return batch


class Rotation(PretextMethod):
    info = MethodInfo(
        name="rotation",
        category="context",
        family="geometric-transformation",
        modalities=("image",),
        paper=Paper(
            authors="Gidaris, Singh & Komodakis",
            title="Unsupervised Representation Learning by Predicting Image Rotations",
            venue="ICLR",
            year=2018,
            url="https://arxiv.org/abs/1803.07728",
        ),
        summary="Tell by which of four right angles a picture was turned.",
    )
    Config = RotationConfig
    # The ImageNet recipe of the authors' code: rate 0.1, divided by ten after epochs 15, 30 and 45 of 50.
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=50,
        batch_size=192,
        optimizer="sgd",
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        milestones=(0.3, 0.6, 0.9),
    )
    recipes = {"small": {**SMALL, "min_scale": 0.7}}

    @staticmethod
    def views(config: RotationConfig, spec: InputSpec) -> Views:
        return FourRotations(config, spec)

    def __init__(self, encoder: nn.Module, config: RotationConfig) -> None:
        super().__init__(encoder, config)
        self.head = nn.Linear(self.feature_dim, 4)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        views = batch["views"]
        logits = self.head(self.encoder(torch.cat(views)))
        turns = torch.arange(4, device=logits.device).repeat_interleave(len(views[0]))
        accuracy = (logits.argmax(1) == turns).float().mean()
        return {"loss": F.cross_entropy(logits, turns), "accuracy": accuracy}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Images upright, at one of their turns, and turned back by what was predicted."""
        spec = spec_of(self.encoder).input
        shown = torch.stack([batch["views"][i % 4][i] for i in range(len(batch["views"][0]))])
        predicted = self.head(self.encoder(shown)).argmax(1).tolist()
        undone = [torch.rot90(view, -turns, dims=(-2, -1)) for view, turns in zip(shown, predicted, strict=True)]
        pictures = {
            "upright": batch["views"][0],
            "as shown to the encoder": shown,
            "turned back as predicted": torch.stack(undone),
        }
        return {title: denormalize(views, spec.mean, spec.std).clamp(0, 1) for title, views in pictures.items()}
