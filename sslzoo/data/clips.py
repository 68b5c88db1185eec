"""Clips that are not decoded yet, and the frames that training and evaluation have decoded of them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sslzoo.config import UserError
from sslzoo.data.source import Unreadable
from sslzoo.views import Sample
from sslzoo.views.clips import BESIDES_FRAMES, ClipSampling, LazyFields, Window, cut, num_frames, window_for

_GREY = (19595, 38470, 7471)
"""Of red, green and blue in 65536: as Pillow makes grey pictures."""
_IN_ONE_GO = 600
"""Frames of a clip of which all windows are decoded in one pass: of such a short one most would be decoded for any."""


class LazyClip(ABC):
    """What a sample may have as its ``clip``: frames that are decoded when they are asked for.

    All of it raises ``Unreadable`` where the clip cannot be read.
    """

    name: str
    """What messages call it."""
    num_frames: int
    """At least 1."""
    fps: float
    """Frames per second; 0 if that is not known."""

    @abstractmethod
    def frames(self, index: Tensor, short_side: int = 0) -> Tensor:
        """(T, 3, H, W) uint8: the frames with the numbers ``index`` (T,), best with the channels last in memory.

        They are scaled down in the same proportions if their shorter side is more than ``short_side``, unless it is 0.
        """

    def sound(self, first: float, last: float) -> Tensor | None:
        """(N,) float32 mono at ``SOUND_RATE``, from when frame ``first`` begins to when ``last`` does; None if mute."""
        return None

    def heard(self, first: float, last: float) -> Tensor:
        """``sound``, where a method or an evaluation cannot do without.

        Raises:
            Unreadable: if there is none.
        """
        sound = self.sound(first, last)
        if sound is None:
            raise Unreadable(f"{self.name}: no sound track")
        return sound


def sampled(sample: Sample, sampling: ClipSampling | None, key: int) -> Sample:
    """A sample with the window of its ``clip`` that training takes, and with what belongs to that window.

    Without a ``sampling`` a clip that is decoded already stays as it is.

    Raises:
        Unreadable: if it cannot be decoded.
    """
    if not isinstance(sample, LazyFields) and isinstance(clip := sample["clip"], LazyClip):
        sampling = sampling or ClipSampling()
        return {**sample, **_decoded(clip, window_for(sampling, key, clip.num_frames, clip.fps), sampling)}
    if sampling is None:
        return {**sample}
    wanted = [name for name in sample if name not in BESIDES_FRAMES or name in sampling.fields]
    return cut(sample, window_for(sampling, key, num_frames(sample), sample.get("fps", 0.0)), wanted)


def _decoded(clip: LazyClip, window: Window, sampling: ClipSampling) -> Sample:
    found: Sample = {"clip": clip.frames(window.index, sampling.short_side)}
    if clip.fps:
        found["fps"] = clip.fps / window.step
    if "sound" in sampling.fields:
        first = int(window.index[0])
        found["sound"] = clip.heard(first, first + len(window.index) * window.step)
    return found


def evenly_sampled(sample: Sample, sampling: ClipSampling, count: int) -> Tensor:
    """(``count``, T, C, H, W) uint8: windows of the sample's ``clip`` from all over it, for evaluation.

    Raises:
        Unreadable: if it cannot be decoded.
    """
    clip = sample["clip"]
    if not isinstance(clip, LazyClip):
        windows = sampling.evenly(count, len(clip), sample.get("fps", 0.0))
        return torch.stack([clip[window.index] for window in windows])
    windows = sampling.evenly(count, clip.num_frames, clip.fps)
    if clip.num_frames <= _IN_ONE_GO:
        together = torch.cat([window.index for window in windows])
        return clip.frames(together, sampling.short_side).unflatten(0, (count, -1))
    return torch.stack([clip.frames(window.index, sampling.short_side) for window in windows])


def clip_with_channels(clip: Tensor, channels: int) -> Tensor:
    """A clip (..., C, H, W) with 1 (grey), 3 (RGB) or 4 (RGB and full alpha) channels.

    Raises:
        UserError: if it cannot have them.
    """
    have = clip.shape[-3]
    if have == channels:
        return clip
    if have == 3 and channels == 1:
        red, green, blue = (part.int() * weight for part, weight in zip(clip.unbind(-3), _GREY, strict=True))
        return ((red + green + blue + 0x8000) >> 16).to(torch.uint8).unsqueeze(-3)
    if have == 3 and channels == 4:
        return torch.cat([clip, torch.full_like(clip[..., :1, :, :], 255)], dim=-3)
    raise UserError(f"the clips have {have} channels, which cannot be made {channels}: use --channels {have}")
