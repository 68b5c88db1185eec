"""Audio-visual temporal synchronization (AVTS): do this clip and this sound run together?

Korbar, Tran & Torresani, "Cooperative Learning of Audio and Video Models from Self-Supervised Synchronization",
NeurIPS 2018, https://arxiv.org/abs/1807.00230. A network of clips and one of sounds map both to one space, and a
contrastive loss of margin 0.99 brings those of one moment together and drives others apart. A curriculum decides what
these others are: for the first 50 of 90 epochs sounds of other videos, then for a quarter of them sounds of the same
video that do not overlap the clip, half a second or more away. Sounds that do overlap it, which the paper found too
hard, are never taken.

Both encoders can be published: that of clips as every method's, that of sounds beside it.

Deviations. The encoders are the one given, with timm's interface, and any timm encoder of log-mel spectrograms of 64
bands; one linear layer on the pooled feature of each leads into the common space. From a video a window is taken that
holds the clip at one of its ends, and the sound that is half a second away at the other, so that neither clips nor
sounds tell by themselves which pair they are in. Every clip of a batch is in one pair of either kind. The rate falls by
a cosine, where the paper lowers it whenever the loss stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, create_sound_encoder, feature_dim, sound_spec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.derangement import of_others
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling, clip_resized_crop, padded
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import image_sizes
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import assemble, random_squares
from sslzoo.views.spectrograms import as_pictures, length_heard, spectrogram

if TYPE_CHECKING:
    from sslzoo.run import Run

SHOWN = 4
"""Frames of a clip in pictures."""


@dataclass(frozen=True)
class AVTSConfig:
    sound_encoder: str = "resnet18"
    """Timm encoder of the spectrograms."""
    seconds: float = 1.0
    """Length of clips and of sounds: the frames of a clip are taken at the rate that makes it so long."""
    gap: float = 0.5
    """Seconds at least between a clip and a hard negative."""
    hard: float = 0.25
    """Share of hard negatives, sounds of the same video, in the second part of training."""
    easy_share: float = 50 / 90
    """Share of training that is its first part, in which all negatives are of other videos."""
    margin: float = 0.99
    """Distance that others are driven apart to."""
    embedding_dim: int = 128
    """Dimensions of the common space."""
    min_scale: float = 0.7
    """Smallest side of the square that is cut, as a share of a frame's shorter side."""


class SoundAndElsewhere(Views):
    """One view, a clip (B, C, T, H, W), its ``sound``, and one of ``elsewhere`` in the video, log-mel (B, 1, F, T)."""

    def __init__(self, config: AVTSConfig, spec: InputSpec) -> None:
        _check(config, spec)
        self.config, self.spec, self.hears = config, spec, sound_spec(config.seconds)
        rate = spec.frames / config.seconds
        side = round(spec.size[1] / config.min_scale)
        self.frames = 2 * spec.frames + math.ceil(config.gap * rate)
        self.sampling = ClipSampling(self.frames, rate=rate, short_side=side, fields=("sound",))

    def crop(self, samples: list[Sample]) -> Batch:
        draw, length = draw_for(samples), self.spec.frames
        late = draw.bernoulli("late", 0.5)
        sounds = torch.stack([self._ends(sample) for sample in samples])
        clips = [
            sample["clip"][-length:] if at_end else sample["clip"][:length]
            for sample, at_end in zip(samples, late.tolist(), strict=True)
        ]
        boxes = random_squares(image_sizes(clips), draw.at("crop"), (self.config.min_scale, 1.0))
        row = torch.arange(len(samples))
        return {
            "clip": clip_resized_crop(clips, boxes, draw.bernoulli("mirror", 0.5), self.spec.size[1:]),
            "sound": sounds[row, late.long()],
            "elsewhere": sounds[row, 1 - late.long()],
        }

    def augment(self, batch: Batch) -> Batch:
        frames = normalize(to_float(batch.pop("clip")), self.spec.mean, self.spec.std, inplace=True)
        batch["views"] = [frames.transpose(1, 2)]
        for name in ("sound", "elsewhere"):
            batch[name] = spectrogram(batch[name], self.hears)
        batch["hard"] = Draw(batch["key"]).uniform("hard")
        return batch

    def _ends(self, sample: Sample) -> Tensor:
        """(2, N): the sounds that go with the first and with the last frames of a window."""
        whole, length = sample["sound"], length_heard(self.hears)
        last = round((self.frames - self.spec.frames) / self.frames * len(whole))
        return torch.stack([padded(whole, length), padded(whole[last:], length)])


def _check(config: AVTSConfig, spec: InputSpec) -> None:
    """Complain of an encoder of pictures, and of shares that are none."""
    if not spec.frames:
        raise UsageError("avts looks at clips: choose an encoder that takes them, such as mc3_18")
    if not (0 <= config.hard <= 1 and 0 <= config.easy_share <= 1 and 0 < config.min_scale <= 1):
        raise UsageError(f"hard, easy_share and min_scale are shares, from 0 to 1, in {config}")


class AVTS(PretextMethod):
    info = MethodInfo(
        name="avts",
        category="cross_modal",
        family="visual-audio-correspondence",
        modalities=("clip", "audio"),
        paper=Paper(
            authors="Korbar, Tran & Torresani",
            title="Cooperative Learning of Audio and Video Models from Self-Supervised Synchronization",
            venue="NeurIPS",
            year=2018,
            url="https://arxiv.org/abs/1807.00230",
        ),
        summary="Tell a clip's own sound from those of other videos and of other moments of the same.",
    )
    Config = AVTSConfig
    # The paper's 90 epochs of clips of a second, here 25 frames. The rate is ours: the paper searches one on a grid.
    defaults = PretrainConfig(
        dataset="world",
        encoder="mc3_18",
        image_size=224,
        frames=25,
        epochs=90,
        batch_size=64,
        optimizer="momentum",
        lr=0.01,
        momentum=0.9,
        weight_decay=1e-4,
    )
    recipes = {
        "small": {
            **SMALL,
            "encoder": "r3d_18",
            "frames": 16,
            "epochs": 60,
            "batch_size": 32,
            "lr": 5e-4,
            "easy_share": 0.5,
        }
    }

    hard: Tensor
    """Share of hard negatives now."""

    @staticmethod
    def views(config: AVTSConfig, spec: InputSpec) -> Views:
        return SoundAndElsewhere(config, spec)

    def __init__(self, encoder: nn.Module, config: AVTSConfig) -> None:
        super().__init__(encoder, config)
        _check(config, spec_of(encoder).input)
        self.sound_encoder = create_sound_encoder(config.sound_encoder, config.seconds)
        self.embed_clip = nn.Linear(self.feature_dim, config.embedding_dim)
        self.embed_sound = nn.Linear(feature_dim(self.sound_encoder), config.embedding_dim)
        for head in (self.embed_clip, self.embed_sound):
            # Distances begin within the margin. From far beyond it all of them fall to half of it, the saddle.
            nn.init.zeros_(head.bias)
            head.weight.data.mul_(0.1)
        self.register_buffer("hard", torch.zeros(()))

    def on_epoch_start(self, run: Run) -> None:
        self.hard.fill_(self.config.hard if run.progress.fraction >= self.config.easy_share else 0.0)

    def trained_sound_encoder(self) -> nn.Module:
        return self.sound_encoder

    def see(self, batch: Batch) -> Tensor:
        """(B, D): where clips are in the common space."""
        return self.embed_clip(self.encoder(batch["views"][0])).float()

    def hear(self, sound: Tensor) -> Tensor:
        """(B, D): where sounds (B, 1, F, T) are in it."""
        return self.embed_sound(self.sound_encoder(sound)).float()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``accuracy`` is the share of pairs that half the margin puts on the right side."""
        alone = not self.training and len(batch["key"]) == 1
        hard = (batch["hard"] < (1 if alone else self.hard)).nonzero()[:, 0]
        seen = self.see(batch)
        embedded = self.hear(torch.cat([batch["sound"], batch["elsewhere"][hard]]))
        heard, elsewhere = embedded.split([len(seen), len(hard)])
        wrong = of_others(heard, batch["key"], gathered=self.training).index_copy(0, hard, elsewhere)
        near, far = distance(seen, heard), distance(seen, wrong)
        middle = self.config.margin / 2
        return {
            "loss": contrastive(near, far, self.config.margin),
            "accuracy": torch.cat([near < middle, far >= middle]).float().mean(),
            "distance_together": near.mean(),
            "distance_apart": far.mean(),
        }

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Frames of the clips, and three sounds with the distance of each: a bar as long as that over twice the margin.

        The bar is green on the side of half the margin where it should be, else red.
        """
        spec, hears = spec_of(self.encoder).input, spec_of(self.sound_encoder).input
        clip, key = batch["views"][0], batch["key"]
        seen = self.see(batch)
        frames = clip[:, :, torch.linspace(0, clip.shape[2] - 1, SHOWN).long()].transpose(1, 2)
        shown = denormalize(frames.clone(), spec.mean, spec.std)
        pictures = {"clip": assemble(shown, columns=SHOWN)}
        rows = {"its own sound": batch["sound"], "another moment of the same video": batch["elsewhere"]}
        if len(key) > 1:
            rows["another video"] = of_others(batch["sound"], key, gathered=False)
        for title, sound in rows.items():
            away = distance(seen, self.hear(sound)) / self.config.margin
            right = (away < 0.5) == (title == "its own sound")
            drawn = as_pictures(sound, hears)
            pictures[f"{title}, and its distance"] = with_bar(drawn, away / 2, right)
        return pictures


def distance(seen: Tensor, heard: Tensor) -> Tensor:
    """(B,) Euclidean distances of rows (B, D), with a gradient also where they are equal."""
    return (seen - heard).square().sum(1).clamp(min=1e-12).sqrt()


def contrastive(near: Tensor, far: Tensor, margin: float) -> Tensor:
    """The loss of pairs that belong together, at distances ``near`` (B,), and of pairs that do not, ``far`` (B,)."""
    return (near.square().mean() + F.relu(margin - far).square().mean()) / 2


def with_bar(pictures: Tensor, share: Tensor, right: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) above a bar as long as a ``share`` (B,) of their width, green where ``right``, else red."""
    width = pictures.shape[3]
    filled = torch.arange(width, device=pictures.device) < (share * width).clamp(max=width)[:, None]
    colors = pictures.new_tensor([[0.8, 0.25, 0.2], [0.2, 0.6, 0.3]])[right.long()]
    bar = torch.where(filled[:, None, None, :], colors[:, :, None, None], 1.0)
    return torch.cat([pictures, bar.expand(-1, -1, 8, -1)], dim=2)
