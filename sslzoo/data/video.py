"""Videos that are decoded where they are needed, a window at a time.

PyAV does it, because its wheel has FFmpeg in it. (torchcodec's has none and takes whichever is installed, so it would
decode on some machines only, and not to the same pixels.) A video stays encoded until frames are asked for; then the
file is opened, the key frame before them looked up, and decoding begins there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sslzoo.data.clips import LazyClip
from sslzoo.data.ffmpeg import opened, pyav, readable
from sslzoo.data.sounds import placed
from sslzoo.data.source import Unreadable
from sslzoo.views.spectrograms import SOUND_RATE

if TYPE_CHECKING:
    from av import AudioStream, VideoFrame, VideoStream
    from av.container import InputContainer

VIDEO_EXTENSIONS = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp")
)
"""File name endings, lower case with their dot."""
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegvideo,asf,flv,ogg"
"""FFmpeg's names of what is read."""
_UNSOUGHT = ("mpeg", "mpegvideo")
"""Those that do not tell the times of all frames, which can be counted from the start only."""
_DURATION = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
"""Of one track in Matroska's tags: the whole file may be longer."""
_BACK = (0.0, 10.0, math.inf)
"""Seconds before the wanted moment to look for a key frame at: some formats' seeking overshoots."""
_LEAD = 0.25
"""Seconds of sound that are decoded before those wanted, for a codec to settle."""
_STILL = 1.0
"""Seconds that the last frame is shown at most: of a file that ends earlier than it says the rest is missing."""
_SLOWEST, _FASTEST = 0.01, 10_000
"""Frames per second."""


class Video(LazyClip):
    """A video file, or its bytes. Picklable.

    Time is cut into ``num_frames`` equal parts of 1 / ``fps``, and a part's frame is what is shown in the middle of it:
    at a constant rate the file's own frames one by one, at a varying one some of them more than once or never.
    """

    def __init__(self, raw: bytes | Path, name: str) -> None:
        """``name`` is what messages call it.

        Raises:
            UsageError: if PyAV is not installed.
        """
        pyav()
        self.raw, self.name = raw, name

    @property
    def num_frames(self) -> int:  # type: ignore[override]  # read when it is asked for
        return self._file.num_frames

    @property
    def fps(self) -> float:  # type: ignore[override]
        """The file's average."""
        return self._file.fps

    def frames(self, index: Tensor, short_side: int = 0) -> Tensor:
        """As the base says, and turned as the file says."""
        file, (wanted, place) = self._file, index.unique(return_inverse=True)
        with readable(self.name):
            decoded = file.shown_at([file.start + (number + 0.5) / file.fps for number in wanted.tolist()])
            pixels = _to_pixels(decoded, short_side)
        return torch.from_numpy(pixels)[place].permute(0, 3, 1, 2)

    def sound(self, first: float, last: float) -> Tensor | None:
        """As the base says, with silence where the sound track has not begun or has ended."""
        file = self._file
        if file.audio is None:
            return None
        with readable(self.name):
            return file.heard(file.start + first / file.fps, round((last - first) / file.fps * SOUND_RATE))

    @cached_property
    def _file(self) -> _File:
        with readable(self.name):
            return _File.open(self.raw, self.name)

    def __getstate__(self) -> dict[str, Any]:
        return {"raw": self.raw, "name": self.name}


@dataclass
class _File:
    """An open file: seconds are as in it, where it need not begin at 0."""

    name: str
    container: InputContainer
    video: VideoStream
    audio: AudioStream | None
    num_frames: int
    fps: float
    start: float

    @classmethod
    def open(cls, raw: bytes | Path, name: str) -> _File:
        container = opened(raw, _FORMATS)
        streams = container.streams
        if not streams.video:
            raise Unreadable(f"{name}: no video track")
        video, audio = streams.video[0], streams.audio[0] if streams.audio else None
        for stream in filter(None, (video, audio)):
            if stream.codec_context is None:
                raise Unreadable(f"{name}: coded in a way that is not known")
            stream.codec_context.thread_count = 1  # the loader has a worker for each core
        seconds = 0.0 if container.format.name in _UNSOUGHT else _seconds(container, video)
        rate = video.average_rate or video.guessed_rate
        if seconds and rate:
            num_frames, fps = round(seconds * rate), float(rate)
        else:
            num_frames, fps = _counted(container, video)
        if num_frames < 1:
            raise Unreadable(f"{name}: no frames")
        if not _SLOWEST < fps < _FASTEST:
            raise Unreadable(f"{name}: {fps:.4g} frames per second cannot be")
        file = cls(
            name, container, video, audio, num_frames, fps, float((video.start_time or 0) * (video.time_base or 0))
        )
        if not file.has_times:
            file.start = next(file.decode(file.video, -math.inf), (0.0, None))[0]
        return file

    @property
    def has_times(self) -> bool:
        """AVI only has the order of its packets, which is not that of its frames and begins later."""
        return bool(self.container.format.name != "avi")

    def shown_at(self, moments: Sequence[float]) -> list[VideoFrame]:
        """The frame of each of ascending moments."""
        found: list[VideoFrame] = []
        time, last = math.nan, None
        for time, frame in self.decode(self.video, moments[0]):
            while len(found) < len(moments) and time > moments[len(found)]:
                found.append(last or frame)
            if len(found) == len(moments):
                break
            last = frame
        if len(found) < len(moments):
            if last is None or time + max(_STILL, 1 / self.fps) < moments[-1]:
                where = "has no frames" if last is None else f"ends at {time - self.start:.1f} s"
                raise Unreadable(f"{self.name}: {where}, before {moments[-1] - self.start:.1f} s as it should")
            found += [last] * (len(moments) - len(found))
        if any(frame.is_corrupt for frame in found):
            raise Unreadable(f"{self.name}: a frame is damaged")
        return found

    def heard(self, start: float, length: int) -> Tensor:
        """``length`` numbers of the sound from second ``start`` on."""
        stop = start + length / SOUND_RATE
        return placed(takewhile(lambda timed: timed[0] < stop, self.decode(self.audio, start - _LEAD)), start, length)

    def decode(self, stream: Any, moment: float) -> Iterator[tuple[float, Any]]:
        """Frames in the order they are shown, with their times, from the last key frame before ``moment`` on."""
        for back in _BACK:
            begin = max(moment - back, self.start) if math.isfinite(moment - back) else -math.inf
            at_start = begin <= self.start or self.container.format.name in _UNSOUGHT
            stamp = stream.start_time or 0 if at_start else math.floor(begin / stream.time_base)
            self.container.seek(stamp, stream=stream)
            frames = self._timed(stream, at_start)
            first = next(frames, None)
            if first is not None and (at_start or first[0] <= moment):
                yield first
                yield from frames
                return

    def _timed(self, stream: Any, at_start: bool) -> Iterator[tuple[float, Any]]:
        """A frame without a time is one tick after the last; of a first one elsewhere it is not known."""
        last = -1 if at_start else math.inf
        for frame in self.container.decode(stream):
            stamp = frame.pts if self.has_times or stream is not self.video else frame.dts
            last = last + 1 if stamp is None else stamp
            yield float(last * stream.time_base), frame


def _to_pixels(frames: Sequence[VideoFrame], short_side: int) -> np.ndarray:
    """(T, H, W, 3) uint8."""
    height, width = frames[0].height, frames[0].width
    scale = min(1.0, (short_side or math.inf) / min(height, width))
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    scaler = pyav().video.reformatter.VideoReformatter()  # one for all, as making one costs more than its work
    scaled = [scaler.reformat(frame, width, height, "rgb24", interpolation="BILINEAR", threads=1) for frame in frames]
    pixels = np.stack([frame.to_ndarray() for frame in scaled])
    return np.ascontiguousarray(_upright(pixels, frames[0]))


def _upright(pixels: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """``pixels`` (T, H, W, 3), turned and mirrored as the matrix of ``frame`` says, if it has one."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    right, down = np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2]  # where these directions go: (x, y)
    if abs(right[1]) > abs(right[0]):
        pixels, right, down = pixels.swapaxes(1, 2), down, right
    return pixels[:, :: 1 if down[1] >= 0 else -1, :: 1 if right[0] >= 0 else -1]


def _seconds(container: InputContainer, video: VideoStream) -> float:
    """How long the video is, as the file says; 0 if it does not."""
    if video.duration and video.time_base:
        seconds = float(video.duration * video.time_base)
    elif tag := _DURATION.fullmatch(video.metadata.get("DURATION", "")):
        seconds = 3600 * float(tag[1]) + 60 * float(tag[2]) + float(tag[3])
    else:
        seconds = (container.duration or 0) / 1e6
    if seconds and (video.start_time or 0) > 0 and container.format.name != "avi":
        return _until_its_end(container, video, seconds)
    return seconds


def _until_its_end(container: InputContainer, video: VideoStream, seconds: float) -> float:
    """How long a video is that does not begin at 0: of many such, ``seconds`` are where it ends."""
    assert video.start_time is not None and video.time_base is not None
    container.seek(int(seconds / video.time_base), stream=video)
    ends = [packet.pts + (packet.duration or 0) for packet in container.demux(video) if packet.pts is not None]
    return float((max(ends) - video.start_time) * video.time_base) if ends else seconds


def _counted(container: InputContainer, video: VideoStream) -> tuple[int, float]:
    """Number of frames and their average rate in a file that does not say them: it is read, and not decoded."""
    stamps = sorted(packet.pts for packet in container.demux(video) if packet.pts is not None)
    if len(stamps) < 2:
        return len(stamps), 1.0
    seconds = (stamps[-1] - stamps[0]) * float(video.time_base or 0)
    return len(stamps), (len(stamps) - 1) / seconds if seconds else 1.0
