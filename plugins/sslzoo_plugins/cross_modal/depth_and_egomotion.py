"""Depth and ego-motion: how far is each pixel, and how did the camera move, that these frames show one scene?

Zhou, Brown, Snavely & Lowe, "Unsupervised Learning of Depth and Ego-Motion from Video", CVPR 2017,
https://arxiv.org/abs/1704.07813. One network tells the depth of a single frame, another how the camera moved between
two. A frame is drawn from the one before and the one after it by both, and the better that fits, the better both are.

What is compared, and where, is that of Godard, Mac Aodha, Firman & Brostow, "Digging Into Self-Supervised Monocular
Depth Estimation" (Monodepth2), ICCV 2019, https://arxiv.org/abs/1806.01260, in place of the explainability mask:

- the error is .85 (1 - SSIM) / 2 + .15 L1, and in each pixel the smaller of both frames' counts, as what is covered or
  outside in one is often seen in the other (equation 4);
- no pixel counts that the frames fit better as they are: what moves along with the camera, and all of a still camera
  (equation 5). As in the authors' code such pixels keep that error, which is constant, so that the loss is comparable;
- depth is told at four sizes, and each is enlarged to the full one before it is used;
- where the picture is smooth, so is the disparity over its mean (equation 3).

The pose network is Zhou's, with the batch norms of the paper, of two frames in the order of time as in Monodepth2
(Zhou: one frame and all its neighbours together); the way back is the inverse. Colours are changed for the networks and
not for what is compared. Of the renderer's depth and camera nothing is used but intrinsics; where the data does not
tell these, ``focal`` guesses. Depth is known up to a factor only, so its scores make the medians equal.

Deviations. The encoder begins from scratch, as Zhou's (Monodepth2: with ImageNet's weights, and so its pose network).
Frames are squares of the encoder's size, wide ones squeezed, which the intrinsics follow. The decoder is our own: it
adds projections of the encoder's maps and its feature, with batch norms and ReLU, where Monodepth2 concatenates maps,
with ELU, and pads with reflections. Equal errors do not count, where the authors break ties at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of, takes_clips
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.decoders import Decoder, encode_maps, map_shapes
from sslzoo.nn.depth import depth_colors, depth_scores, median_scaled
from sslzoo.nn.view_synthesis import (
    backwards,
    edge_aware_smoothness,
    photometric_error,
    rigid_motion,
    synthesise,
)
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling
from sslzoo.views.color import color_jitter, normalize, to_float
from sslzoo.views.crop import image_sizes
from sslzoo.views.dense import dense_resized_crop
from sslzoo.views.keyed import Draw

FRAMES = 3
BEFORE, NOW, AFTER = range(FRAMES)
ZOOM = 1.15
"""Most that a frame is enlarged in height and in width before it is cut (Zhou's code)."""
MOTION_SCALE = 0.01
"""Of what the pose network gives, as in the authors' code of both: its 1 is a hundredth of a radian."""


@dataclass(frozen=True)
class DepthAndEgomotionConfig:
    stride: int = 1
    """Frames of video from one of the three to the next."""
    focal: float = 1.2
    """Focal length where the data does not tell it, as a share of the frame's longer side; COLMAP's guess."""
    min_depth: float = 0.1
    """Least depth that is told, in a unit of its own."""
    max_depth: float = 100.0
    """Largest depth that is told."""
    scales: int = 4
    """Sizes at which depth is told: the frame's, its half, …"""
    ssim: float = 0.85
    """Share of SSIM in the photometric error; the rest is L1."""
    smoothness: float = 1e-3
    """Weight of the smoothness of disparity; half as much at each coarser size."""
    decoder_dim: int = 256
    """Channels of the decoder where it begins; each stage has half as many, but at least 16."""


class ThreeFrames(Views):
    """``frames`` (B, 3, C, H, W) in [0, 1], ``intrinsics`` (B, 3, 3), and as ``views`` the frames with other colours.

    ``depth`` (B, 1, H, W) of the middle one, for scores and pictures only, where all samples have it.
    """

    def __init__(self, config: DepthAndEgomotionConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec
        side = round(ZOOM * min(spec.size[1:]))
        self.sampling = ClipSampling(FRAMES, config.stride, short_side=side, fields=("intrinsics", "depth"))

    def crop(self, samples: list[Sample]) -> Batch:
        draw, sizes = draw_for(samples), image_sizes([sample["clip"] for sample in samples])
        cut = (sizes / draw.uniform("zoom", 1, ZOOM, (2,))).round().long()
        corner = (draw.uniform("corner", shape=(2,)) * (sizes - cut + 1)).long()
        known = [sample if "intrinsics" in sample else self._guessed(sample) for sample in samples]
        fields = ["clip", "intrinsics"] + ["depth"] * all("depth" in sample for sample in samples)
        mirrored = draw.bernoulli("mirror", 0.5)
        batch = dense_resized_crop(known, fields, torch.cat([corner, cut], dim=1), mirrored, self.spec.size[1:])
        if "depth" in batch:
            batch["depth"] = batch["depth"][:, NOW]
        return batch

    def augment(self, batch: Batch) -> Batch:
        frames = batch["frames"] = to_float(batch.pop("clip"))
        stacked = frames.transpose(1, 2).flatten(2, 3)  # the three above each other: they are changed alike
        changed = color_jitter(stacked, Draw(batch["key"]), 0.2, 0.2, 0.2, 0.1, p=0.5).unflatten(2, (FRAMES, -1))
        batch["views"] = list(normalize(changed.transpose(1, 2), self.spec.mean, self.spec.std).unbind(1))
        return batch

    def _guessed(self, sample: Sample) -> Sample:
        height, width = sample["clip"].shape[2:]
        focal = self.config.focal * max(height, width)
        lens = [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]
        return {**sample, "intrinsics": torch.tensor(lens)}


class PoseNetwork(nn.Sequential):
    """Two frames (B, 2 C, H, W), channel by channel, to the turn and the way between them, (B, 6) (Zhou, figure 4)."""

    def __init__(self, channels: int) -> None:
        layers: list[nn.Module] = []
        for width, kernel in zip((16, 32, 64, 128, 256, 256, 256), (7, 5, 3, 3, 3, 3, 3), strict=True):
            convolution = nn.Conv2d(channels, width, kernel, stride=2, padding=kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        super().__init__(*layers, nn.Conv2d(channels, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        for module in self:
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)


class DepthAndEgomotion(PretextMethod):
    info = MethodInfo(
        name="depth_and_egomotion",
        category="cross_modal",
        family="ego-motion",
        modalities=("clip",),
        paper=Paper(
            authors="Zhou, Brown, Snavely & Lowe",
            title="Unsupervised Learning of Depth and Ego-Motion from Video",
            venue="CVPR",
            year=2017,
            url="https://arxiv.org/abs/1704.07813",
        ),
        summary="Draw a frame from its neighbours, by its depth and the camera's motion.",
    )
    Config = DepthAndEgomotionConfig
    # Monodepth2's solver: 20 epochs of KITTI's 39,810 triplets in batches of 12, of which world has one a clip and
    # epoch; 352 x 352 are as many pixels as 640 x 192.
    defaults = PretrainConfig(
        dataset="world",
        encoder="resnet18",
        image_size=352,
        epochs=1543,
        batch_size=12,
        optimizer="adam",
        lr=1e-4,
        momentum=0.9,
        weight_decay=0.0,
        schedule="step",
        milestones=(0.75,),
    )
    recipes = {"small": {**SMALL, "epochs": 60, "batch_size": 8, "lr": 5e-4, "stride": 4}}

    @staticmethod
    def views(config: DepthAndEgomotionConfig, spec: InputSpec) -> Views:
        return ThreeFrames(config, spec)

    def __init__(self, encoder: nn.Module, config: DepthAndEgomotionConfig) -> None:
        super().__init__(encoder, config)
        if takes_clips(encoder):
            raise UsageError(
                "depth_and_egomotion tells the depth of single frames: choose an encoder of pictures, such as resnet18"
            )
        if not 0 < config.min_depth < config.max_depth or config.scales < 1:
            raise UsageError("min_depth must be above 0 and below max_depth, and scales at least 1")
        channels, height, width = spec_of(encoder).input.size
        self.maps = map_shapes(encoder)
        self.decoder = Decoder(self.feature_dim, self.maps, (height, width), 1, config.decoder_dim)
        coarser = self.decoder.widths[-config.scales : -1]
        self.coarser = nn.ModuleList(nn.Conv2d(wide, 1, 3, padding=1) for wide in coarser)
        self.pose = PoseNetwork(2 * channels)

    def disparities(self, image: Tensor) -> list[Tensor]:
        """Inverse depth (B, 1, h, w) at each size, the finest first."""
        decoded = self.decoder.decoded(*encode_maps(self.encoder, image, self.maps))
        told = [head(found) for head, found in zip(self.coarser, decoded[-1 - len(self.coarser) : -1], strict=True)]
        told.append(self.decoder.last(decoded[-1]))
        least, most = 1 / self.config.max_depth, 1 / self.config.min_depth
        return [least + (most - least) * each.float().sigmoid() for each in reversed(told)]

    def poses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, 4, 4) each: from the middle frame's camera to that of the frame before, and of the one after."""
        before, now, after = batch["views"]
        pairs = torch.cat([torch.cat([before, now], dim=1), torch.cat([now, after], dim=1)])
        rotation, translation = (MOTION_SCALE * self.pose(pairs).float()).chunk(2, dim=1)
        first, second = rigid_motion(rotation, translation).chunk(2)
        return backwards(first), second

    def drawn(self, batch: Batch, depth: Tensor, poses: tuple[Tensor, Tensor]) -> list[Tensor]:
        """The middle frame, drawn from the one before and from the one after."""
        frames = batch["frames"]
        sources = (frames[:, BEFORE], frames[:, AFTER])
        return [
            synthesise(source, depth, pose, batch["intrinsics"]) for source, pose in zip(sources, poses, strict=True)
        ]

    def errors(self, found: list[Tensor], true: Tensor) -> Tensor:
        """(B, 1, H, W): of each pixel, in whichever picture it is smaller."""
        return torch.stack([photometric_error(each, true, self.config.ssim) for each in found]).amin(dim=0)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        frames, poses = batch["frames"], self.poses(batch)
        now = frames[:, NOW]
        unmoved = self.errors([frames[:, BEFORE], frames[:, AFTER]], now)
        disparities = self.disparities(batch["views"][NOW])
        loss, depths, shares, errors = now.new_zeros(()), [], [], []
        for scale, disparity in enumerate(disparities):
            depths.append(1 / full_size(disparity, now))
            error = self.errors(self.drawn(batch, depths[-1], poses), now)
            small = F.adaptive_avg_pool2d(now, (disparity.shape[2], disparity.shape[3]))
            smooth = edge_aware_smoothness(disparity, small).mean()
            loss = loss + torch.minimum(error, unmoved).mean() + self.config.smoothness / 2**scale * smooth
            shares.append((error < unmoved).float().mean())
            errors.append(error.mean())
        scores = {"loss": loss / len(disparities), "photometric": errors[0], "counted": shares[0]}
        if "depth" in batch:
            told = depth_scores(median_scaled(depths[0].detach(), batch["depth"]), batch["depth"])
            scores |= {name: told[name].nanmean() for name in ("abs_rel", "delta_1")}
        return {name: score.detach() if name != "loss" else score for name, score in scores.items()}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """The frame, its depth as told and as it is, what was drawn of it, and it where pixels count."""
        frames, poses = batch["frames"], self.poses(batch)
        now = frames[:, NOW]
        depth = 1 / self.disparities(batch["views"][NOW])[0]
        drawn = self.drawn(batch, depth, poses)
        error = [photometric_error(each, now, self.config.ssim) for each in drawn]
        better = torch.where(error[0] <= error[1], *drawn)
        counted = self.errors(drawn, now) < self.errors([frames[:, BEFORE], frames[:, AFTER]], now)
        pictures = {"frame": now, "depth as told": depth_colors(depth)}
        if "depth" in batch:
            pictures["depth as it is"] = depth_colors(batch["depth"])
        return pictures | {
            "drawn from the frames before and after": better,
            "pixels that count": torch.where(counted, now, 0.0),
        }


def full_size(disparity: Tensor, frame: Tensor) -> Tensor:
    """Enlarged bilinearly to the size of a frame (B, C, H, W)."""
    return F.interpolate(disparity, frame.shape[2:], mode="bilinear")
