"""Where things happen: a floor, walls with pictures on them or a sky, and what light falls on all of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from sslzoo.datasets.world import geometry, meshes, textures
from sslzoo.datasets.world.renderer import Body, Light
from sslzoo.datasets.world.textures import Picture

Array = NDArray[np.floating]

HEIGHT = 3.2
"""Of walls, in metres."""
SHADOWS = 0.3
"""Share of the clips that have them: they cost half as much again as all else."""


@dataclass(frozen=True, eq=False)
class Stage:
    bodies: Sequence[Body]
    poses: Array
    """(bodies, 4, 4)."""
    half: float
    """Metres from the middle to a wall; infinite under the sky."""
    sky: Picture
    light: Light

    @classmethod
    def draw(cls, rng: np.random.Generator, split: str, half: float, contrast: float = 1.0) -> Stage:
        """A room, or with one chance in three the open air. Pictures are of cliparts' ``split``.

        ``contrast`` is that of what floor and walls are made of.
        """
        open_air = rng.random() < 1 / 3
        size, repeat = (60.0 if open_air else 2 * half), rng.uniform(0.15, 0.4)
        floor = Body(meshes.sheet(size, size, repeat), textures.anything(rng, contrast), "floor")
        placed: list[tuple[Body, Array]] = [(floor, np.eye(4))]
        if not open_air:
            same, repeat = textures.anything(rng, contrast), rng.uniform(0.15, 0.4)
            for side in range(4):
                look = same if rng.random() < 0.5 else textures.anything(rng, contrast)
                placed.append((Body(meshes.sheet(size, HEIGHT, repeat), look, "wall"), _on_wall(side, half, 0.0, 1.6)))
                if rng.random() < 0.6:
                    place = _on_wall(side, half - 0.03, rng.uniform(-0.6, 0.6) * half, rng.uniform(1.1, 1.9))
                    width, height = rng.uniform(0.6, 1.6, 2)
                    hung = meshes.sheet(width, height, 1)
                    hung = meshes.Mesh(hung.vertices, hung.faces, hung.normals, hung.uvs / (width, height))
                    placed.append((Body(hung, _poster(rng, split), "picture"), place))
        bodies, poses = zip(*placed, strict=True)
        return cls(bodies, np.stack(poses), np.inf if open_air else half, textures.sky(rng), _light(rng))


def _on_wall(side: int, away: float, along: float, height: float) -> Array:
    """(4, 4) of a sheet on a wall, that faces the middle."""
    turn = geometry.about(2, side * np.pi / 2)
    return geometry.poses(turn @ geometry.about(0, np.pi / 2), turn @ np.array([along, away, height]))


def _poster(rng: np.random.Generator, split: str) -> Picture:
    """A picture of cliparts on one colour, 64 x 64."""
    pictures = _cliparts(split)
    stored = pictures[int(rng.integers(len(pictures)))]["bytes"].as_py()
    cutout = Image.open(io.BytesIO(stored)).convert("RGBA").resize((56, 56))
    ground = Image.new("RGB", (64, 64), tuple(textures.color(rng, (0, 0.5), (0.7, 1)).astype(int).tolist()))
    ground.paste(cutout, (4, 4), cutout)
    return np.asarray(ground)[::-1]


@cache
def _cliparts(split: str) -> pa.ChunkedArray:
    """Its pictures, from its file: the data set itself would bring torch along."""
    return parquet.read_table(Path(__file__).parents[1] / "cliparts" / f"{split}.parquet", columns=["image"])["image"]


def _light(rng: np.random.Generator) -> Light:
    turn, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.35)
    direction = np.array([np.cos(turn) * np.cos(tilt), np.sin(turn) * np.cos(tilt), np.sin(tilt)])
    tint = rng.uniform((0.85, 0.75, 0.65), 1.0)
    return Light(5 * direction, tint, rng.uniform(0.35, 0.65), bool(rng.random() < SHADOWS))
