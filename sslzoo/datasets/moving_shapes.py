"""Shapes that fall and sound: pictures, clips and spectrograms that need no files, for they are drawn when read.

A shape drops, bounces lower each time and trails a fading copy of itself, so that a clip can be told from its reverse.
A tone follows it: its pitch is the shape's height, its overtones are those of the shape's kind, which is the human
label. Size, colours, place, path, spin and background are drawn anew for every sample.
"""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.data.source import DatasetInfo, NamedDataset, Source
from sslzoo.data.splits import check_split, slices
from sslzoo.views import Sample
from sslzoo.views.clips import LazyFields, sound_length
from sslzoo.views.spectrograms import SOUND_RATE

VERSION = 1
"""Of the drawing: another number where another picture, clip or sound comes out."""
LENGTHS = {"train": 384, "test": 192}
SEEDS = {"train": 0, "test": 1}

FRAMES, FPS, SIDE = 16, 6.0, 48
BANDS, TICKS = 32, 64
"""Of a sound, which lasts as long as the clip: four ticks to a frame."""
TRAIL = 4
"""Frames that a shape's trail goes back."""
LATEST = 8
"""Frames that may have passed of a fall when its trail begins."""
FLOOR = 0.4
"""Height counts downwards from the middle of the picture; the shorter side of the picture is 1."""

TIMBRES = {
    "circle": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "square": (1.0, 0.0, 0.6, 0.0, 0.4, 0.0),
    "triangle": (1.0, 0.6, 0.3, 0.15, 0.08, 0.04),
    "star": (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    "cross": (0.4, 1.0, 0.0, 0.8, 0.0, 0.6),
    "ring": (0.6, 0.0, 0.0, 1.0, 0.8, 0.0),
}
"""Loudness of the fundamental and its overtones by kind of shape."""
KINDS = tuple(TIMBRES)
LOWEST = 100.0
"""Hz of the lowest band, where the tone is heard."""

Array = NDArray[np.float32]


class MovingShapes(NamedDataset):
    info = DatasetInfo(
        name="moving-shapes",
        splits=("train", "test"),
        modalities=("image", "clip", "audio"),
        license="CC0-1.0",
        homepage="https://github.com/sslzoo/sslzoo",
        summary="Shapes that fall and bounce, with a tone that follows them: drawn when read, in six kinds.",
    )

    def open(self, split: str) -> Source:
        check_split(split, self.info.splits, self.info.name)
        parts = slices(split, LENGTHS, self.info.name)
        return Drawn(f"{self.info.name}[{split}]", [(part, number) for part, rows in parts for number in rows])


class Drawn(Source):
    """Some of the samples."""

    license = MovingShapes.info.license
    class_names = KINDS

    def __init__(self, name: str, rows: Sequence[tuple[str, int]]) -> None:
        """``rows`` are the samples' splits and numbers in them.

        Raises:
            UsageError: if there are none.
        """
        if not rows:
            raise UsageError(f"{name} has no samples")
        self.name, self.rows = name, rows

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Sample:
        split, number = self.rows[index]
        rng = np.random.default_rng((SEEDS[split], number))
        return cast(Sample, Shown(Scene.draw(rng, KINDS[number % len(KINDS)]), rng))

    def labels(self) -> Tensor:
        return torch.tensor([number % len(KINDS) for _, number in self.rows])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the drawing's version and of which samples these are.

        Of nothing that is drawn: the last bit of a sine differs between processors, and the data would seem to.
        """
        return hashlib.sha256(repr((MovingShapes.info.name, VERSION, list(self.rows))).encode()).hexdigest()


class Shown(LazyFields):
    """A sample whose fields are drawn when they are looked at: the sound takes twice as long as all others together.

    ``image`` is a PIL image of 40 to 72 px a side, the moment at the middle of the clip; ``clip`` is (16, 3, 48, 48)
    uint8; ``audio`` is (1, 32, 64) float32, the logarithm of the energy by band (low to high) and time, and ``sound``
    (42667,) the tone itself.
    """

    num_frames = FRAMES
    fields = ("image", "clip", "audio", "sound", "fps")

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene, self._rng = scene, rng
        height, width = rng.integers(40, 73, 2).tolist()
        self._image, self._clip = _grain(rng, 1, height, width), _grain(rng, FRAMES, SIDE, SIDE)
        self._audio = rng.normal(0, 0.2, (BANDS, TICKS))

    @cached_property
    def _sound(self) -> NDArray[np.float64]:
        return self._rng.normal(0, 0.002, sound_length(FRAMES, FPS))

    def frames(self, name: str, index: Tensor) -> Tensor:
        return self[name][index]

    def __getitem__(self, name: str) -> Any:
        match name:
            case "image":
                (image,) = self.scene.frames(self._image, FRAMES // 2)
                return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
            case "clip":
                return torch.from_numpy(self.scene.frames(self._clip))
            case "audio":
                return torch.from_numpy(self.scene.sound(self._audio))
            case "sound":
                return torch.from_numpy(self.scene.tone(self._sound))
            case "fps":
                return FPS
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name in self.fields

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)


def _grain(rng: np.random.Generator, count: int, height: int, width: int) -> NDArray[np.uint8]:
    """(count, 1, height, width): the noise of some frames."""
    return rng.integers(0, 17, (count, 1, height, width), np.uint8)


@dataclass(frozen=True)
class Scene:
    """All that is random of one sample, but for the noise."""

    kind: str
    radius: float
    x: Array
    """(20,) where the shape's centre is in each frame, and in the four before the first."""
    y: Array
    angle: Array
    """(20,) in radians."""
    color: Array
    """(3,) in [0, 255], as are the wall's two."""
    wall: tuple[Array, Array]
    waves: Array
    """(2,) the wall's pattern: radians per unit of length."""

    @classmethod
    def draw(cls, rng: np.random.Generator, kind: str) -> Scene:
        radius = rng.uniform(0.1, 0.19)
        side, moments = 0.5 - radius, TRAIL + FRAMES
        tilt, frequency = rng.uniform(0, np.pi), rng.uniform(20, 60)
        start = rng.integers(0, LATEST + 1)
        return cls(
            kind=kind,
            radius=radius,
            x=np.linspace(rng.uniform(-side, side), rng.uniform(-side, side), moments, dtype=np.float32),
            y=_fall(rng.uniform(-0.4, -0.1), FLOOR - radius)[start : start + moments],
            angle=np.linspace(0, rng.uniform(-3, 3), moments, dtype=np.float32) + np.float32(rng.uniform(0, 2 * np.pi)),
            color=_color(rng.random(), rng.uniform(0.5, 1), rng.uniform(0.75, 1)),
            wall=(_color(rng.random(), 0.4, rng.uniform(0.15, 0.5)), _color(rng.random(), 0.4, rng.uniform(0.15, 0.5))),
            waves=np.array([np.cos(tilt) * frequency, np.sin(tilt) * frequency], np.float32),
        )

    def frames(self, noise: NDArray[np.uint8], first: int = 0) -> NDArray[np.uint8]:
        """(count, 3, height, width): as many frames of the clip from its ``first`` on, as large, as ``noise`` has."""
        count, _, height, width = noise.shape
        scale = min(height, width)
        row, column = _centred(height, scale)[:, None], _centred(width, scale)[None]
        glow = self._inside(row, column, slice(first, first + TRAIL + count), scale)
        for earlier, later in pairwise(glow):
            np.maximum(later, 0.6 * earlier, out=later)
        wall = self._wall(row, column)
        frames = wall + glow[TRAIL:, None] * (self.color[:, None, None] - wall)
        frames += noise
        return frames.clip(0, 255).astype(np.uint8)

    def sound(self, noise: NDArray[np.float64]) -> Array:
        """(1, 32, 64) with ``noise`` (32, 64): overtone k lies 6 log2(k) bands above its fundamental, as six bands make
        an octave."""
        pitch = self._fundamental(TICKS)[:, None] + 6 * np.log2(np.arange(1, 7))
        loudness = np.array(TIMBRES[self.kind])
        energy = (loudness * np.exp(-((np.arange(BANDS)[:, None, None] - pitch) ** 2))).sum(2)
        return (np.log(energy + 0.01) + noise)[None].astype(np.float32)

    def tone(self, noise: NDArray[np.float64]) -> Array:
        """(42667,) in [-1, 1] at ``SOUND_RATE``, with ``noise`` of that length: what ``sound`` is a picture of."""
        pitch = LOWEST * 2 ** (self._fundamental(len(noise)) / 6)
        phase = np.cumsum(2 * np.pi / SOUND_RATE * pitch)
        wave = sum(
            loudness * np.sin(number * phase) for number, loudness in enumerate(TIMBRES[self.kind], start=1) if loudness
        )
        return (0.3 * wave / sum(TIMBRES[self.kind]) + noise).astype(np.float32)

    def _fundamental(self, moments: int) -> NDArray[np.float64]:
        """(moments,): the band of the lowest tone in as many equal parts of the clip."""
        time = (np.arange(moments) + 0.5) * FRAMES / moments - 0.5
        return 3 + 12 * (FLOOR - np.interp(time, np.arange(FRAMES), self.y[TRAIL:])) / (2 * FLOOR)

    def _inside(self, row: Array, column: Array, moments: slice, scale: int) -> Array:
        """(T, height, width) in [0, 1]: the share of each pixel that the shape covers, about."""
        x, y, angle = (values[moments, None, None] for values in (self.x, self.y, self.angle))
        across, down = (column - x) / self.radius, (row - y) / self.radius
        cosine, sine = np.cos(angle), np.sin(angle)
        distance = _distance(self.kind, cosine * across + sine * down, cosine * down - sine * across)
        return (0.5 - distance * np.float32(self.radius * scale)).clip(0, 1)

    def _wall(self, row: Array, column: Array) -> Array:
        """(3, height, width): two colours in waves, and a darker floor."""
        share = 0.5 + 0.5 * np.sin(self.waves[0] * column + self.waves[1] * row)
        first, second = (color[:, None, None] for color in self.wall)
        return (first + share * (second - first)) * np.where(row < FLOOR, np.float32(1), np.float32(0.4))


def _fall(y: float, lowest: float) -> Array:
    """(28,) heights by frame of a fall from rest that loses half its energy at each bounce."""
    heights, speed = [], 0.0
    for _ in range(LATEST + TRAIL + FRAMES):
        heights.append(y)
        y, speed = y + speed, speed + 0.012
        if y > lowest:
            y, speed = 2 * lowest - y, -0.7 * speed
    return np.array(heights, np.float32)


def _distance(kind: str, x: Array, y: Array) -> Array:
    """How far points lie outside of the edge of a shape of radius 1 about the origin; negative inside."""
    if kind == "circle":
        return np.hypot(x, y) - np.float32(0.9)
    if kind == "ring":
        return np.abs(np.hypot(x, y) - np.float32(0.75)) - np.float32(0.25)
    if kind == "cross":
        wide, high = np.abs(x), np.abs(y)
        thin, long = np.float32(0.33), np.float32(1)
        return np.minimum(np.maximum(wide - thin, high - long), np.maximum(wide - long, high - thin))
    # A regular polygon is inside of all its edges' lines; a star's points are outside of one of the five.
    edges, inradius = {"triangle": (3, 0.6), "square": (4, 0.8), "star": (5, 0.4)}[kind]
    farthest = second = np.full_like(x, -np.inf)
    for angle in 2 * np.pi * np.arange(edges) / edges:
        outside = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y - np.float32(inradius)
        second = np.maximum(second, np.minimum(farthest, outside))
        farthest = np.maximum(farthest, outside)
    return second if kind == "star" else farthest


def _centred(length: int, scale: int) -> Array:
    """(length,) where the pixels of a side lie."""
    return (np.arange(length, dtype=np.float32) - np.float32((length - 1) / 2)) / np.float32(scale)


def _color(hue: float, saturation: float, value: float) -> Array:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32) * 255
