"""Sounds: a file decoded whole, and frames of sound put where they belong in time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sslzoo.data.ffmpeg import opened, pyav, readable
from sslzoo.data.source import Unreadable
from sslzoo.views.spectrograms import SOUND_RATE

if TYPE_CHECKING:
    from av import AudioFrame

SOUND_EXTENSIONS = frozenset(
    (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma")
)
"""File name endings, lower case with their dot."""
_FORMATS = "wav,w64,flac,mp3,ogg,mov,mp4,m4a,aac,aiff,asf,matroska,webm"
"""FFmpeg's names of what is read."""
_HOLE = 0.02
"""Seconds without sound from which on they are a hole in the track; less is how times are rounded."""


def decode_sound(raw: bytes | Path, name: str) -> Tensor:
    """(N,) float32 mono at ``SOUND_RATE``: all of the sound in ``raw``, a file's bytes or its path.

    N is at least 1. Of a file that has been cut off it is what is left, where its format allows.

    Raises:
        Unreadable: ``name`` and the reason.
        UsageError: if PyAV is not installed.
    """
    with readable(name), opened(raw, _FORMATS) as container:
        if not container.streams.audio:
            raise Unreadable(f"{name}: no sound")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise Unreadable(f"{name}: coded in a way that is not known")
        timed = list(_timed(container.decode(stream), stream))
    start, end = (timed[0][0], timed[-1][0] + _seconds(timed[-1][1])) if timed else (0, 0)
    if not (length := round((end - start) * SOUND_RATE)):
        raise Unreadable(f"{name}: no sound")
    return placed(timed, start, length)


def placed(timed: Iterable[tuple[float, AudioFrame]], start: float, length: int) -> Tensor:
    """(length,) float32 mono at ``SOUND_RATE``: frames, with the seconds at which they begin, from ``start`` on.

    Where there are none is silence. Channels are averaged.
    """
    sound = torch.zeros(length)
    for begin, frames in _unbroken(timed):
        part, place = _resampled(frames), round((begin - start) * SOUND_RATE)
        wanted = sound[max(0, place) : max(0, place + len(part))]
        wanted.copy_(part[max(0, -place) :][: len(wanted)])
    return sound.clamp_(-1, 1)


def _timed(frames: Iterable[AudioFrame], stream: Any) -> Iterator[tuple[float, AudioFrame]]:
    """A frame without a time follows the last."""
    end = 0.0
    for frame in frames:
        begin = end if frame.pts is None else float(frame.pts * stream.time_base)
        yield begin, frame
        end = begin + _seconds(frame)


def _seconds(frame: AudioFrame) -> float:
    return frame.samples / frame.sample_rate


def _unbroken(timed: Iterable[tuple[float, AudioFrame]]) -> list[tuple[float, list[AudioFrame]]]:
    """Frames of a kind that follow each other without a hole, with the time at which the first of them begins."""
    runs: list[tuple[float, list[AudioFrame]]] = []
    end, kind = -math.inf, None
    for time, frame in timed:
        last, kind = kind, (frame.format.name, frame.layout.name, frame.sample_rate)
        if time - end > _HOLE or kind != last:
            runs.append((time, []))
        runs[-1][1].append(frame)
        end = time + _seconds(frame)
    return runs


def _resampled(frames: Sequence[AudioFrame]) -> Tensor:
    """(N,) mono at ``SOUND_RATE``."""
    resampler, parts = pyav().AudioResampler("fltp", frames[0].layout, SOUND_RATE), []
    for frame in frames:
        frame.pts = None
        parts += resampler.resample(frame)
    parts += resampler.resample(None)
    return torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *(part.to_ndarray().mean(0) for part in parts)]))
