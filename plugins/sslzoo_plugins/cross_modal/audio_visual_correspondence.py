"""Audio-visual correspondence (L3-Net): does this sound belong to this picture?

Arandjelovic & Zisserman, "Look, Listen and Learn", ICCV 2017, https://arxiv.org/abs/1705.08168. One frame of a video
and a second of sound: of that moment, or of another video. Each has an encoder, and a layer of 128 units over both
features tells. Frames are cut at 224 of 256 pixels, mirrored half of the time, and changed in brightness and
saturation; a whole sound is made up to a tenth louder or softer.

Both encoders can be published: that of frames as every method's, that of sounds beside it.

Deviations. The paper's two networks of eight convolutions are any two timm encoders, so that both are plain timm ones
afterwards; their features are pooled as timm pools them. Sounds are log-mel spectrograms of 64 bands at 16 kHz instead
of log-spectrograms of 257 bands at 48 kHz. Every frame and every sound of a batch is in one pair that belongs together
and in one that does not, where the paper draws pairs of either kind: neither alone tells anything, and no encoder runs
twice. The strengths of the changes of colour are those of OpenL3's code, where brightness is added instead of scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, create_sound_encoder, feature_dim, sound_spec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.decoders import encode_maps, map_shapes
from sslzoo.nn.derangement import of_others
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling, padded
from sslzoo.views.color import color_jitter, denormalize, normalize, to_float
from sslzoo.views.crop import image_sizes, resized_crop
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import random_squares
from sslzoo.views.spectrograms import as_pictures, length_heard, spectrogram

RATE = 8
"""Frames per second that one is chosen from."""
MARGIN = 224 / 256
"""Side of the square that is cut, as a share of a frame's shorter side."""


@dataclass(frozen=True)
class AudioVisualCorrespondenceConfig:
    sound_encoder: str = "resnet18"
    """Timm encoder of the spectrograms."""
    seconds: float = 1.0
    """Length of a sound; the frame is anywhere in it."""
    brightness: float = 32 / 255
    """Largest change of a frame's brightness, as a share of it."""
    saturation: float = 0.5
    """Largest change of a frame's saturation, as a share of it."""
    loudness: float = 0.1
    """Largest change of a sound's amplitude, as a share of it."""
    hidden_dim: int = 128
    """Units of the layer over both features."""


class FrameAndSound(Views):
    """One view, a frame (B, C, H, W) of each clip, and the ``sound`` around it, log-mel (B, 1, F, T)."""

    def __init__(self, config: AudioVisualCorrespondenceConfig, spec: InputSpec) -> None:
        _check(spec)
        self.config, self.spec, self.hears = config, spec, sound_spec(config.seconds)
        frames = max(1, round(config.seconds * RATE))
        self.sampling = ClipSampling(frames, rate=RATE, short_side=round(spec.size[1] / MARGIN), fields=("sound",))

    def crop(self, samples: list[Sample]) -> Batch:
        draw = draw_for(samples)
        unit = draw.uniform("moment").tolist()
        frames = [sample["clip"][int(place * len(sample["clip"]))] for place, sample in zip(unit, samples, strict=True)]
        boxes = random_squares(image_sizes(frames), draw.at("crop"), (MARGIN, MARGIN))
        return {
            "image": resized_crop(frames, boxes, draw.bernoulli("mirror", 0.5), self.spec.size[1:]),
            "sound": torch.stack([padded(sample["sound"], length_heard(self.hears)) for sample in samples]),
        }

    def augment(self, batch: Batch) -> Batch:
        draw, config = Draw(batch["key"]), self.config
        colors = {"brightness": config.brightness, "saturation": config.saturation}
        image = color_jitter(to_float(batch.pop("image")), draw, **colors, inplace=True)
        batch["views"] = [normalize(image, self.spec.mean, self.spec.std, inplace=True)]
        gain = draw.uniform("loudness", 1 - config.loudness, 1 + config.loudness)[:, None]
        batch["sound"] = spectrogram(batch["sound"] * gain, self.hears)
        return batch


def _check(spec: InputSpec) -> None:
    """Complain of an encoder of clips."""
    if spec.frames:
        raise UsageError("audio_visual_correspondence looks at single frames: choose an encoder of images")


class AudioVisualCorrespondence(PretextMethod):
    info = MethodInfo(
        name="audio_visual_correspondence",
        category="cross_modal",
        family="visual-audio-correspondence",
        modalities=("clip", "audio"),
        paper=Paper(
            authors="Arandjelovic & Zisserman",
            title="Look, Listen and Learn",
            venue="ICCV",
            year=2017,
            url="https://arxiv.org/abs/1705.08168",
        ),
        summary="Tell whether a frame and a second of sound are of the same moment of a video.",
    )
    Config = AudioVisualCorrespondenceConfig
    # The paper's Adam at 1e-4 with a decay of 1e-5, in batches of 256; the number of epochs is ours.
    defaults = PretrainConfig(
        dataset="world",
        encoder="resnet50",
        epochs=100,
        batch_size=256,
        optimizer="adam",
        lr=1e-4,
        momentum=0.9,
        weight_decay=1e-5,
        schedule="constant",
    )
    recipes = {"small": {**SMALL, "epochs": 60, "batch_size": 32}}

    @staticmethod
    def views(config: AudioVisualCorrespondenceConfig, spec: InputSpec) -> Views:
        return FrameAndSound(config, spec)

    def __init__(self, encoder: nn.Module, config: AudioVisualCorrespondenceConfig) -> None:
        super().__init__(encoder, config)
        _check(spec_of(encoder).input)
        self.sound_encoder = create_sound_encoder(config.sound_encoder, config.seconds)
        both = self.feature_dim + feature_dim(self.sound_encoder)
        self.head = nn.Sequential(nn.Linear(both, config.hidden_dim), nn.ReLU(), nn.Linear(config.hidden_dim, 2))

    def trained_sound_encoder(self) -> nn.Module:
        return self.sound_encoder

    def logits(self, seen: Tensor, heard: Tensor) -> Tensor:
        """(B, 2): of other videos, of the same moment."""
        return self.head(torch.cat([seen, heard], dim=1))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        seen, heard = self.encoder(batch["views"][0]), self.sound_encoder(batch["sound"])
        if self.training or len(seen) > 1:
            wrong = of_others(heard, batch["key"], gathered=self.training)
            seen, heard = torch.cat([seen, seen]), torch.cat([heard, wrong])
        logits = self.logits(seen, heard)
        target = (torch.arange(len(logits), device=logits.device) < len(batch["key"])).long()
        accuracy = (logits.argmax(1) == target).float().mean()
        return {"loss": F.cross_entropy(logits, target), "accuracy": accuracy}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """The frames, their sounds, and where in a frame there is what its sound belongs to.

        There are maps of encoders only whose feature is a mean over the places of the last one.
        """
        spec, hears = spec_of(self.encoder).input, spec_of(self.sound_encoder).input
        image, heard = batch["views"][0], self.sound_encoder(batch["sound"])
        shown = denormalize(image.clone(), spec.mean, spec.std)
        pictures = {"frame": shown, "its sound": as_pictures(batch["sound"], hears)}
        shape = map_shapes(self.encoder)[0]
        if shape.channels == self.feature_dim and min(shape.size) > 1:
            places = encode_maps(self.encoder, image, [shape])[1][0].flatten(2).transpose(1, 2)  # (B, h * w, D)
            logits = self.logits(places.flatten(0, 1), heard.repeat_interleave(places.shape[1], dim=0))
            belongs = logits.softmax(1)[:, 1].view(len(image), 1, *shape.size)
            pictures["bright where it belongs to the sound"] = lit(shown, belongs)
        return pictures


def lit(pictures: Tensor, share: Tensor) -> Tensor:
    """Pictures (B, C, H, W) that are dark but where ``share`` (B, 1, h, w) in [0, 1] is large beside the rest of it."""
    low, high = share.amin((2, 3), keepdim=True), share.amax((2, 3), keepdim=True)
    scaled = (share - low) / (high - low).clamp(min=1e-6)
    light = F.interpolate(scaled, size=pictures.shape[2:], mode="bilinear", align_corners=False)
    return pictures * (0.15 + 0.85 * light)
