"""Cross pixel optical-flow similarity: pixels of one picture that would move alike get alike embeddings.

Mahendran, Thewlis & Vedaldi, "Cross Pixel Optical-Flow Similarity for Self-Supervised Learning", ACCV 2018,
https://arxiv.org/abs/1807.05636. A single frame is seen; its optical flow is only known to the loss. Each of 512 random
pixels is embedded in 16 dimensions from its hypercolumn, what the maps of the encoder hold of it at all resolutions.
A Gaussian kernel says how alike the flow of two pixels is, a quarter of the cosine how alike their embeddings are.
Rows of both become distributions over the other pixels by a softmax, of which the cross-entropy is the loss; from a
pixel's likeness to itself, which says nothing, 1 is taken away first.

The flow is the data's own, between a frame and the next. Its length is compressed by a logarithm, so that small motions
count too, and is 1 at ``largest`` and beyond; the kernel's variance, 0.0036, belongs to such lengths.

Deviations. Data with flow are needed, where the authors compute it (between frames further apart, which move more). How
exactly they scale it, and their solver, are not in any code that is published: both are ours. The hypercolumn passes
through one hidden layer, as in Larsson et al. (ECCV 2016), whose sparse sampling this is, and is that of any encoder:
its last map of each size, and the feature that is published in place of AlexNet's fc7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of, takes_clips
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.decoders import encode_maps, map_shapes
from sslzoo.nn.precision import in_float32
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.dense import dense_random_resized_crop
from sslzoo.views.flow_colors import flow_colors, largest_motion
from sslzoo.views.keyed import Draw

DRAWN = 32
"""Places in a row, and rows, of which embeddings are drawn."""


@dataclass(frozen=True)
class CrossPixelConfig:
    pixels: int = 512
    """Of a picture, that are compared with one another."""
    embedding_dim: int = 16
    """Length of a pixel's embedding."""
    hidden_dim: int = 1024
    """Width of the layer between hypercolumn and embedding."""
    variance: float = 0.0036
    """Of the Gaussian kernel of flow."""
    scale: float = 0.25
    """What the cosine of embeddings is multiplied with."""
    largest: float = 1 / 8
    """Length of flow, as a share of the picture's side, beyond which it counts as this long."""
    min_scale: float = 0.5
    """Smallest crop, as a share of the frame's area."""


class FrameAndFlow(Views):
    """A crop of one frame, perhaps mirrored; its ``flow`` (B, 2, H, W); and the ``pixels`` (B, N) to compare, counted
    row by row."""

    def __init__(self, config: CrossPixelConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec
        self.sampling = ClipSampling(length=2, fields=("flow",), short_side=2 * min(spec.size[1:]))

    def crop(self, samples: list[Sample]) -> Batch:
        fields, scale = ("clip", "flow"), (self.config.min_scale, 1.0)
        first = [{name: sample[name][:1] for name in fields if name in sample} for sample in samples]
        cut = dense_random_resized_crop(first, fields, self.spec.size[1:], draw_for(samples).at("crop"), scale)
        return {"image": cut["clip"][:, 0], "flow": cut["flow"][:, 0]}

    def augment(self, batch: Batch) -> Batch:
        batch["views"] = [normalize(to_float(batch.pop("image")), self.spec.mean, self.spec.std, inplace=True)]
        batch["pixels"] = Draw(batch["key"]).integers("pixels", math.prod(self.spec.size[1:]), (self.config.pixels,))
        return batch


def compressed(flow: Tensor, largest: float) -> Tensor:
    """Flow (..., 2) of the same direction, whose length goes with the logarithm: log(1 + length), 1 at ``largest``."""
    length = flow.norm(dim=-1, keepdim=True)
    return flow / length.clamp(min=1e-6) * (length.log1p() / math.log1p(largest)).clamp(max=1)


def flow_kernel(flow: Tensor, variance: float) -> Tensor:
    """(B, N, N) in (0, 1]: how alike the flow (B, N, 2) of two pixels is."""
    apart = (flow[:, :, None] - flow[:, None]).square().sum(dim=-1)
    return (-apart / (2 * variance)).exp()


@in_float32
def embedding_kernel(embeddings: Tensor, scale: float) -> Tensor:
    """(B, N, N): ``scale`` times the cosine of the embeddings (B, N, D) of two pixels."""
    unit = F.normalize(embeddings, dim=-1)
    return scale * unit @ unit.mT


def likenesses(kernel: Tensor, known: Tensor) -> Tensor:
    """(B, N, N): of each row of a kernel the logarithm of its distribution over pixels that are ``known`` (B, N)."""
    others = kernel - torch.eye(kernel.shape[1], device=kernel.device)
    return others.masked_fill(~known[:, None], -1e9).log_softmax(dim=-1)


def kernel_cross_entropy(target: Tensor, kernel: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The cross-entropy of a kernel's rows (B, N, N) with those of the ``target``, a mean over ``known`` (B, N) pixels.

    And the least it can be, the entropy of the target's, and what it is if all pixels are alike.
    """
    true, rows = likenesses(target, known), known.sum().clamp(min=1)

    def entropy(log: Tensor) -> Tensor:
        return (-(true.exp() * log).sum(dim=-1) * known).sum() / rows

    return entropy(likenesses(kernel, known)), entropy(true), entropy(likenesses(torch.zeros_like(target), known))


class CrossPixel(PretextMethod):
    info = MethodInfo(
        name="cross_pixel",
        category="cross_modal",
        family="rgb-flow-correspondence",
        modalities=("clip",),
        paper=Paper(
            authors="Mahendran, Thewlis & Vedaldi",
            title="Cross Pixel Optical-Flow Similarity for Self-Supervised Learning",
            venue="ACCV",
            year=2018,
            url="https://arxiv.org/abs/1807.05636",
        ),
        summary="From one frame tell which of its pixels move alike.",
    )
    Config = CrossPixelConfig
    defaults = PretrainConfig(
        dataset="world",
        encoder="resnet50",
        image_size=224,
        epochs=100,
        batch_size=64,
        optimizer="adam",
        lr=1e-3,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="cosine",
    )
    recipes = {"small": {**SMALL, "batch_size": 16, "pixels": 256, "hidden_dim": 128}}

    @staticmethod
    def views(config: CrossPixelConfig, spec: InputSpec) -> Views:
        return FrameAndFlow(config, spec)

    def __init__(self, encoder: nn.Module, config: CrossPixelConfig) -> None:
        super().__init__(encoder, config)
        if takes_clips(encoder):
            raise UsageError("cross_pixel sees a single frame: choose an encoder of images, such as resnet18")
        self.maps = map_shapes(encoder)
        column = self.feature_dim + sum(found.channels for found in self.maps)
        self.embed = nn.Sequential(
            nn.BatchNorm1d(column),
            nn.Linear(column, config.hidden_dim, bias=False),
            nn.BatchNorm1d(config.hidden_dim),
            nn.ReLU(),
            nn.Linear(config.hidden_dim, config.embedding_dim),
        )
        self.largest = config.largest * spec_of(encoder).input.size[1]

    def embeddings(self, images: Tensor, pixels: Tensor) -> Tensor:
        """(B, N, D) of ``pixels`` (B, N) of the images, counted row by row."""
        feature, maps = encode_maps(self.encoder, images, self.maps)
        columns = hypercolumns(feature, maps, pixels, images.shape[3], images.shape[2])
        return self.embed(columns.flatten(0, 1)).unflatten(0, pixels.shape)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``explained``: how much nearer than an even distribution the predicted ones are to the true, as a share."""
        pixels = batch["pixels"]
        flow = batch["flow"].flatten(2).mT.take_along_dim(pixels[:, :, None], dim=1)
        known = flow.isfinite().all(dim=-1)
        target = flow_kernel(compressed(flow.nan_to_num(), self.largest), self.config.variance)
        kernel = embedding_kernel(self.embeddings(batch["views"][0], pixels), self.config.scale)
        loss, least, even = kernel_cross_entropy(target, kernel, known)
        return {"loss": loss, "explained": (even - loss.detach()) / (even - least).clamp(min=1e-6)}

    @torch.no_grad()
    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures, their flow as colours (hue for direction), and three main parts of the embeddings as colours."""
        spec, images = spec_of(self.encoder).input, batch["views"][0]
        size = (images.shape[2], images.shape[3])
        rows, columns = (((2 * torch.arange(DRAWN) + 1) * side) // (2 * DRAWN) for side in size)
        places = (rows[:, None] * size[1] + columns).flatten().to(images.device)
        found = self.embeddings(images, places.expand(len(images), -1)).float()
        drawn = main_parts(F.normalize(found, dim=-1)).mT.unflatten(2, (DRAWN, DRAWN))
        return {
            "seen": denormalize(images, spec.mean, spec.std),
            "its flow": flow_colors(batch["flow"], largest_motion(batch["flow"])),
            "embeddings": F.interpolate(drawn, size, mode="nearest"),
        }


@in_float32
def hypercolumns(feature: Tensor, maps: Sequence[Tensor], pixels: Tensor, width: int, height: int) -> Tensor:
    """(B, N, C): what the feature (B, D) and each map (B, C, h, w), bilinear between its places, hold of ``pixels``."""
    x, y = (pixels % width + 0.5) / width, (pixels // width + 0.5) / height
    grid = torch.stack([x, y], dim=-1)[:, :, None] * 2 - 1
    found = [
        F.grid_sample(each.float(), grid.to(torch.float32), padding_mode="border", align_corners=False).squeeze(3).mT
        for each in maps
    ]
    return torch.cat([*found, feature[:, None].expand(-1, pixels.shape[1], -1)], dim=-1)


def main_parts(embeddings: Tensor) -> Tensor:
    """(B, N, 3) in [0, 1]: the three directions in which embeddings (B, N, D) differ most, over all of them."""
    rows = embeddings.flatten(0, 1) - embeddings.mean(dim=(0, 1))
    _, directions = torch.linalg.eigh(rows.mT @ rows)
    parts = rows @ directions[:, -3:].flip(1)
    low, high = parts.quantile(0.02, dim=0), parts.quantile(0.98, dim=0)
    return ((parts - low) / (high - low).clamp(min=1e-6)).clamp(0, 1).unflatten(0, embeddings.shape[:2])
