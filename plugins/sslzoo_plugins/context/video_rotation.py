"""Video rotation (3DRotNet): which way up is this clip?

Jing, Yang, Liu & Tian, "Self-Supervised Spatiotemporal Feature Learning via Video Rotation Prediction", 2018,
https://arxiv.org/abs/1811.11387, with the sampling of the authors' code: 16 frames, every other one, tilted by up to 10
degrees, cut to 112 pixels at random, and perhaps mirrored. All frames of a clip are turned together by 0, 90, 180 and
270 degrees, and all four turns are in one batch. A turn moves pixels without interpolating, and comes after all that
does, so that no resampling artefact gives the answer away.

Deviations. The size that clips are cut from is not in the code: here it is a square of 136 pixels, as large as the
video's shorter side. What a tilt brings in from beyond the square is mirrored from inside, where theirs is black. The
paper's other input, differences between frames, is left out: encoders take the frames themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling, clip_resized_crop
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import image_sizes
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import random_squares

TURNS = 4
MARGIN = 136 / 112
"""Side of the square that a clip is cut from, in sides of the clip."""


@dataclass(frozen=True)
class VideoRotationConfig:
    stride: int = 2
    """Frames of video from one frame of the clip to the next."""
    tilt: float = 10.0
    """Most degrees that a clip is tilted by, either way, before it is turned."""


class FourTurns(Views):
    """One random part of a video, perhaps mirrored, turned by 0, 90, 180 and 270 degrees."""

    def __init__(self, config: VideoRotationConfig, spec: InputSpec) -> None:
        _check(spec)
        self.config, self.spec = config, spec
        self.extent = round(spec.size[1] * MARGIN)
        self.sampling = ClipSampling(spec.frames, config.stride, short_side=self.extent)

    def crop(self, samples: list[Sample]) -> Batch:
        draw, clips = draw_for(samples), [sample["clip"] for sample in samples]
        boxes = random_squares(image_sizes(clips), draw.at("crop"), (1.0, 1.0))
        mirrored = draw.bernoulli("mirror", 0.5)
        return {"clip": clip_resized_crop(clips, boxes, mirrored, (self.extent, self.extent))}

    def augment(self, batch: Batch) -> Batch:
        draw, size = Draw(batch["key"]), self.spec.size[1]
        angle = draw.uniform("tilt", -1.0, 1.0) * math.radians(self.config.tilt)
        away = draw.uniform("place", -1.0, 1.0, (2,)) * (self.extent - size) / 2
        frames = tilted(to_float(batch.pop("clip")), angle, away, size)
        clip = normalize(frames, self.spec.mean, self.spec.std, inplace=True).transpose(1, 2)
        batch["views"] = [torch.rot90(clip, turns, dims=(-2, -1)) for turns in range(TURNS)]
        return batch


def tilted(clips: Tensor, angle: Tensor, away: Tensor, size: int) -> Tensor:
    """The middles (B, T, C, size, size) of square clips (B, T, C, S, S), moved and turned.

    Each is ``away`` (B, 2) pixels to the right and below the middle, and its content is turned clockwise by ``angle``
    (B,) in radians.
    """
    extent = clips.shape[-1]
    cosine, sine = angle.cos() * size / extent, angle.sin() * size / extent
    right, down = (2 * away / extent).unbind(1)
    where = torch.stack([cosine, sine, right, -sine, cosine, down], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(where, [len(clips), 1, size, size], align_corners=False)
    moved = F.grid_sample(clips.flatten(1, 2), grid, padding_mode="reflection", align_corners=False)
    return moved.unflatten(1, clips.shape[1:3])


def _check(spec: InputSpec) -> None:
    """Complain of an encoder that takes pictures."""
    if not spec.frames:
        raise UsageError("video_rotation turns whole clips: choose an encoder that takes them, such as r3d_18")


class VideoRotation(PretextMethod):
    info = MethodInfo(
        name="video_rotation",
        category="context",
        family="spatio-temporal",
        modalities=("clip",),
        paper=Paper(
            authors="Jing, Yang, Liu & Tian",
            title="Self-Supervised Spatiotemporal Feature Learning via Video Rotation Prediction",
            venue="arXiv",
            year=2018,
            url="https://arxiv.org/abs/1811.11387",
        ),
        summary="Tell by which of four right angles a clip was turned.",
    )
    Config = VideoRotationConfig
    # The authors' code on Kinetics: batches of 32 clips, the rate divided by ten every 24 thousand steps. It does not
    # say when to stop; the last checkpoint it names is of 116 thousand.
    defaults = PretrainConfig(
        dataset="world-actions",
        encoder="r3d_18",
        image_size=112,
        frames=16,
        epochs=16,
        batch_size=32,
        optimizer="momentum",
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-3,
        schedule="step",
        milestones=(0.2, 0.4, 0.6, 0.8),
    )
    recipes = {"small": {**SMALL, "batch_size": 32, "encoder": "r3d_18", "stride": 1}}

    @staticmethod
    def views(config: VideoRotationConfig, spec: InputSpec) -> Views:
        return FourTurns(config, spec)

    def __init__(self, encoder: nn.Module, config: VideoRotationConfig) -> None:
        super().__init__(encoder, config)
        _check(spec_of(encoder).input)
        self.head = nn.Linear(self.feature_dim, TURNS)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        views = batch["views"]
        logits = self.head(self.encoder(torch.cat(views)))
        turns = torch.arange(TURNS, device=logits.device).repeat_interleave(len(views[0]))
        accuracy = (logits.argmax(1) == turns).float().mean()
        return {"loss": F.cross_entropy(logits, turns), "accuracy": accuracy}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """The middle frames of clips upright, at one of their turns, and turned back by what was predicted."""
        spec = spec_of(self.encoder).input
        clips = torch.stack([batch["views"][i % TURNS][i] for i in range(len(batch["views"][0]))])
        predicted = self.head(self.encoder(clips)).argmax(1).tolist()
        upright, shown = (views[:, :, views.shape[2] // 2] for views in (batch["views"][0], clips))
        undone = [torch.rot90(frame, -turns, dims=(-2, -1)) for frame, turns in zip(shown, predicted, strict=True)]
        pictures = {
            "upright": upright,
            "as shown to the encoder": shown,
            "turned back as predicted": torch.stack(undone),
        }
        return {title: denormalize(frames, spec.mean, spec.std) for title, frames in pictures.items()}
