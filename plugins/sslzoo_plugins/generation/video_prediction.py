"""Video prediction: how does this video go on?

Shi, Chen, Wang, Yeung, Wong & Woo, "Convolutional LSTM Network: A Machine Learning Approach for Precipitation
Nowcasting", NeurIPS 2015, https://arxiv.org/abs/1506.04214. A stack of three LSTMs, whose gates are convolutions of
maps (equation 3), reads ten frames; another one begins with the states of the first and goes on for ten steps without
being shown any. The states of all its layers together are made patches of 4 x 4 pixels of a frame by a convolution of
1 x 1. The loss is the cross-entropy of pixels in [0, 1].

Deviations. The paper's network reads patches of 4 x 4 pixels as they are. Here an encoder of pictures sees each frame
alone. A decoder draws from its feature, its last map and, where that has less than 6 x 6 places, earlier ones, a map of
as many places and channels as there would be patches and pixels, so that what is known of a frame passes through what
is published. Frames are in colour, and not digits. The paper leaves open what its second stack is given besides states:
nothing, as in the authors' later code (HKO-7, NeurIPS 2017). Training ends after a number of epochs, where the paper
watches held-out scores. Clips are cropped at random and mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of, takes_clips
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.decoders import Decoder, Size, bottleneck_maps, encode_maps
from sslzoo.nn.precision import in_float32
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling, clip_random_resized_crop
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.patches import film_strip

PATCH = 4
"""Side of a patch in pixels."""
State = tuple[Tensor, Tensor]
"""Of a layer, both (B, hidden, H, W): what it gives, and its memory."""


@dataclass(frozen=True)
class VideoPredictionConfig:
    seen: int = 10
    """Frames that are seen."""
    predicted: int = 10
    """Frames after them that are predicted."""
    stride: int = 1
    """Frames of video from one of them to the next."""
    hidden: tuple[int, ...] = (128, 64, 64)
    """Channels of the states of each layer."""
    kernel: int = 5
    """Height and width of convolutions between states; odd."""
    decoder_dim: int = 256
    """Channels of the decoder where it begins; each stage has half as many, but at least 16."""
    min_scale: float = 0.5
    """Smallest crop, as a share of the frame's area."""


class SeenAndNext(Views):
    """A crop of a clip: its first frames, normalised; as ``target`` (B, predicted, C, H, W) in [0, 1] the others."""

    def __init__(self, config: VideoPredictionConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec
        self.sampling = ClipSampling(config.seen + config.predicted, config.stride)

    def crop(self, samples: list[Sample]) -> Batch:
        clips, scale = [sample["clip"] for sample in samples], (self.config.min_scale, 1.0)
        return {"clip": clip_random_resized_crop(clips, self.spec.size[1:], draw_for(samples).at("crop"), scale)}

    def augment(self, batch: Batch) -> Batch:
        clip = to_float(batch.pop("clip"))
        batch["target"] = clip[:, self.config.seen :]
        seen = clip[:, : self.config.seen]
        batch["views"] = list(normalize(seen, self.spec.mean, self.spec.std).unbind(1))
        return batch


class ConvLSTM(nn.Module):
    """A layer of equation 3, over maps of one size, which it keeps."""

    def __init__(self, channels: int, hidden: int, size: Size, kernel: int) -> None:
        """``channels`` of what it reads; 0 if it reads nothing."""
        super().__init__()
        self.from_input = nn.Conv2d(channels, 4 * hidden, kernel, padding=kernel // 2, bias=False) if channels else None
        self.from_state = nn.Conv2d(hidden, 4 * hidden, kernel, padding=kernel // 2)
        self.from_memory = nn.Parameter(torch.zeros(3, hidden, *size))
        """Of each place: to the gates of input, forgetting and output."""

    def forward(self, inputs: Tensor | None, state: State, steps: int) -> tuple[Tensor, State]:
        """What it gives at each step (B, steps, hidden, H, W) for inputs (B, steps, C, H, W), and the last state."""
        output, memory = state
        read: Sequence[Tensor | int] = [0] * steps
        if self.from_input is not None and inputs is not None:
            read = self.from_input(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2]).unbind(1)
        outputs = []
        for new in read:
            enter, forget, candidate, leave = (self.from_state(output) + new).chunk(4, dim=1)
            enter = torch.sigmoid(enter + self.from_memory[0] * memory)
            forget = torch.sigmoid(forget + self.from_memory[1] * memory)
            memory = forget * memory + enter * candidate.tanh()
            output = torch.sigmoid(leave + self.from_memory[2] * memory) * memory.tanh()
            outputs.append(output)
        return torch.stack(outputs, dim=1), (output, memory)


class Forecaster(nn.Module):
    """Frames go in as maps (B, T, C, H, W), and as many maps as are asked for come out: the next ones."""

    def __init__(self, channels: int, hidden: Sequence[int], size: Size, kernel: int) -> None:
        super().__init__()
        self.hidden, self.size = hidden, size
        self.reading = nn.ModuleList(ConvLSTM(*widths, size, kernel) for widths in pairwise((channels, *hidden)))
        self.going_on = nn.ModuleList(ConvLSTM(*widths, size, kernel) for widths in pairwise((0, *hidden)))
        self.last = nn.Conv2d(sum(hidden), channels, 1)

    def forward(self, maps: Tensor, steps: int) -> Tensor:
        states: list[State] = []
        for width, layer in zip(self.hidden, self.reading, strict=True):
            nothing = maps.new_zeros(len(maps), width, *self.size)
            maps, state = layer(maps, (nothing, nothing), maps.shape[1])
            states.append(state)
        given: list[Tensor] = []
        for layer, state in zip(self.going_on, states, strict=True):
            below = given[-1] if given else None
            given.append(layer(below, state, steps)[0])
        together = torch.cat(given, dim=2)
        return self.last(together.flatten(0, 1)).unflatten(0, together.shape[:2])


@in_float32
def pixel_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Of pixels in [0, 1] and logits of theirs: the mean over all, where the paper has the sum."""
    return F.binary_cross_entropy_with_logits(logits, target)


class VideoPrediction(PretextMethod):
    info = MethodInfo(
        name="video_prediction",
        category="generation",
        family="video-prediction",
        modalities=("clip",),
        paper=Paper(
            authors="Shi, Chen, Wang, Yeung, Wong & Woo",
            title="Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting",
            venue="NeurIPS",
            year=2015,
            url="https://arxiv.org/abs/1506.04214",
        ),
        summary="From the first frames of a video, draw the next ones.",
    )
    Config = VideoPredictionConfig
    # Section 4.1: RMSProp at 1e-3 with a decay of 0.9, batches of 16 frames of 64 x 64. The number of epochs is ours.
    defaults = PretrainConfig(
        dataset="world",
        encoder="resnet18",
        image_size=64,
        epochs=100,
        batch_size=16,
        optimizer="rmsprop",
        lr=1e-3,
        momentum=0.0,
        weight_decay=0.0,
        schedule="constant",
    )
    recipes = {
        "small": {
            **SMALL,
            "batch_size": 16,
            "seen": 4,
            "predicted": 4,
            "stride": 2,
            "hidden": (32, 32),
            "kernel": 3,
            "decoder_dim": 128,
        }
    }

    @staticmethod
    def views(config: VideoPredictionConfig, spec: InputSpec) -> Views:
        return SeenAndNext(config, spec)

    def __init__(self, encoder: nn.Module, config: VideoPredictionConfig) -> None:
        super().__init__(encoder, config)
        if takes_clips(encoder):
            raise UsageError(
                "video_prediction encodes each frame alone: choose an encoder of pictures, such as resnet18"
            )
        counts = (config.seen, config.predicted, len(config.hidden), *config.hidden)
        if min(counts) < 1 or config.kernel % 2 == 0:
            raise UsageError(
                f"numbers of frames, layers and channels are 1 or more, and the kernel is odd: not {config}"
            )
        channels, height, width = spec_of(encoder).input.size
        if height % PATCH or width % PATCH:
            raise UsageError(f"frames are drawn in patches of {PATCH} x {PATCH}: --image-size {height} is no multiple")
        size, values = (height // PATCH, width // PATCH), PATCH**2 * channels
        self.maps = bottleneck_maps(encoder)
        self.decoder = Decoder(self.feature_dim, self.maps, size, values, config.decoder_dim)
        self.forecaster = Forecaster(values, config.hidden, size, config.kernel)

    def logits(self, batch: Batch) -> Tensor:
        """(B, predicted, C, H, W): of the next frames."""
        frames = torch.stack(batch["views"], dim=1)
        maps = self.decoder(*encode_maps(self.encoder, frames.flatten(0, 1), self.maps))
        coming = self.forecaster(maps.unflatten(0, frames.shape[:2]), self.config.predicted)
        return F.pixel_shuffle(coming, PATCH)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits, target, spec = self.logits(batch).float(), batch["target"], spec_of(self.encoder).input
        still = denormalize(batch["views"][-1], spec.mean, spec.std)[:, None]
        return {
            "loss": pixel_cross_entropy(logits, target),
            "squared_error": (logits.sigmoid() - target).square().mean(),
            "squared_error_unmoved": (still - target).square().mean(),
        }

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Some of the frames seen, and of those that come next, as predicted and as they were."""
        spec, seen = spec_of(self.encoder).input, torch.stack(batch["views"], dim=1)
        clips = {
            "seen": denormalize(seen, spec.mean, spec.std),
            "predicted": self.logits(batch).float().sigmoid(),
            "as it went on": batch["target"],
        }
        return {title: film_strip(frames) for title, frames in clips.items()}
