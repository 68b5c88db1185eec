"""Shuffle and Learn: are these three frames of a video in order?

Misra, Zitnick & Hebert, "Shuffle and Learn: Unsupervised Learning using Temporal Order Verification", ECCV 2016,
https://arxiv.org/abs/1603.08561. Five frames a < b < c < d < e are taken where much moves. The triple (b, c, d) is in
order; (b, a, d) and (b, e, d) are not. Each frame goes through the same encoder, and one layer tells from the three
features together. Against shortcuts: right and wrong triples of a clip share their first and last frame, so that only
the one in the middle can give the answer away; a and e look unlike c; and triples run backwards as often as forwards,
so that the direction of time does not help (section 3.1 of the paper).

Deviations. The authors weight frames by the magnitude of Farneback's optical flow, which is here the difference between
frames. Their distances of 15 and 60 frames are of videos; in a clip that is shorter than the window they shrink with
it. "Unlike" is more different than neighbouring frames are on average: the paper gives no number. All three triples of
a clip are judged at once, with five frames to encode rather than nine, and the paper's share of positives is their
weight in the loss. Frames are squeezed whole into the encoder's square, as in the authors' code. The encoder's own
pooled feature comes before fc6 and fc7, and AlexNet's dropout is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.heads import hidden_layers
from sslzoo.nn.siamese import encode_views
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling, clip_resized_crop, distinct_frames, motion, weighted_choice
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import image_sizes
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import assemble

FRAMES = 5
TRIPLES = ((1, 2, 3), (1, 0, 3), (1, 4, 3))
"""Of the frames a to e, or e to a: the first is in order."""
SMALL_SIDE = 16
"""Height and width of the frames that are compared, to tell whether they look alike."""
UNLIKELY = 1e-6
"""Weight of what is taken only where there is nothing better."""


@dataclass(frozen=True)
class ShuffleAndLearnConfig:
    window: int = 120
    """Frames of video that a to e are taken from."""
    stride: int = 4
    """Of these frames, every how many are candidates."""
    tau_max: int = 60
    """Most frames from b to d."""
    tau_min: int = 15
    """Fewest frames from a to b, and from d to e."""
    positives: float = 0.25
    """Share of triples in order, as weight in the loss."""
    embedding_dim: int = 4096
    """Width of the two layers that each frame's feature goes through."""
    hidden_dim: int = 0
    """Width of a layer that compares the three; 0 has none, as in the paper: what each frame says is just added."""


class FiveFrames(Views):
    """The frames a to e, in this order or all in reverse."""

    def __init__(self, config: ShuffleAndLearnConfig, spec: InputSpec) -> None:
        if not 0 < config.positives < 1:
            raise UsageError(f"positives is the share of triples in order, between 0 and 1, not {config.positives}")
        if min(config.stride, config.tau_min) < 1 or config.tau_max < 2 or config.window < 4 * config.stride:
            raise UsageError(f"five frames need a window of four strides or more, and distances above 0, not {config}")
        self.config, self.spec = config, spec
        self.sampling = ClipSampling(config.window // config.stride + 1, config.stride, short_side=spec.size[1])

    def crop(self, samples: list[Sample]) -> Batch:
        draw, clips = draw_for(samples), [sample["clip"] for sample in samples]
        index = self.choose(clips, draw)
        taken = [clip[frames] for clip, frames in zip(clips, index, strict=True)]
        boxes = F.pad(image_sizes(clips), (2, 0))
        unmirrored = torch.zeros(len(clips), dtype=torch.bool)
        return {"clip": clip_resized_crop(taken, boxes, unmirrored, self.spec.size[1:])}

    def choose(self, clips: list[Tensor], draw: Draw) -> Tensor:
        """(B, 5) int64: the frames to show of each clip (T, C, H, W), all of one length of at least 5."""
        moves, unlike = torch.stack([motion(clip) for clip in clips]), torch.stack([unlikeness(clip) for clip in clips])
        frame = torch.arange(moves.shape[1] + 1)
        length = torch.tensor([[distinct_frames(clip, FRAMES)] for clip in clips])
        reach = self._shortened(self.config.tau_max, length).clamp(min=2)
        gap = self._shortened(self.config.tau_min, length).clamp(min=1)
        gap = gap.minimum((length - 3) // 2)  # so that there is room for a, b, c, d and e

        first, last = torch.triu_indices(len(frame), len(frame), 2)
        fits = (last - first <= reach) & (first >= gap) & (last + gap < length)
        total = F.pad(moves.cumsum(1), (1, 0))
        liveliness = (total[:, last] - total[:, first]) / (last - first)
        pair = weighted_choice(fits * (liveliness + UNLIKELY), draw, "b and d")
        b, d = first[pair, None], last[pair, None]

        c = weighted_choice(((frame > b) & (frame < d)).float(), draw, "c")[:, None]
        typical = unlike.diagonal(1, 1, 2).sum(1, keepdim=True) / (length - 1)
        fair = torch.where(unlike.take_along_dim(c[..., None], 1)[:, 0] > typical, 1.0, UNLIKELY)
        a = weighted_choice((frame <= b - gap) * fair, draw, "a")[:, None]
        e = weighted_choice(((frame >= d + gap) & (frame < length)) * fair, draw, "e")[:, None]
        forwards = torch.cat([a, b, c, d, e], dim=1)
        return torch.where(draw.bernoulli("backwards", 0.5)[:, None], forwards.flip(1), forwards)

    def _shortened(self, frames: int, length: Tensor) -> Tensor:
        """(B, 1): a number of frames of video as candidates, of which there are ``length``."""
        return (frames * (length - 1) / self.config.window).round().long()

    def augment(self, batch: Batch) -> Batch:
        frames = to_float(batch.pop("clip"))
        batch["views"] = list(normalize(frames, self.spec.mean, self.spec.std, inplace=True).unbind(1))
        return batch


def unlikeness(clip: Tensor) -> Tensor:
    """(T, T) float32: the root of the sum of squared differences between the frames of a clip, averaged down."""
    small = F.adaptive_avg_pool2d(clip.float(), SMALL_SIDE).flatten(1)
    return torch.cdist(small, small)


class ShuffleAndLearn(PretextMethod):
    info = MethodInfo(
        name="shuffle_and_learn",
        category="context",
        family="order-verification",
        modalities=("clip",),
        paper=Paper(
            authors="Misra, Zitnick & Hebert",
            title="Shuffle and Learn: Unsupervised Learning using Temporal Order Verification",
            venue="ECCV",
            year=2016,
            url="https://arxiv.org/abs/1603.08561",
        ),
        summary="Tell whether three frames of a video are in order.",
    )
    Config = ShuffleAndLearnConfig
    # The authors' solver: 100 thousand steps of 128 triples of the 9,537 training videos of UCF101's first split, the
    # rate divided by ten after 80 thousand.
    defaults = PretrainConfig(
        dataset="world-actions",
        encoder="resnet50",
        epochs=1342,
        batch_size=128,
        optimizer="momentum",
        lr=0.001,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        milestones=(0.8,),
    )
    recipes = {
        "small": {**SMALL, "epochs": 60, "batch_size": 32, "positives": 0.5, "embedding_dim": 256, "hidden_dim": 256}
    }

    @staticmethod
    def views(config: ShuffleAndLearnConfig, spec: InputSpec) -> Views:
        return FiveFrames(config, spec)

    def __init__(self, encoder: nn.Module, config: ShuffleAndLearnConfig) -> None:
        super().__init__(encoder, config)
        width = config.embedding_dim
        self.embed = hidden_layers(self.feature_dim, width, width)
        compare = [nn.Linear(3 * width, config.hidden_dim), nn.ReLU()] if config.hidden_dim else []
        self.head = nn.Sequential(*compare, nn.Linear(config.hidden_dim or 3 * width, 1))

    def logits(self, batch: Batch) -> Tensor:
        """(B, 3): of each triple, in the order of ``TRIPLES``, that its frames are in order."""
        features = encode_views(self.encoder, batch["views"])
        known = self.embed(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        return self.head(known[:, TRIPLES].flatten(2))[..., 0].float()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``accuracy`` is the mean of that on right and that on wrong triples: 0.5 by chance."""
        logits = self.logits(batch)
        right, wrong = F.softplus(-logits[:, 0]).mean(), F.softplus(logits[:, 1:]).mean()
        accuracy = (logits[:, 0] > 0).float().mean() / 2 + (logits[:, 1:] <= 0).float().mean() / 2
        return {"loss": self.config.positives * right + (1 - self.config.positives) * wrong, "accuracy": accuracy}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """All five frames, and each triple in a frame that is green if it was judged to be in order, else red."""
        spec = spec_of(self.encoder).input
        shown = torch.stack([denormalize(view, spec.mean, spec.std) for view in batch["views"]], dim=1)
        judged = self.logits(batch) > 0
        pictures = {"five frames": assemble(shown, columns=FRAMES)}
        titles = ("in order: green if told so", "too early: red if told so", "too late: red if told so")
        for title, triple, in_order in zip(titles, TRIPLES, judged.unbind(1), strict=True):
            pictures[title] = framed(assemble(shown[:, triple], columns=3), in_order)
        return pictures


def framed(pictures: Tensor, good: Tensor) -> Tensor:
    """Pictures (B, C, H, W) within lines of 3 pixels, green where ``good`` (B,), else red; of 3 channels in RGB."""
    color = torch.where(good[:, None], pictures.new_tensor([0.0, 0.7, 0.0]), pictures.new_tensor([0.8, 0.0, 0.0]))
    whole = color[:, :, None, None].expand(-1, -1, pictures.shape[2] + 6, pictures.shape[3] + 6).clone()
    whole[:, :, 3:-3, 3:-3] = pictures[:, :3]
    return whole
