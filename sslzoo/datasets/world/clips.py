"""Rendered clips as a source, read from the cache."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import pyarrow as pa
import torch
from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.data.source import Source
from sslzoo.data.splits import check_split, slices
from sslzoo.datasets.world.cache import SHARD, Shard, ensure, row
from sslzoo.datasets.world.fields import decode
from sslzoo.views import Sample
from sslzoo.views.clips import LazyFields, sound_length

IMAGES = {"clip": 3, "depth": 1, "normals": 3, "instances": 1, "classes": 1, "contours": 1, "flow": 2, "visible": 1}
"""Fields of (T, channels, H, W)."""


@dataclass(frozen=True)
class Rendering:
    """What a named data set has rendered: ``__main__`` knows by which function."""

    name: str
    version: int
    """Another number where another clip comes out."""
    lengths: Mapping[str, int]
    """By split, multiples of the length of a shard."""
    frames: int
    fps: int
    side: int
    """Pixels."""
    class_names: tuple[str, ...]
    """Clip n is of class n modulo their number."""
    mask_names: tuple[str, ...]
    license: str

    def open(self, split: str) -> Clips:
        """One of the splits, or a slice. Nothing is rendered yet.

        Raises:
            UsageError: if there is no such split, or the renderer is not installed.
        """
        check_split(split, list(self.lengths), self.name)
        if importlib.util.find_spec("pybullet") is None:
            raise UsageError(f"{self.name} needs pybullet, which renders it: pip install 'sslzoo[world]'")
        parts = slices(split, self.lengths, self.name)
        return Clips(f"{self.name}[{split}]", self, [(part, number) for part, rows in parts for number in rows])

    def shape(self, field: str) -> tuple[int, ...]:
        if field in IMAGES:
            return self.frames, IMAGES[field], self.side, self.side
        others = {
            "camera": (self.frames, 4, 4),
            "intrinsics": (3, 3),
            "sound": (sound_length(self.frames, self.fps),),
        }
        return others[field]


class Kept(LazyFields):
    """A sample whose fields are decoded when they are looked at: all of them take ten times as long as the frames."""

    def __init__(self, rendering: Rendering, stored: Mapping[str, pa.Buffer]) -> None:
        self.rendering, self.stored = rendering, stored
        self.num_frames = rendering.frames

    def frames(self, name: str, index: Tensor) -> Tensor:
        return torch.from_numpy(decode(name, self.stored[name], self.rendering.shape(name), index.numpy()))

    def __getitem__(self, name: str) -> Any:
        if name == "fps":
            return float(self.rendering.fps)
        return torch.from_numpy(decode(name, self.stored[name], self.rendering.shape(name)))

    def __contains__(self, name: object) -> bool:
        return name == "fps" or name in self.stored

    def __iter__(self) -> Iterator[str]:
        yield from (*self.stored, "fps")

    def __len__(self) -> int:
        return len(self.stored) + 1


class Clips(Source):
    """Some of the clips, with the fields of the table in ``sslzoo.views.clips``.

    What the first reading does not find in the cache is rendered then, all that the source has, on all cores.
    """

    def __init__(self, name: str, rendering: Rendering, rows: Sequence[tuple[str, int]]) -> None:
        """``rows`` are the clips' splits and numbers in them.

        Raises:
            UsageError: if there are none.
        """
        if not rows:
            raise UsageError(f"{name} has no samples")
        self.name, self.rows, self.rendering = name, rows, rendering
        self.license = rendering.license
        self.class_names, self.mask_names = rendering.class_names, rendering.mask_names

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Sample:
        shard, number = self._shard(*self.rows[index]), self.rows[index][1]
        if not shard.path.exists():
            ensure(self._shard(*row) for row in self.rows)
        return cast(Sample, Kept(self.rendering, row(shard, number)))

    def labels(self) -> Tensor:
        return torch.tensor([number % len(self.class_names) for _, number in self.rows])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the rendering's name and version, and of which clips these are.

        Of nothing that is rendered: the last bit of a light may differ between processors.
        """
        key = (self.rendering.name, self.rendering.version, list(self.rows))
        return hashlib.sha256(repr(key).encode()).hexdigest()

    def _shard(self, split: str, number: int) -> Shard:
        return Shard(self.rendering.name, self.rendering.version, split, number // SHARD)
