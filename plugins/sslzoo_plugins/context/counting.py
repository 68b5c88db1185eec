"""Learning to count: what a picture holds is what its four quarters hold together.

Noroozi, Pirsiavash & Favaro, "Representation Learning by Learning to Count", ICCV 2017,
https://arxiv.org/abs/1708.06734. With phi(.) the counts of 1000 visual primitives, D halving and T_j the quarters,

    loss = |phi(D x) - sum_j phi(T_j x)|^2 + max(0, M - |phi(D y) - sum_j phi(T_j x)|^2),    M = 10,

where y is another picture: the next of the batch, over all processes. Against shortcuts the filter that halves is drawn
from four, so that resampling leaves no trace to count by, and two thirds of the pictures are grey.

Quarters and halved pictures have the run's image size, 112 by default for the paper's 114, so an encoder of any kind
sees what it will be evaluated on, and a step costs five forward passes of a whole image. AlexNet's fc6 and fc7 become
one layer, since the encoder pools already.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.gather import gather
from sslzoo.nn.precision import in_float32
from sslzoo.nn.siamese import encode_views
from sslzoo.views import draw_for
from sslzoo.views.chosen import on_chosen_, where
from sslzoo.views.color import denormalize, normalize, to_float, to_grayscale
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import assemble, square_crop


@dataclass(frozen=True)
class CountingConfig:
    primitives: int = 1000
    """Kinds of things to count."""
    margin: float = 10.0
    """Squared distance beyond which the counts of two pictures are different enough."""
    grey: float = 0.67
    """Share of pictures without colour."""
    hidden_dim: int = 4096
    """Width of the layer between the encoder and the counts."""


class WholeAndQuarters(Views):
    """A square halved, then its quarters: upper left, upper right, lower left, lower right."""

    def __init__(self, config: CountingConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec

    def crop(self, samples: list[Sample]) -> Batch:
        images = [sample["image"] for sample in samples]
        share = 224 / 256
        return {"image": square_crop(images, 2 * self.spec.size[1], draw_for(samples).at("crop"), (share, share))}

    def augment(self, batch: Batch) -> Batch:
        draw = Draw(batch["key"])
        image = to_float(batch.pop("image"))
        on_chosen_(image[:, :3], where(draw.bernoulli("grey", self.config.grey)), to_grayscale)
        filters = halving_filters().to(image.device)
        halved = halve(image, filters[draw.integers("filter", len(filters))])
        quarters = [quarter for half in image.chunk(2, dim=2) for quarter in half.chunk(2, dim=3)]
        batch["views"] = [normalize(view, self.spec.mean, self.spec.std) for view in (halved, *quarters)]
        return batch


def halving_filters() -> Tensor:
    """(4, 12): the taps of area, bilinear, bicubic and Lanczos interpolation, stretched to halve an image."""
    x = (torch.arange(12) - 5.5).abs() / 2
    bicubic = torch.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2) * (x < 2)
    taps = torch.stack([(x < 0.5).float(), (1 - x).clamp(min=0), bicubic, torch.sinc(x) * torch.sinc(x / 3)])
    return taps / taps.sum(dim=1, keepdim=True)


def halve(images: Tensor, taps: Tensor) -> Tensor:
    """Images (B, C, H, W) at half their size, each by its own filter (B, 12); beyond an edge lies the edge's pixel."""
    for dim, padding in ((2, (0, 0, 5, 5)), (3, (5, 5, 0, 0))):
        windows = F.pad(images, padding, mode="replicate").unfold(dim, 12, 2).unbind(-1)
        weights = taps.T[:, :, None, None, None]
        images = windows[0] * weights[0]
        for window, weight in zip(windows[1:], weights[1:], strict=True):
            images.addcmul_(window, weight)
    return images.clamp_(0, 1)


@in_float32
def squared_distances(whole: Tensor, quarters: Tensor) -> tuple[Tensor, Tensor]:
    """Of the ``quarters`` (B, primitives) to their own ``whole``, and to that of the next picture: (B,) each."""
    return (whole - quarters).square().sum(dim=1), (whole.roll(-1, dims=0) - quarters).square().sum(dim=1)


class Counting(PretextMethod):
    info = MethodInfo(
        name="counting",
        category="context",
        family="geometric-transformation",
        modalities=("image",),
        paper=Paper(
            authors="Noroozi, Pirsiavash & Favaro",
            title="Representation Learning by Learning to Count",
            venue="ICCV",
            year=2017,
            url="https://arxiv.org/abs/1708.06734",
        ),
        summary="Count primitives so that a picture's quarters hold together what the whole holds.",
    )
    Config = CountingConfig
    # The rate is the authors', low so as not to diverge, and falls smoothly as theirs does (by a tenth every 10
    # thousand steps); momentum and decay are Caffe's usual ones, the number of epochs is ours.
    defaults = PretrainConfig(
        encoder="resnet50",
        image_size=112,
        epochs=100,
        batch_size=256,
        optimizer="momentum",
        lr=1e-4,
        momentum=0.9,
        weight_decay=5e-4,
    )
    recipes = {"small": {**SMALL, "lr": 0.001, "hidden_dim": 256}}

    @staticmethod
    def views(config: CountingConfig, spec: InputSpec) -> Views:
        return WholeAndQuarters(config, spec)

    def __init__(self, encoder: nn.Module, config: CountingConfig) -> None:
        super().__init__(encoder, config)
        self.head = nn.Sequential(
            nn.Linear(self.feature_dim, config.hidden_dim),
            nn.ReLU(),
            nn.Linear(config.hidden_dim, config.primitives),
            nn.ReLU(),
        )

    def counts(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, primitives) of the halved pictures, and summed over their quarters."""
        counts = self.head(encode_views(self.encoder, batch["views"]))
        return counts[:, 0], counts[:, 1:].sum(dim=1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        whole, quarters = self.counts(batch)
        if self.training:  # which picture is the next must not depend on the number of processes
            whole, quarters = gather(whole), gather(quarters)
        same, other = squared_distances(whole, quarters)
        contrast = (self.config.margin - other).relu()
        return {"loss": (same + contrast).mean(), "same": same.mean(), "other": other.mean()}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures and their quarters, ordered by the length of their count vector, as in the paper's figures."""
        spec = spec_of(self.encoder).input
        order = self.counts(batch)[0].norm(dim=1).argsort(stable=True)
        whole, *quarters = (denormalize(view[order], spec.mean, spec.std) for view in batch["views"])
        return {
            "by the size of their counts": whole,
            "their quarters": assemble(torch.stack(quarters, dim=1), columns=2),
        }
