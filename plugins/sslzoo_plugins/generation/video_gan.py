"""VideoGAN: is this a video, or did the generator make it?

Vondrick, Pirsiavash & Torralba, "Generating Videos with Scene Dynamics", NeurIPS 2016, https://arxiv.org/abs/1609.02612.
The trunk of the discriminator is the encoder, whose features the paper transfers to action recognition. The generator
has two streams: one, of convolutions over space and time, makes a foreground f and a mask m of where it is in front,
the other, of convolutions over space, a background b that does not move; the clip is m f + (1 - m) b. So that the
background is used, the mean of the mask costs a tenth (the L1 norm of the paper is a mean in the authors' code). The
other losses are those of DCGAN, and the generator's does not saturate, as in that code.

Deviations. The discriminator is any encoder of clips, with its own initial weights and one linear layer upon its pooled
feature, not the paper's five convolutions. Real and generated clips go through it in one batch and both players step at
once, as in ``dcgan`` and for the same reasons. Layers double time as often as the number of frames allows (the paper's
32 frames, in all of them), the last ones if not all do. Clips are not stabilised: the paper removes the motion of the
camera beforehand, and from data whose camera moves the generator learns to use the background less. They are cropped at
random and mirrored, for data sets smaller than the paper's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of, takes_clips
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.adversarial import frozen_call, judged
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling, clip_random_resized_crop
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import film_strip

START = (2, 4, 4)
"""Frames, height and width, at least, of the map that transposed convolutions enlarge."""
DEEPEST = 512
"""Channels of that map, at most."""
DEVIATION, NORM_DEVIATION = 0.01, 0.02
"""Of the first weights of convolutions, and of those of batch norms around 1."""


@dataclass(frozen=True)
class VideoGANConfig:
    latent_dim: int = 100
    """Length of what a clip is generated from, of a standard normal distribution."""
    generator_width: int = 64
    """Channels before the last layer of either stream; each layer before it has twice as many, up to 512."""
    mask_penalty: float = 0.1
    """What the mean of the mask costs."""
    stride: int = 1
    """Frames of video from one of the clip to the next."""
    min_scale: float = 0.5
    """Smallest crop, as a share of the frame's area."""


class ClipsAndLatents(Views):
    """A random crop of a clip, perhaps mirrored and normalised, and a ``latent`` (B, latent_dim)."""

    def __init__(self, config: VideoGANConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec
        self.sampling = ClipSampling(max(1, spec.frames), config.stride)

    def crop(self, samples: list[Sample]) -> Batch:
        clips, scale = [sample["clip"] for sample in samples], (self.config.min_scale, 1.0)
        return {"clip": clip_random_resized_crop(clips, self.spec.size[1:], draw_for(samples).at("crop"), scale)}

    def augment(self, batch: Batch) -> Batch:
        clip = normalize(to_float(batch.pop("clip")), self.spec.mean, self.spec.std, inplace=True)
        batch["views"] = [clip.transpose(1, 2)]
        batch["latent"] = Draw(batch["key"]).normal("latent", (self.config.latent_dim,))
        return batch


class Stream(nn.Sequential):
    """Latents (B, latent_dim) to maps (B, channels, T, H, W), enlarged from 2 x 4 x 4 by transposed convolutions.

    One that ``moves`` does it over time too, as often as there are frames for; the other makes one frame. A size that
    doubling misses is cut from the next larger one.
    """

    def __init__(self, latent_dim: int, spec: InputSpec, width: int, channels: int, moves: bool) -> None:
        frames, side = spec.frames if moves else 1, spec.size[1:]
        doublings = max(1, int(math.log2(min(side) / START[1])))
        in_time = min(doublings, max(0, int(math.log2(frames / START[0])))) if moves else 0
        start = (math.ceil(frames / 2**in_time), *(math.ceil(length / 2**doublings) for length in side))
        widths = [min(width * 2**step, DEEPEST) for step in reversed(range(doublings))]
        layers: list[nn.Module] = [
            nn.Unflatten(1, (latent_dim, 1, 1, 1)),
            nn.ConvTranspose3d(latent_dim, widths[0], start, bias=False),
        ]
        for step, (wide, narrow) in enumerate(pairwise([*widths, channels])):
            doubles = step >= doublings - in_time
            layers += [nn.BatchNorm3d(wide), nn.ReLU(inplace=True), _double(wide, narrow, moves, doubles)]
        super().__init__(*layers)
        self.size = (frames, *side)
        for layer in self:
            if isinstance(layer, nn.ConvTranspose3d):
                nn.init.normal_(layer.weight, std=DEVIATION)
            elif isinstance(layer, nn.BatchNorm3d):
                nn.init.normal_(layer.weight, 1, NORM_DEVIATION)

    def forward(self, latent: Tensor) -> Tensor:
        made = super().forward(latent)
        for dim, length in enumerate(self.size, start=2):
            made = made.narrow(dim, (made.shape[dim] - length) // 2, length)
        return made


def _double(wide: int, narrow: int, moves: bool, doubles: bool) -> nn.Module:
    """Twice the height and width; of what ``moves``, time too if it ``doubles``."""
    kernel, stride, padding = (4, 2, 1) if doubles else (3, 1, 1) if moves else (1, 1, 0)
    return nn.ConvTranspose3d(wide, narrow, (kernel, 4, 4), (stride, 2, 2), (padding, 1, 1))


class SceneGenerator(nn.Module):
    """Latents to the two streams and the mask that puts them together."""

    def __init__(self, latent_dim: int, spec: InputSpec, width: int) -> None:
        super().__init__()
        channels = spec.size[0]
        self.mean, self.std = spec.mean, spec.std
        self.moving = Stream(latent_dim, spec, width, channels + 1, moves=True)
        self.still = Stream(latent_dim, spec, width, channels, moves=False)

    def streams(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Foreground (B, C, T, H, W) and background (B, C, 1, H, W) in -1 to 1, and mask (B, 1, T, H, W) in 0 to 1."""
        moving = self.moving(latent)
        return moving[:, :-1].tanh(), self.still(latent).tanh(), moving[:, -1:].sigmoid()

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Clips (B, C, T, H, W) as an encoder takes them, normalised, and the mask."""
        foreground, background, mask = self.streams(latent)
        clips = mask * foreground + (1 - mask) * background
        return normalize((clips.transpose(1, 2) + 1) / 2, self.mean, self.std).transpose(1, 2), mask


class VideoGAN(PretextMethod):
    info = MethodInfo(
        name="video_gan",
        category="generation",
        family="video-generation",
        modalities=("clip",),
        paper=Paper(
            authors="Vondrick, Pirsiavash & Torralba",
            title="Generating Videos with Scene Dynamics",
            venue="NeurIPS",
            year=2016,
            url="https://arxiv.org/abs/1609.02612",
        ),
        summary="Tell clips from those that a generator makes of a background and what moves before it.",
    )
    Config = VideoGANConfig
    # The authors' code: Adam at 2e-4 with a momentum of 0.5, batches of 64, 100 epochs.
    defaults = PretrainConfig(
        dataset="world-actions",
        encoder="r3d_18",
        image_size=64,
        frames=32,
        epochs=100,
        batch_size=64,
        optimizer="adam",
        lr=2e-4,
        momentum=0.5,
        weight_decay=0.0,
        schedule="constant",
    )
    recipes = {
        "small": {
            **SMALL,
            "encoder": "r3d_18",
            "frames": 16,
            "batch_size": 16,
            "optimizer": "adam",
            "lr": 2e-4,
            "momentum": 0.5,
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup_epochs": 0.0,
            "generator_width": 16,
        }
    }

    @staticmethod
    def views(config: VideoGANConfig, spec: InputSpec) -> Views:
        return ClipsAndLatents(config, spec)

    def __init__(self, encoder: nn.Module, config: VideoGANConfig) -> None:
        super().__init__(encoder, config)
        if not takes_clips(encoder):
            raise UsageError("video_gan generates clips: choose an encoder that takes them, such as r3d_18")
        self.head = nn.Linear(self.feature_dim, 1)
        self.generator = SceneGenerator(config.latent_dim, spec_of(encoder).input, config.generator_width)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        real = batch["views"][0]
        fake, mask = self.generator(batch["latent"])
        found, unmasked = self.head(self.encoder(torch.cat([real, fake.detach()]))).chunk(2)
        _, deceiving = frozen_call(self.head, frozen_call(self.encoder, torch.cat([real, fake]))).chunk(2)
        discriminator_loss = judged(found, real=True) + judged(unmasked, real=False)
        generator_loss = judged(deceiving, real=True)
        return {
            "loss": discriminator_loss + generator_loss + self.config.mask_penalty * mask.mean(),
            "discriminator_loss": discriminator_loss,
            "generator_loss": generator_loss,
            "mask": mask.mean(),
        }

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Some frames of clips, of generated ones and of what these are made of."""
        spec, latent = spec_of(self.encoder).input, batch["latent"]
        foreground, background, mask = self.generator.streams(latent)
        made = self.generator(latent)[0]
        real, made = (denormalize(clips.transpose(1, 2), spec.mean, spec.std) for clips in (batch["views"][0], made))
        rows = {
            "clips": real,
            "generated": made,
            "of these, foreground": (foreground.transpose(1, 2) + 1) / 2,
            "mask": mask.transpose(1, 2).expand(-1, -1, 3, -1, -1),
            "background": (background.transpose(1, 2) + 1) / 2,
        }
        return {title: film_strip(frames.float()) for title, frames in rows.items()}
