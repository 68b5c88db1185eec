"""A little method, for the examination of evaluations that need one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from sslzoo.config import PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import resize_center_crop


@dataclass(frozen=True)
class NoConfig:
    """Nothing to set."""


class Whole(Views):
    """The middle of each picture."""

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec

    def crop(self, samples: list[Sample]) -> Batch:
        """(B, C, H, W) uint8."""
        return {"image": resize_center_crop([sample["image"] for sample in samples], self.spec.size[1:])}

    def augment(self, batch: Batch) -> Batch:
        """The same as one view."""
        image = normalize(to_float(batch["image"]), self.spec.mean, self.spec.std)
        return {**batch, "views": [image]}


@final
class Drawing(PretextMethod):
    """Tells the mean brightness of a picture, and paints it over."""

    info = MethodInfo(
        name="drawing",
        category="generation",
        family="inpainting",
        modalities=("image",),
        paper=Paper(authors="sslzoo", title="None", venue="none", year=2026, url="https://example.org"),
        summary="Tell how bright a picture is.",
    )
    Config = NoConfig
    defaults = PretrainConfig()

    @staticmethod
    def views(config: Any, spec: InputSpec) -> Views:
        """One."""
        return Whole(spec)

    def __init__(self, encoder: nn.Module, config: NoConfig) -> None:
        super().__init__(encoder, config)
        self.head = nn.Linear(self.feature_dim, 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The squared error."""
        image = batch["views"][0]
        return {"loss": (self.head(self.encoder(image))[:, 0] - image.mean((1, 2, 3))).square().mean()}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures, and as bright as they are taken to be."""
        spec, image = spec_of(self.encoder).input, batch["views"][0]
        told = self.head(self.encoder(image))[:, :, None, None].expand_as(image)
        return {
            title: denormalize(shown, spec.mean, spec.std) for title, shown in {"picture": image, "told": told}.items()
        }
