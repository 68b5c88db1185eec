"""Small videos whose frames spell their number, for the tests of the data layer."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import numpy as np
from PIL import Image
from torch import Tensor

HEIGHT, WIDTH = 48, 64
_ROWS, _COLUMNS = 3, 4
TONE = (1.0, 1.2)
"""Seconds in which ``write_video`` has a tone sound; around it is silence."""


def frame(number: int) -> np.ndarray:
    """(48, 64, 3) uint8: twelve patches, which are the digits of ``number`` (below 4096) in twos."""
    digits = np.array([number >> place & 1 for place in range(_ROWS * _COLUMNS)], np.uint8).reshape(_ROWS, _COLUMNS)
    patch = np.ones((HEIGHT // _ROWS, WIDTH // _COLUMNS), np.uint8)
    return np.kron(digits * 255, patch)[:, :, None].repeat(3, 2)


def numbers(clip: Tensor) -> list[int]:
    """What the frames (T, C, H, W) spell, at any size."""
    height, width = clip.shape[2] // _ROWS, clip.shape[3] // _COLUMNS
    middles = clip[:, :, height // 2 :: height, width // 2 :: width][:, :, :_ROWS, :_COLUMNS]
    digits = (middles.float().mean(1) > 127).flatten(1)
    return [sum(1 << place for place, digit in enumerate(row) if digit) for row in digits.tolist()]


def write_video(
    place: Path | IO[bytes],
    count: int = 60,
    codec: str = "libx264",
    *,
    first: int = 0,
    format: str | None = None,
    fps: int = 25,
    gop: int = 12,
    b_frames: int = 2,
    milliseconds: Sequence[int] = (),
    sound: str = "",
    seconds: float = 0.0,
) -> Path | IO[bytes]:
    """A video of ``count`` frames that spell the numbers from ``first`` on, each at its ``milliseconds`` if given.

    ``sound`` is the codec of a sound track with a tone, which is as long as the frames, or ``seconds``.
    """
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(place) if isinstance(place, Path) else place, "w", format=format) as file:
        stream = file.add_stream(codec, rate=fps, options={"sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, b_frames
        tick = Fraction(1, 1000) if milliseconds else Fraction(1, fps)
        stream.codec_context.time_base = tick
        audio = file.add_stream(sound, rate=48000, layout="stereo") if sound else None
        file.start_encoding()  # or nothing is written of no frames
        for number in range(count):
            picture = av.VideoFrame.from_ndarray(frame(first + number), format="rgb24")
            picture.pts, picture.time_base = milliseconds[number] if milliseconds else number, tick
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
        if audio is not None:
            for part in _tone(audio, seconds or count / fps):
                file.mux(audio.encode(part))
            file.mux(audio.encode(None))
    return place


def _tone(audio: av.AudioStream, seconds: float) -> list[av.AudioFrame]:
    time = np.arange(int(seconds * 48000)) / 48000
    wave = 0.8 * np.sin(2 * np.pi * 1000 * time) * ((time >= TONE[0]) & (time < TONE[1]))
    whole = av.AudioFrame.from_ndarray(np.stack([wave] * 2).astype(np.float32), format="fltp", layout="stereo")
    whole.sample_rate, whole.pts, whole.time_base = 48000, 0, Fraction(1, 48000)
    size = audio.codec_context.frame_size or 1024
    parts = av.AudioResampler(audio.codec_context.format, "stereo", 48000, frame_size=size)
    return [*parts.resample(whole), *parts.resample(None)]


def write_frames(folder: Path, count: int, first: int = 0, ending: str = ".png") -> Path:
    """A clip as a folder of pictures, without leading zeros in their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(frame(first + number)).save(folder / f"frame_{number}{ending}")
    return folder
