"""Space-time cubic puzzles: how were these four pieces of a video arranged?

Kim, Cho & Kweon, "Self-Supervised Video Representation Learning with Space-Time Cubic Puzzles", AAAI 2019,
https://arxiv.org/abs/1811.09795. A video is divided into 2 x 2 x 4 cells of space and time. Four pieces are taken
either from the four places at one time, or from the four times at one place, and shown in one of 24 orders. One video
encoder sees each, and the layers that put their features together tell the order without being told which kind of
puzzle it is. Half of all puzzles are turned by 180 degrees, to be told as well: 48 classes. Against shortcuts:
each piece lies anywhere in its cell in space and time, so that there are gaps between pieces, and shows one colour
channel only.

Deviations. Pieces of 16 frames of 80 pixels in cells of 32 frames of 112 belong to an encoder for clips of 16 frames of
112 pixels, and all lengths scale with those. Each piece has a channel of its own, as in Lee et al., ICCV 2017, whom the
paper follows. A video of fewer frames than a puzzle needs is played more slowly. The hidden layer's width and the
recipe are ours to choose, for we could not find the authors'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.permutations import every_permutation
from sslzoo.nn.siamese import encode_views
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling, clip_resized_crop, distinct_frames
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import image_sizes
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import Grid, assemble, random_squares

PIECES = 4
ORDERS = 24
TIMES = 4
"""Cells of a video in time; in space there are as many."""


@dataclass(frozen=True)
class CubicPuzzlesConfig:
    piece_frames: int = 0
    """Frames of a piece, of which a video should have eight times as many; 0 takes those of the encoder's clips."""
    piece_size: int = 0
    """Height and width of a piece in pixels; 0 takes the paper's, 80 for clips of 112."""
    stride: int = 1
    """Frames of video from one frame to the next."""
    spatial: float = 0.5
    """Share of puzzles in space; the others are in time."""
    hidden_dim: int = 512
    """Width of the layer that compares the pieces."""


class Puzzles(Views):
    """Four pieces of one channel each, in the order of the ``target``, from 24 on turned by 180 degrees."""

    def __init__(self, config: CubicPuzzlesConfig, spec: InputSpec) -> None:
        _check(spec)
        self.config, self.spec = config, spec
        self.frames = config.piece_frames or spec.frames
        size = config.piece_size or round(spec.size[1] * 80 / 112)
        pitch = round(size * 112 / 80)
        self.grid = Grid(columns=2, size=size, pitch=pitch, play=pitch - size)
        self.sampling = ClipSampling(2 * TIMES * self.frames, config.stride, short_side=self.grid.extent)

    def crop(self, samples: list[Sample]) -> Batch:
        draw, clips = draw_for(samples), [sample["clip"] for sample in samples]
        squares = random_squares(image_sizes(clips), draw.at("crop"), (1.0, 1.0))
        start, corner = self.place(draw)
        frames = self.within(clips, start[..., None] + torch.arange(self.frames))
        pieces = [clip[piece] for clip, index in zip(clips, frames, strict=True) for piece in index]
        # A piece's box in the video as it is: only what is seen gets resized.
        scale = squares[:, None, 2:] / self.grid.extent
        side = (scale * self.grid.size).round().clamp(min=1).expand(-1, PIECES, -1)
        boxes = torch.cat([squares[:, None, :2] + (corner * scale).floor(), side], dim=2).long().flatten(0, 1)
        unmirrored = torch.zeros(len(boxes), dtype=torch.bool)
        cut = clip_resized_crop(pieces, boxes, unmirrored, (self.grid.size, self.grid.size))
        return {"clip": cut.unflatten(0, (-1, PIECES))}

    def within(self, clips: list[Tensor], frames: Tensor) -> Tensor:
        """``frames`` (B, 4, T) of a puzzle as those of ``clips``, which repeat their last ones where they are short."""
        distinct = torch.tensor([distinct_frames(clip, TIMES) for clip in clips])
        return frames * distinct[:, None, None] // (2 * TIMES * self.frames)

    def place(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Where pieces begin: in time (B, 4), in frames, and in space (B, 4, 2), their tops and lefts in pixels.

        Each lies in a cell of its own. They are in order: of places by rows, or of times.
        """
        piece, still = torch.arange(PIECES), draw.integers("cell", PIECES)[:, None]
        spatial = draw.bernoulli("spatial", self.config.spatial)[:, None]
        when, where = torch.where(spatial, still, piece), torch.where(spatial, piece, still)
        start = 2 * self.frames * when + draw.integers("start", self.frames + 1, (PIECES,))
        corner = self.grid.corners(where) + draw.integers("corner", self.grid.play + 1, (PIECES, 2))
        return start, corner

    def augment(self, batch: Batch) -> Batch:
        draw, pieces = Draw(batch["key"]), to_float(batch.pop("clip"))
        channel = draw.integers("channel", min(3, pieces.shape[3]), (PIECES,))
        pieces = pieces.take_along_dim(channel[:, :, None, None, None, None], dim=3).expand_as(pieces)

        order, turned = draw.integers("order", ORDERS), draw.bernoulli("turned", 0.5)
        batch["target"] = order + ORDERS * turned
        places = every_permutation(PIECES).to(pieces.device).long()[order]
        shown = pieces.take_along_dim(places[:, :, None, None, None, None], dim=1)
        shown = torch.where(turned[:, None, None, None, None, None], shown.flip((-2, -1)), shown)
        batch["views"] = list(normalize(shown, self.spec.mean, self.spec.std).transpose(2, 3).unbind(1))
        return batch


def _check(spec: InputSpec) -> None:
    """Complain of an encoder that takes pictures."""
    if not spec.frames:
        raise UsageError("cubic_puzzles are pieces of clips: choose an encoder that takes clips, such as r3d_18")


class CubicPuzzles(PretextMethod):
    info = MethodInfo(
        name="cubic_puzzles",
        category="context",
        family="spatio-temporal",
        modalities=("clip",),
        paper=Paper(
            authors="Kim, Cho & Kweon",
            title="Self-Supervised Video Representation Learning with Space-Time Cubic Puzzles",
            venue="AAAI",
            year=2019,
            url="https://arxiv.org/abs/1811.09795",
        ),
        summary="Put four pieces of a video, apart in space or in time, back in order.",
    )
    Config = CubicPuzzlesConfig
    # The recipe of the 3D ResNets that the paper trains (Hara, Kataoka & Satoh, CVPR 2018).
    defaults = PretrainConfig(
        dataset="world-actions",
        encoder="r3d_18",
        image_size=112,
        frames=16,
        epochs=100,
        batch_size=128,
        optimizer="momentum",
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-3,
        schedule="step",
        milestones=(0.5, 0.75),
    )
    recipes = {
        "small": {
            **SMALL,
            "epochs": 60,
            "batch_size": 32,
            "encoder": "r3d_18",
            "piece_frames": 2,
            "piece_size": 32,
            "hidden_dim": 256,
        }
    }

    @staticmethod
    def views(config: CubicPuzzlesConfig, spec: InputSpec) -> Views:
        return Puzzles(config, spec)

    def __init__(self, encoder: nn.Module, config: CubicPuzzlesConfig) -> None:
        super().__init__(encoder, config)
        _check(spec_of(encoder).input)
        self.head = nn.Sequential(
            nn.Linear(PIECES * self.feature_dim, config.hidden_dim),
            nn.ReLU(),
            nn.Linear(config.hidden_dim, 2 * ORDERS),
        )

    def logits(self, batch: Batch) -> Tensor:
        """(B, 48)."""
        return self.head(encode_views(self.encoder, batch["views"]).flatten(1))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``accuracy`` is 1 / 48 by chance."""
        logits = self.logits(batch)
        accuracy = (logits.argmax(1) == batch["target"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["target"]), "accuracy": accuracy}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Middle frames of the pieces: as shown, put in order and upright as predicted, and as they were.

        Those of puzzles in time are laid out by rows.
        """
        spec = spec_of(self.encoder).input
        middles = [view[:, :, view.shape[2] // 2] for view in batch["views"]]
        shown = torch.stack([denormalize(frame, spec.mean, spec.std) for frame in middles], dim=1)
        pictures = {
            "pieces as shown": shown,
            "put as predicted": solve(shown, self.logits(batch).argmax(1)),
            "as they were": solve(shown, batch["target"]),
        }
        return {title: assemble(pieces, columns=2) for title, pieces in pictures.items()}


def solve(shown: Tensor, target: Tensor) -> Tensor:
    """Pieces (B, 4, C, H, W), put where the class ``target`` (B,) has them, and upright."""
    order = every_permutation(PIECES).to(shown.device).long()[target % ORDERS]
    solved = shown.take_along_dim(order.argsort(dim=1)[:, :, None, None, None], dim=1)
    return torch.where((target >= ORDERS)[:, None, None, None, None], solved.flip((-2, -1)), solved)
