"""Jigsaw puzzles: in which order are the nine tiles of this picture?

Noroozi & Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", ECCV 2016,
https://arxiv.org/abs/1603.09246. A square of a picture is divided into 3 x 3 cells and a tile is cut anywhere in each;
the tiles are shown in one of 1000 orders that are far from one another, and the context-free network, one encoder for
all tiles, tells which. Against shortcuts (section 4.2 of the paper): gaps between tiles, each tile's mean and standard
deviation made equal, colour planes shifted against each other, and 30 % of the pictures grey.

Deviations. Tiles of 64 pixels in cells of 75 belong to an image size of 224, and all lengths scale with it. An encoder
of fixed input size takes tiles enlarged to that. The encoder's own pooled feature comes before the paper's fc6, and
AlexNet's dropout is left out. Every epoch asks for one order of each picture: 70 epochs are the paper's 350 thousand
steps, 69 orders on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.permutations import distant_permutations
from sslzoo.nn.siamese import encode_views
from sslzoo.views import draw_for
from sslzoo.views.chosen import on_chosen_, where
from sslzoo.views.color import to_float, to_grayscale
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import assemble, cut, puzzle_grid, square_crop

TILES = 9


@dataclass(frozen=True)
class JigsawConfig:
    permutations: int = 1000
    """Orders to tell apart, of the 362,880 there are."""
    tile_size: int = 0
    """Height and width of a tile in pixels; 0 takes the paper's, 64 for an image size of 224."""
    grey: float = 0.3
    """Share of pictures without colour."""
    tile_dim: int = 512
    """Length of what is known of each tile before they are compared."""
    hidden_dim: int = 4096
    """Width of the layer that compares them."""


class ShuffledTiles(Views):
    """The nine tiles of a square, each made alike in mean and contrast, in one of the known orders."""

    def __init__(self, config: JigsawConfig, spec: InputSpec) -> None:
        self.config = config
        self.grid = puzzle_grid(spec.size[1], config.tile_size)
        self.shift = max(1, round(self.grid.size * 2 / 64))
        self.orders = distant_permutations(config.permutations, TILES)

    def crop(self, samples: list[Sample]) -> Batch:
        images = [sample["image"] for sample in samples]
        return {"image": square_crop(images, self.grid.extent, draw_for(samples).at("crop"), (225 / 256, 225 / 256))}

    def augment(self, batch: Batch) -> Batch:
        draw = Draw(batch["key"])
        image = to_float(batch.pop("image"))
        grey = draw.bernoulli("grey", self.config.grey)
        on_chosen_(image[:, :3], where(grey), to_grayscale)

        batch["target"] = draw.integers("order", len(self.orders))
        order = self.orders.to(image.device)[batch["target"]]
        # Colour planes move against each other, but no plane leaves its cell: tiles share no pixel.
        place = draw.integers("place", self.grid.play + 1, (TILES, 1, 2))
        shift = draw.integers("planes", 2 * self.shift + 1, (TILES, image.shape[1], 2)) - self.shift
        place = (place + shift * ~grey[:, None, None, None]).clamp(0, self.grid.play)
        tiles = cut(image, self.grid.corners(order)[:, :, None] + place, self.grid.size)

        tiles, batch["mean"], batch["std"] = equalize(tiles)
        batch["views"] = list(tiles.unbind(1))
        return batch


def equalize(tiles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tiles (B, N, C, S, S) of mean 0 and standard deviation 1 in each channel, and what those were (B, N, C, 1, 1).

    The deviation counts as at least one grey level, so that a flat tile stays flat.
    """
    mean = tiles.mean(dim=-1, keepdim=True).mean(dim=-2, keepdim=True)
    tiles = tiles - mean
    std = tiles.square().mean(dim=-1, keepdim=True).mean(dim=-2, keepdim=True).sqrt().clamp(min=1 / 255)
    return tiles / std, mean, std


class Jigsaw(PretextMethod):
    info = MethodInfo(
        name="jigsaw",
        category="context",
        family="jigsaw",
        modalities=("image",),
        paper=Paper(
            authors="Noroozi & Favaro",
            title="Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles",
            venue="ECCV",
            year=2016,
            url="https://arxiv.org/abs/1603.09246",
        ),
        summary="Tell in which of many known orders nine tiles of a picture are.",
    )
    Config = JigsawConfig
    # The authors' solver: 350 thousand steps of 256 pictures of ImageNet, the rate divided by ten every 100 thousand.
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=70,
        batch_size=256,
        optimizer="momentum",
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        milestones=(2 / 7, 4 / 7, 6 / 7),
    )
    recipes = {"small": {**SMALL, "lr": 0.001, "permutations": 100, "tile_size": 32, "tile_dim": 64, "hidden_dim": 256}}

    @staticmethod
    def views(config: JigsawConfig, spec: InputSpec) -> Views:
        return ShuffledTiles(config, spec)

    def __init__(self, encoder: nn.Module, config: JigsawConfig) -> None:
        super().__init__(encoder, config)
        self.tile = nn.Sequential(nn.Linear(self.feature_dim, config.tile_dim), nn.ReLU())
        self.head = nn.Sequential(
            nn.Linear(TILES * config.tile_dim, config.hidden_dim),
            nn.ReLU(),
            nn.Linear(config.hidden_dim, config.permutations),
        )

    def logits(self, batch: Batch) -> Tensor:
        """(B, permutations)."""
        return self.head(self.tile(encode_views(self.encoder, batch["views"])).flatten(1))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.logits(batch)
        accuracy = (logits.argmax(1) == batch["target"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["target"]), "accuracy": accuracy}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """The tiles as shown, and put where the predicted order says they belong."""
        shown = (torch.stack(batch["views"], dim=1) * batch["std"] + batch["mean"]).clamp(0, 1)
        orders = distant_permutations(self.config.permutations, TILES).to(shown.device)
        predicted = orders[self.logits(batch).argmax(1)]
        solved = shown.take_along_dim(predicted.argsort(dim=1)[:, :, None, None, None], dim=1)
        return {"shuffled tiles": assemble(shown, columns=3), "solved as predicted": assemble(solved, columns=3)}
