"""Learning to see by moving: how did the camera move from one frame to the other?

Agrawal, Carreira & Malik, "Learning to See by Moving", ICCV 2015, https://arxiv.org/abs/1505.01596. One encoder sees
each of two frames that are at most seven apart, either of them the earlier; a small network on both maps tells how the
camera moved, in three numbers as for KITTI: across, ahead, and turned about its vertical axis. Each is a class, by 20
uniformly spaced limits. Network, limits and solver are those of the authors' code: limits lie up to ten times as far as
the camera goes (or turns) from one frame to the next, by root mean square, and both directions share theirs.

Deviations. The motion is that of the second camera as seen from the first, which two frames can tell, where the code
has the difference of positions in the world, and it is not moved to a mean of 0, for pairs go both ways in time. The
root mean square is that of the run's own clips so far. Twenty limits part 21 classes; the code has another that never
occurs. Beside the last maps the features that are published reach the layer that decides, so that they are trained too,
and maps are padded, for those of small pictures are small. The authors halve the rate twice; here it stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of, takes_clips
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.decoders import encode_maps, map_shapes
from sslzoo.nn.gather import gather
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import image_sizes
from sslzoo.views.dense import dense_resized_crop

AXES = ("across", "ahead", "turned")
"""Metres, metres, radians."""
LIMITS, REACH = 20, 10.0
"""Limits between the classes of each axis, and how many steps from frame to frame the last is away from none."""
CLASSES = LIMITS + 1
CROP = 227 / 256
"""Side of the crop, as a share of the frame's shorter side."""


@dataclass(frozen=True)
class LearningByMovingConfig:
    apart: int = 7
    """Frames from one of a pair to the other, at most."""
    stride: int = 1
    """Frames of video that count as one."""
    hidden_dim: int = 500
    """Width of the layer that decides."""
    dropout: float = 0.5
    """Share of that layer that is left out in training."""


class MovedCamera(Views):
    """Two frames as views, cut alike; the ``motion`` (B, 3) from the first to the second; and ``steps`` (B, T, 3), the
    motions from frame to frame of the window they are from."""

    def __init__(self, config: LearningByMovingConfig, spec: InputSpec) -> None:
        if config.apart < 1:
            raise UsageError(f"frames of a pair are at least 1 apart at most, not {config.apart}")
        self.config, self.spec = config, spec
        side = round(min(spec.size[1:]) / CROP)
        self.sampling = ClipSampling(config.apart + 1, config.stride, short_side=side, fields=("camera",))

    def crop(self, samples: list[Sample]) -> Batch:
        draw, length = draw_for(samples), self.config.apart + 1
        apart = draw.integers("apart", length)
        first = (draw.uniform("first") * (length - apart)).long()
        pair = torch.stack([first, first + apart], dim=1)
        pair = torch.where(draw.bernoulli("reverse", 0.5)[:, None], pair.flip(1), pair)

        sizes = image_sizes([sample["clip"] for sample in samples])
        side = (CROP * sizes.amin(dim=1, keepdim=True)).round().long().clamp(min=1)
        corner = (draw.uniform("corner", shape=(2,)) * (sizes - side + 1)).long()
        boxes, still = torch.cat([corner, side, side], dim=1), torch.zeros(len(samples), dtype=torch.bool)
        two = [
            {name: sample[name][frames] for name in ("clip", "camera") if name in sample}
            for sample, frames in zip(samples, pair, strict=True)
        ]
        cut = dense_resized_crop(two, ("clip", "camera"), boxes, still, self.spec.size[1:])
        poses = torch.stack([sample["camera"] for sample in samples])
        return {
            "frames": cut["clip"],
            "motion": motion_between(*cut["camera"].unbind(1)),
            "steps": motion_between(poses[:, :-1], poses[:, 1:]),
        }

    def augment(self, batch: Batch) -> Batch:
        frames = normalize(to_float(batch.pop("frames")), self.spec.mean, self.spec.std, inplace=True)
        batch["views"] = list(frames.unbind(1))
        return batch


def motion_between(first: Tensor, second: Tensor) -> Tensor:
    """(..., 3) of poses (..., 4, 4), camera to world: how far right and ahead of the first camera the second is, in
    metres, and by how much it is turned to the right, in radians."""
    seen = torch.linalg.solve(first.double(), second.double())
    turned = torch.atan2(seen[..., 0, 2], seen[..., 2, 2])
    return torch.stack([seen[..., 0, 3], seen[..., 2, 3], turned], dim=-1).float()


class StepLength(nn.Module):
    """How far the camera goes from one frame to the next in the clips of the run, by axis and root mean square."""

    total: Tensor
    """(4,): the sum of squares by axis, and of how many; it begins with next to nothing, of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.full((4,), 1e-9))

    @torch.no_grad()
    def add(self, steps: Tensor) -> None:
        """Count the steps (B, T, 3) of a batch, the same on all processes, which must call this together."""
        rows = steps.flatten(0, 1)
        mine = torch.cat([rows.square().sum(dim=0), rows.new_full((1,), len(rows))])
        self.total += gather(mine[None]).sum(dim=0)

    def classes(self, motion: Tensor) -> Tensor:
        """(B, 3) int64: by which of the limits each ``motion`` (B, 3) is parted from the others."""
        length = (self.total[:3] / self.total[3]).sqrt()
        length = torch.stack([length[:2].amax(), length[:2].amax(), length[2]]).clamp(min=1e-4)
        limits = torch.linspace(-REACH, REACH, LIMITS, device=motion.device)
        return torch.bucketize(motion / length, limits)


class LearningByMoving(PretextMethod):
    info = MethodInfo(
        name="learning_by_moving",
        category="cross_modal",
        family="ego-motion",
        modalities=("clip",),
        paper=Paper(
            authors="Agrawal, Carreira & Malik",
            title="Learning to See by Moving",
            venue="ICCV",
            year=2015,
            url="https://arxiv.org/abs/1505.01596",
        ),
        summary="Tell how the camera moved from one frame to the other.",
    )
    Config = LearningByMovingConfig
    # The authors' solver: 60 thousand steps of 128 pairs, as epochs of the 20,501 frames they are from.
    defaults = PretrainConfig(
        dataset="world",
        encoder="resnet50",
        image_size=224,
        epochs=375,
        batch_size=128,
        optimizer="momentum",
        lr=0.001,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="constant",
    )
    recipes = {"small": {**SMALL, "epochs": 60, "batch_size": 32, "stride": 2, "hidden_dim": 128, "dropout": 0.0}}

    @staticmethod
    def views(config: LearningByMovingConfig, spec: InputSpec) -> Views:
        return MovedCamera(config, spec)

    def __init__(self, encoder: nn.Module, config: LearningByMovingConfig) -> None:
        super().__init__(encoder, config)
        if takes_clips(encoder):
            raise UsageError("learning_by_moving sees single frames: choose an encoder of images, such as resnet18")
        self.maps = map_shapes(encoder)[:1]
        (last,) = self.maps
        height, width = (-(-side // 4) for side in last.size)
        self.compare = nn.Sequential(
            nn.Conv2d(2 * last.channels, 256, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 128, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.decide = nn.Sequential(
            nn.Linear(128 * height * width + 2 * self.feature_dim, config.hidden_dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden_dim, len(AXES) * CLASSES),
        )
        self.step = StepLength()

    def logits(self, batch: Batch) -> Tensor:
        """(B, 3, 21)."""
        feature, (found,) = encode_maps(self.encoder, torch.cat(batch["views"]), self.maps)
        compared = self.compare(torch.cat(found.chunk(2), dim=1))
        known = torch.cat([compared, *feature.chunk(2)], dim=1)
        return self.decide(known).unflatten(1, (len(AXES), CLASSES))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss is summed over the three axes. ``accuracy`` is their mean."""
        if self.training:
            self.step.add(batch["steps"])
        logits, target = self.logits(batch), self.step.classes(batch["motion"])
        right = (logits.argmax(dim=2) == target).float().mean(dim=0)
        loss = len(AXES) * F.cross_entropy(logits.flatten(0, 1), target.flatten())
        return {"loss": loss, "accuracy": right.mean(), **dict(zip(AXES, right, strict=True))}

    @torch.no_grad()
    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Both frames, and a row for each axis: its classes from left to right, the true one above as a red mark."""
        spec, (first, second) = spec_of(self.encoder).input, batch["views"]
        likely = self.logits(batch).float().softmax(dim=2)
        likely = likely / likely.amax(dim=2, keepdim=True)
        true = F.one_hot(self.step.classes(batch["motion"]), CLASSES).float()
        rows = torch.stack([true, torch.zeros_like(true), likely, torch.zeros_like(true)], dim=2).flatten(1, 2)
        red = torch.tensor([1.0, 0.2, 0.2], device=rows.device)[None, :, None, None]
        is_mark = (torch.arange(rows.shape[1], device=rows.device) % 4 == 0)[:, None]
        picture = torch.where(is_mark, rows[:, None] * red, rows[:, None].expand(-1, 3, -1, -1))
        return {
            "from": denormalize(first, spec.mean, spec.std),
            "to": denormalize(second, spec.mean, spec.std),
            "across, ahead, turned: true and predicted": F.interpolate(picture, first.shape[2:], mode="nearest"),
        }
