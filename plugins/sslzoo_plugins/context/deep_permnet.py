"""DeepPermNet: the permutation matrix that brings nine tiles back into order.

Santa Cruz, Fernando, Cherian & Gould, "DeepPermNet: Visual Permutation Learning", CVPR 2017,
https://arxiv.org/abs/1704.02729. Tiles are shown in any of the 9! orders. One encoder sees each of them, and what is
known of all together becomes a 9 x 9 matrix of positive numbers, which a Sinkhorn layer makes doubly stochastic. The
loss is the cross-entropy with the true permutation matrix: as in the authors' code summed over the nine tiles, and
with one Sinkhorn iteration.

The picture is cut as for jigsaw puzzles, with gaps, but nothing else guards against shortcuts, as in the authors' code.

Deviations. Tiles of 64 pixels belong to an image size of 224 and scale with it. An encoder of fixed input size takes
tiles enlarged to that. The encoder's own pooled feature comes before fc6, and AlexNet's dropout is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.permutations import every_permutation
from sslzoo.nn.siamese import encode_views
from sslzoo.nn.sinkhorn import log_sinkhorn
from sslzoo.views import draw_for
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import assemble, cut, puzzle_grid, square_crop

TILES = 9


@dataclass(frozen=True)
class DeepPermNetConfig:
    tile_size: int = 0
    """Height and width of a tile in pixels; 0 takes the paper's, 64 for an image size of 224."""
    iterations: int = 1
    """Of the Sinkhorn layer: each makes the sums of rows, then those of columns, one."""
    tile_dim: int = 512
    """Length of what is known of each tile before they are compared."""
    hidden_dim: int = 4096
    """Width of the layer that compares them."""


class PermutedTiles(Views):
    """The nine tiles of a square in any order, and ``order`` (B, 9): the cell that each tile was cut from."""

    def __init__(self, config: DeepPermNetConfig, spec: InputSpec) -> None:
        self.spec = spec
        self.grid = puzzle_grid(spec.size[1], config.tile_size)

    def crop(self, samples: list[Sample]) -> Batch:
        images = [sample["image"] for sample in samples]
        return {"image": square_crop(images, self.grid.extent, draw_for(samples).at("crop"), (225 / 256, 225 / 256))}

    def augment(self, batch: Batch) -> Batch:
        draw = Draw(batch["key"])
        image = normalize(to_float(batch.pop("image")), self.spec.mean, self.spec.std, inplace=True)
        batch["order"] = draw.permutation("order", TILES)
        place = draw.integers("place", self.grid.play + 1, (TILES, 1, 2))
        tiles = cut(image, self.grid.corners(batch["order"])[:, :, None] + place, self.grid.size)
        batch["views"] = list(tiles.unbind(1))
        return batch


class DeepPermNet(PretextMethod):
    info = MethodInfo(
        name="deep_permnet",
        category="context",
        family="jigsaw",
        modalities=("image",),
        paper=Paper(
            authors="Santa Cruz, Fernando, Cherian & Gould",
            title="DeepPermNet: Visual Permutation Learning",
            venue="CVPR",
            year=2017,
            url="https://arxiv.org/abs/1704.02729",
        ),
        summary="Predict the permutation matrix that shuffled nine tiles of a picture.",
    )
    Config = DeepPermNetConfig
    # The authors' solver: 400 thousand steps of 256 pictures of ImageNet, the rate divided by ten every 150 thousand.
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=80,
        batch_size=256,
        optimizer="momentum",
        lr=0.001,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        milestones=(0.375, 0.75),
    )
    recipes = {"small": {**SMALL, "lr": 0.001, "tile_size": 32, "tile_dim": 64, "hidden_dim": 256}}

    @staticmethod
    def views(config: DeepPermNetConfig, spec: InputSpec) -> Views:
        return PermutedTiles(config, spec)

    def __init__(self, encoder: nn.Module, config: DeepPermNetConfig) -> None:
        super().__init__(encoder, config)
        self.tile = nn.Sequential(nn.Linear(self.feature_dim, config.tile_dim), nn.ReLU())
        self.head = nn.Sequential(
            nn.Linear(TILES * config.tile_dim, config.hidden_dim),
            nn.ReLU(),
            nn.Linear(config.hidden_dim, TILES * TILES),
        )

    def log_matrix(self, batch: Batch) -> Tensor:
        """(B, 9, 9) logarithms: how much of the tile in place i (row) comes from cell j (column)."""
        scores = self.head(self.tile(encode_views(self.encoder, batch["views"])).flatten(1))
        return log_sinkhorn(scores.float().unflatten(1, (TILES, TILES)), self.config.iterations)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``accuracy`` is the share of tiles whose largest entry is their own cell: 1 / 9 by chance."""
        log_matrix, order = self.log_matrix(batch), batch["order"]
        loss = -log_matrix.gather(2, order[:, :, None]).sum(dim=(1, 2)).mean()
        return {"loss": loss, "accuracy": (log_matrix.argmax(2) == order).float().mean()}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """The tiles as shown, and put where the likeliest permutation says they belong."""
        spec = spec_of(self.encoder).input
        shown = torch.stack([denormalize(view, spec.mean, spec.std) for view in batch["views"]], dim=1)
        predicted = likeliest(self.log_matrix(batch))
        solved = shown.take_along_dim(predicted.argsort(dim=1)[:, :, None, None, None], dim=1)
        return {"shuffled tiles": assemble(shown, columns=3), "solved as predicted": assemble(solved, columns=3)}


def likeliest(log_matrix: Tensor) -> Tensor:
    """Of all permutations the one (B, N) whose entries of (B, N, N) have the largest product: by trying each."""
    orders = every_permutation(log_matrix.shape[1]).to(log_matrix.device)
    best = [sum(rows[i, orders[:, i].long()] for i in range(len(rows))).argmax() for rows in log_matrix]
    return orders[torch.stack(best)].long()
