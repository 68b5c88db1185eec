"""Frames of clips: which are taken, how all that belongs to them is cut alike, and the crops of whole clips.

A sample of clips has some of these fields, and always ``clip``:

============== =========================== ======================================================================
``clip``       (T, C, H, W) uint8          the frames
``fps``        float                       frames per second of these frames; no field where it is not known
``sound``      (N,) float32 in [-1, 1]     mono at ``spectrograms.SOUND_RATE``, from the first frame on and as
                                           long as the frames; no field if there is no sound track
``depth``      (T, 1, H, W) float32        metres along the optical axis; inf where there is nothing
``normals``    (T, 3, H, W) float32        unit vectors in the camera's frame (x right, y down, z forward, so what
                                           is visible has z < 0); zeros where there is nothing
``instances``  (T, 1, H, W) int32          0 is background and ground, else an object's number, the same all along
``classes``    (T, 1, H, W) uint8          positions in the source's ``mask_names``
``contours``   (T, 1, H, W) bool           where the instance or the depth breaks
``flow``       (T, 2, H, W) float32        pixels: where a frame's pixel is in the next frame, minus where it is
                                           (x right, y down); NaN in the last frame, and wherever the next frame
                                           of a cut clip was not the next one before
``visible``    (T, 1, H, W) bool           whether that pixel is seen in the next frame: not covered, not outside;
                                           False where ``flow`` is NaN
``camera``     (T, 4, 4) float32           camera to world, camera axes x right, y down, z forward
``intrinsics`` (3, 3) float32              pinhole matrix in pixels of these frames, pixel centres at integer + 0.5
============== =========================== ======================================================================
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from sslzoo.config import UsageError
from sslzoo.views.crop import Interpolation, Size, image_sizes, random_boxes
from sslzoo.views.keyed import Draw, Purpose
from sslzoo.views.spectrograms import SOUND_RATE

if TYPE_CHECKING:
    from sslzoo.views import Sample

PER_FRAME = ("clip", "depth", "normals", "instances", "classes", "contours", "flow", "visible", "camera")
"""Fields with an entry for each frame."""
BESIDES_FRAMES = (*PER_FRAME[1:], "intrinsics", "sound")
"""Fields that views get only if their sampling names them."""
_GREY = (0.299, 0.587, 0.114)
_SMALL = 32
"""Side of the grey frames that are compared to measure motion."""


@dataclass(frozen=True)
class Window:
    """Frames of a clip by number, evenly apart."""

    index: Tensor
    """(T,) int64, ascending; the last number is repeated where the clip is too short."""
    step: float
    """Frames of the clip from one of them to the next."""


@dataclass(frozen=True)
class ClipSampling:
    """The frames that a method wants of a clip: a window of ``length`` of them, placed anywhere in it."""

    length: int = 16
    """Frames of a window."""
    stride: int = 1
    """Frames from one of them to the next."""
    rate: float = 0.0
    """Frames per second that a clip is brought to first, by leaving out or repeating frames; 0 takes its own, as do
    clips whose rate is not known."""
    short_side: int = 0
    """Largest height or width, whichever is less, to decode at; 0 decodes as it is. Clips are never enlarged."""
    fields: tuple[str, ...] = ()
    """What is wanted besides the frames, where it is there: ``sound``, ``depth``, … The rest is not even decoded. A
    video file without a sound that is wanted counts as unreadable."""

    def __post_init__(self) -> None:
        if self.length < 1 or self.stride < 1 or self.rate < 0 or self.short_side < 0:
            raise UsageError(
                f"no frames can be taken as {self}: length and stride are at least 1, and no number is < 0"
            )

    def at(self, place: float, num_frames: int, fps: float = 0.0) -> Window:
        """The window at ``place`` in [0, 1) of those that fit into ``num_frames`` at ``fps`` (0: not known).

        Into a clip that is too short the largest smaller stride is taken that fits, then the last frame is repeated.
        """
        step = self._step(num_frames, fps)
        return self._window(int(place * (self._free(step, num_frames) + 1)), step, num_frames)

    def evenly(self, count: int, num_frames: int, fps: float = 0.0) -> list[Window]:
        """The windows in the middles of ``count`` equal parts of those that fit: for one, the one in the middle."""
        step = self._step(num_frames, fps)
        free = self._free(step, num_frames)
        return [self._window((2 * part + 1) * (free + 1) // (2 * count), step, num_frames) for part in range(count)]

    def _step(self, num_frames: int, fps: float) -> float:
        unit = fps / self.rate if self.rate and fps else 1.0
        fitting = int((num_frames - 1) / unit / max(1, self.length - 1))
        return unit * max(1, min(self.stride, fitting))

    def _free(self, step: float, num_frames: int) -> int:
        """The last frame that a window can begin with."""
        return max(0, num_frames - 1 - int((self.length - 1) * step))

    def _window(self, first: int, step: float, num_frames: int) -> Window:
        index = first + (torch.arange(self.length, dtype=torch.float64) * step).long()
        return Window(index.clamp(max=num_frames - 1), step)


def window_for(sampling: ClipSampling, key: int, num_frames: int, fps: float = 0.0) -> Window:
    """The window of the sample with this ``key``, placed uniformly."""
    place = Draw(torch.tensor([key], dtype=torch.int64)).at("clip").uniform("place")
    return sampling.at(float(place), num_frames, fps)


class LazyFields(Mapping[str, Any]):
    """A sample of a clip whose fields are decoded when they are looked at, some frames alone if no more are wanted."""

    num_frames: int
    """Of the clip."""

    @abstractmethod
    def frames(self, name: str, index: Tensor) -> Tensor:
        """(T, ...): of a field with an entry for each frame those with the numbers ``index`` (T,)."""


def num_frames(sample: Sample | LazyFields) -> int:
    """Of the clip of a sample, which is not decoded for that."""
    return sample.num_frames if isinstance(sample, LazyFields) else len(sample["clip"])


def cut(sample: Sample, window: Window, names: Iterable[str] | None = None) -> Sample:
    """The sample with the frames of ``window`` only, and with what belongs to them; all fields, or those of ``names``.

    ``flow`` is NaN where the next frame is another one now. ``fps`` becomes that of these frames. ``sound`` is as long
    as ``T * step`` frames are, with silence where it ends.
    """
    taken: Sample = {
        name: _frames(sample, name, window.index) if name in PER_FRAME else sample[name]
        for name in (sample if names is None else names)
    }
    if "flow" in taken:
        not_next = F.pad(window.index.diff() != 1, (0, 1), value=True)
        taken["flow"] = taken["flow"].masked_fill(not_next[:, None, None, None], torch.nan)
        if "visible" in taken:
            taken["visible"] = taken["visible"] & ~not_next[:, None, None, None]
    if "fps" in taken:
        fps = taken["fps"]
        taken["fps"] = fps / window.step
        if "sound" in taken:
            start = round(int(window.index[0]) / fps * SOUND_RATE)
            taken["sound"] = padded(taken["sound"][start:], sound_length(len(window.index), taken["fps"]))
    return taken


def _frames(sample: Sample | LazyFields, name: str, index: Tensor) -> Tensor:
    return sample.frames(name, index) if isinstance(sample, LazyFields) else sample[name][index]


def sound_length(frames: int, fps: float) -> int:
    """Numbers of a sound that is as long as ``frames`` at ``fps``."""
    return round(frames / fps * SOUND_RATE)


def padded(sound: Tensor, length: int) -> Tensor:
    """The beginning of a sound (N,), with silence where it is shorter than ``length``."""
    return F.pad(sound[:length], (0, max(0, length - len(sound))))


def clip_random_resized_crop(
    clips: Sequence[Tensor],
    size: Size,
    draw: Draw,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
    interpolation: Interpolation = "bilinear",
) -> Tensor:
    """One random box of each clip (T, C, H, W), the same in all its frames and mirrored with probability ``flip``.

    (B, T, C, H, W) uint8 at (H, W) ``size``. The box is drawn as ``crop.random_resized_crop`` draws it.
    """
    boxes = random_boxes(image_sizes(clips), draw, scale, ratio)
    return clip_resized_crop(clips, boxes, draw.bernoulli("flip", flip), size, interpolation)


def clip_resized_crop(
    clips: Sequence[Tensor], boxes: Tensor, flip: Tensor, size: Size, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """The ``boxes`` (B, 4: top, left, height, width) of clips (T, C, H, W), mirrored where ``flip`` (B,) says.

    (B, T, C, H, W) uint8 at (H, W) ``size``.
    """
    batch = torch.empty(len(clips), *clips[0].shape[:2], *size, dtype=torch.uint8)
    for row, clip, (top, left, height, width), mirrored in zip(
        batch, clips, boxes.tolist(), flip.tolist(), strict=True
    ):
        box = clip[:, :, top : top + height, left : left + width]
        resized = tv.resize(box, list(size), tv.InterpolationMode(interpolation), antialias=True)
        row.copy_(resized.flip(3) if mirrored else resized)
    return batch


def motion(clip: Tensor) -> Tensor:
    """How much each frame differs from the one before: (..., T - 1) float32 in [0, 1] of (..., T, C, H, W) uint8.

    The mean absolute difference of grey frames averaged down to 32 x 32. It stands in for the magnitude of the optical
    flow that the papers weight frames by (Misra et al., ECCV 2016, section 3.1): it too is large where much moves, and
    costs next to nothing; unlike flow it also sees light that changes, and moving things that have no texture less.
    """
    *leading, frames, channels, height, width = clip.shape
    flat = clip.reshape(-1, channels, height, width).float() / 255
    grey = flat.mul(flat.new_tensor(_GREY)[:, None, None]).sum(1) if channels == 3 else flat.mean(1)
    small = F.adaptive_avg_pool2d(grey[:, None], (min(height, _SMALL), min(width, _SMALL)))
    return small.view(*leading, frames, -1).diff(dim=-2).abs().mean(-1)


def distinct_frames(clip: Tensor, least: int) -> int:
    """Frames of ``clip`` (T, C, H, W) without those at its end that only repeat one, as they do where it was too short
    for its window; never under ``least``.
    """
    count = len(clip)
    while count > least and torch.equal(clip[count - 1], clip[count - 2]):
        count -= 1
    return count


def motion_in_windows(motion: Tensor, span: int) -> Tensor:
    """(..., T - span + 1): the mean ``motion`` (..., T - 1) within each window of ``span`` frames, at least 2."""
    return motion.unfold(-1, span - 1, 1).mean(-1)


def weighted_choice(weights: Tensor, draw: Draw, purpose: Purpose) -> Tensor:
    """(B,) int64: a position in each row of ``weights`` (B, N), with probability in proportion to its weight.

    Weights are not negative; where all of a row are 0 they count as equal.
    """
    weights = weights.double()
    weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, 1.0)
    total = weights.cumsum(1)
    drawn = draw.uniform(purpose)[:, None].double() * total[:, -1:]
    return torch.searchsorted(total, drawn, right=True).squeeze(1).clamp(max=weights.shape[1] - 1)
