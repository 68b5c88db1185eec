"""Order prediction network: in which order were these four frames of a video?

Lee, Huang, Singh & Yang, "Unsupervised Representation Learning by Sorting Sequences", ICCV 2017,
https://arxiv.org/abs/1708.01246. Four frames are shown in any order, and one of 12 classes is to be told: an order and
the same read from the other side are one, for much looks the same backwards. One encoder sees each frame, and what is
known of each two of them is compared before all six comparisons are put together. Against shortcuts, as in the authors'
code: frames and the region that is cut from them are chosen for their motion; each frame is cut up to 5 of 80 pixels
elsewhere; each shows one colour channel only, of its own; and all four are mirrored or none is.

Deviations. Motion is the difference between frames instead of optical flow. The authors publish the frames they took
but not how far apart they are: here they are eight frames apart in a window of 61. All lengths scale with the patch,
which is 80 pixels of videos of 240. The encoder's own pooled feature comes before fc6, and dropout is left
out. What is known of two frames is put together as its sum and its difference, each of which is normalised, and not as
it is: the linear layer that follows can tell as much from either, but frames of one video differ by so little that from
the latter it learned nothing in as many steps. The recipe `small` shows the grey of whole frames: with one channel of
each, which the paper calls a challenge beyond grey frames, little was learned in 4 thousand steps (the authors' are 170
thousand).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.heads import hidden_layers
from sslzoo.nn.siamese import encode_views
from sslzoo.views import draw_for
from sslzoo.views.clips import (
    ClipSampling,
    clip_resized_crop,
    distinct_frames,
    motion,
    motion_in_windows,
    weighted_choice,
)
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import assemble, cut

FRAMES = 4
ORDERS = tuple(order for order in permutations(range(FRAMES)) if order[0] < order[-1])
"""By class, the 12 that are not the reverse of another: the frame that is shown in each place."""
PAIRS = tuple(combinations(range(FRAMES), 2))
"""Of places."""
REGION = 1.25
"""Side of the region that patches are cut from, in patches."""
CANDIDATES = 16
"""Frames of a window that the four are chosen from."""


@dataclass(frozen=True)
class OPNConfig:
    stride: int = 4
    """Frames of video from one of 16 candidates to the next."""
    span: float = 0.5
    """Frames from the first to the last of the four, as a share of the window, before they are evenly apart."""
    region: float = 100 / 240
    """Side of the region that patches are cut from, as a share of the video's shorter side."""
    jitter: float = 5 / 80
    """Most that a patch lies elsewhere than the others, up, down, left or right, as a share of its side."""
    split_channels: bool = True
    """Show one colour channel of each frame; if not, the mean of all."""
    frame_dim: int = 1024
    """Length of what is known of each frame."""
    pair_dim: int = 512
    """Length of what is known of each two."""


class ShuffledFrames(Views):
    """Four grey patches, in an order of the ``target`` or in its reverse."""

    def __init__(self, config: OPNConfig, spec: InputSpec) -> None:
        if not (0 < config.region <= 1 and 0 < config.span <= 1):
            raise UsageError(f"region and span are shares, over 0 and up to 1, not {config.region} and {config.span}")
        self.config, self.spec = config, spec
        self.size = spec.size[1]
        self.extent = round(self.size * REGION)
        self.jitter = round(self.size * config.jitter)
        self.sampling = ClipSampling(CANDIDATES, config.stride, short_side=round(self.extent / config.region))

    def crop(self, samples: list[Sample]) -> Batch:
        draw, clips = draw_for(samples), [sample["clip"] for sample in samples]
        index = choose_frames([moves(clip) for clip in clips], self.config.span, draw)
        taken = [clip[frames] for clip, frames in zip(clips, index, strict=True)]
        boxes = [
            lively_square(frames, self.config.region, Draw(key[None]))
            for frames, key in zip(taken, draw.key, strict=True)
        ]
        mirrored = draw.bernoulli("mirror", 0.5)
        return {"clip": clip_resized_crop(taken, torch.stack(boxes), mirrored, (self.extent, self.extent))}

    def augment(self, batch: Batch) -> Batch:
        draw, region = Draw(batch["key"]), to_float(batch.pop("clip"))
        free = self.extent - self.size
        jitter = draw.integers("jitter", 2 * self.jitter + 1, (FRAMES, 2)) - self.jitter
        place = (draw.integers("place", free + 1, (1, 2)) + jitter).clamp(0, free)
        patches = cut(region.flatten(0, 1), place.view(-1, 1, 1, 2), self.size).view(-1, FRAMES, *self.spec.size)

        if self.config.split_channels:
            channel = draw.integers("channel", min(3, patches.shape[2]), (FRAMES,))
            shown = patches.take_along_dim(channel[..., None, None, None], dim=2)
        else:
            shown = patches.mean(2, keepdim=True)
        patches = shown.expand_as(patches)

        batch["target"] = draw.integers("order", len(ORDERS))
        order = torch.tensor(ORDERS, device=patches.device)[batch["target"]]
        batch["order"] = torch.where(draw.bernoulli("reverse", 0.5)[:, None], order.flip(1), order)
        shown = patches.take_along_dim(batch["order"][..., None, None, None], dim=1)
        batch["views"] = list(normalize(shown, self.spec.mean, self.spec.std).unbind(1))
        return batch


def moves(clip: Tensor) -> Tensor:
    """(T - 1,): the ``motion`` of ``clip`` up to where it only repeats a frame, of which no order can be told."""
    return motion(clip[: distinct_frames(clip, FRAMES)])


def choose_frames(motions: Sequence[Tensor], span: float, draw: Draw) -> Tensor:
    """(B, 4) int64: frames evenly apart that span a share of clips of these ``motions`` (T - 1,), where much moves.

    Raises:
        UsageError: for clips of less than four frames.
    """
    shortest = min(map(len, motions)) + 1
    if shortest < FRAMES:
        raise UsageError(f"four frames cannot be taken of a clip of {shortest}")
    return torch.stack([_evenly_apart(one, span, Draw(key[None])) for one, key in zip(motions, draw.key, strict=True)])


def _evenly_apart(motion: Tensor, span: float, draw: Draw) -> Tensor:
    """(4,) int64: of one clip."""
    step = max(1, round(span * len(motion) / (FRAMES - 1)))
    first = weighted_choice(motion_in_windows(motion, (FRAMES - 1) * step + 1)[None], draw, "first")
    return first + step * torch.arange(FRAMES)


def lively_square(frames: Tensor, share: float, draw: Draw) -> Tensor:
    """(4,) int64, top, left, height and width: a square of frames (T, C, H, W), the likelier the more moves in it.

    Its side is a ``share`` of the shorter side. ``draw`` is of one sample.
    """
    side = max(1, round(share * min(frames.shape[2:])))
    step = max(1, side // 8)
    moves = frames.float().diff(dim=0).abs().mean((0, 1))
    weights = F.avg_pool2d(moves[None], side, step)[0]
    place = int(weighted_choice(weights.flatten()[None], draw, "region"))
    top, left = divmod(place, weights.shape[1])
    return torch.tensor([top * step, left * step, side, side])


class OPN(PretextMethod):
    info = MethodInfo(
        name="opn",
        category="context",
        family="order-recognition",
        modalities=("clip",),
        paper=Paper(
            authors="Lee, Huang, Singh & Yang",
            title="Unsupervised Representation Learning by Sorting Sequences",
            venue="ICCV",
            year=2017,
            url="https://arxiv.org/abs/1708.01246",
        ),
        summary="Sort four shuffled frames of a video.",
    )
    Config = OPNConfig
    # The authors' solver: 170 thousand steps of 64 of the 9,537 training videos of UCF101's first split, the rate
    # divided by ten after 130 thousand.
    defaults = PretrainConfig(
        dataset="world-actions",
        encoder="resnet50",
        image_size=80,
        epochs=1141,
        batch_size=64,
        optimizer="momentum",
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        milestones=(13 / 17,),
    )
    recipes = {
        "small": {
            **SMALL,
            "epochs": 250,
            "batch_size": 32,
            "lr": 2e-3,
            "region": 1.0,
            "split_channels": False,
            "frame_dim": 256,
            "pair_dim": 256,
        }
    }

    @staticmethod
    def views(config: OPNConfig, spec: InputSpec) -> Views:
        return ShuffledFrames(config, spec)

    def __init__(self, encoder: nn.Module, config: OPNConfig) -> None:
        super().__init__(encoder, config)
        self.frame = hidden_layers(self.feature_dim, config.frame_dim)
        normalised = nn.BatchNorm1d(2 * config.frame_dim, affine=False)
        self.pair = nn.Sequential(normalised, *hidden_layers(2 * config.frame_dim, config.pair_dim))
        self.head = nn.Linear(len(PAIRS) * config.pair_dim, len(ORDERS))

    def logits(self, batch: Batch) -> Tensor:
        """(B, 12)."""
        features = encode_views(self.encoder, batch["views"])
        known = self.frame(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        one, other = known[:, PAIRS].unbind(2)
        pairs = torch.cat([one + other, one - other], dim=2)
        return self.head(self.pair(pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2]).flatten(1))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.logits(batch)
        accuracy = (logits.argmax(1) == batch["target"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["target"]), "accuracy": accuracy}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """The four patches as shown, sorted by the predicted class, and in order.

        A class does not say from which side it is to be read: here it is from the side that is right.
        """
        spec = spec_of(self.encoder).input
        shown = torch.stack([denormalize(view, spec.mean, spec.std) for view in batch["views"]], dim=1)
        reverse = batch["order"][:, 0] > batch["order"][:, -1]
        read = torch.where(reverse[:, None, None, None, None], shown.flip(1), shown)
        orders = torch.tensor(ORDERS, device=shown.device)
        pictures = {
            "shuffled": shown,
            "sorted as predicted": sort(read, orders[self.logits(batch).argmax(1)]),
            "in order": sort(read, orders[batch["target"]]),
        }
        return {title: assemble(frames, columns=FRAMES) for title, frames in pictures.items()}


def sort(frames: Tensor, order: Tensor) -> Tensor:
    """Frames (B, 4, C, H, W) that are shown in this ``order`` (B, 4), in the order of time."""
    return frames.take_along_dim(order.argsort(dim=1)[:, :, None, None, None], dim=1)
