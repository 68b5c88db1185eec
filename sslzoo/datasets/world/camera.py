"""A pinhole camera, and the paths that it takes through a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sslzoo.datasets.world import geometry

Array = NDArray[np.floating]

NEAR, FAR = 0.2, 60.0
"""Metres between which something is seen."""


@dataclass(frozen=True)
class Lens:
    """A square picture, looked at from its middle."""

    side: int
    """Pixels."""
    angle: float
    """Field of view in degrees."""

    @property
    def intrinsics(self) -> Array:
        """(3, 3): pinhole matrix in pixels, whose centres are at integer + 0.5."""
        focal = self.side / 2 / np.tan(np.radians(self.angle) / 2)
        return np.array([[focal, 0, self.side / 2], [0, focal, self.side / 2], [0, 0, 1]])

    def projection(self) -> list[float]:
        """OpenGL's matrix, column by column.

        The renderer samples pixels at their corners, the left and lower ones: half a pixel moves them to the centres.
        """
        focal, half = 2 * self.intrinsics[0, 0] / self.side, 1 / self.side
        depth = (-(FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR))
        return [focal, 0, 0, 0, 0, focal, 0, 0, half, half, depth[0], -1, 0, 0, depth[1], 0]


def inverse_depth(buffer: NDArray[np.float32]) -> Array:
    """One over the depth in metres that OpenGL's depth ``buffer`` means."""
    return ((FAR - (FAR - NEAR) * buffer.astype(np.float64)) / (FAR * NEAR)).astype(np.float32)


def view_matrix(pose: Array) -> list[float]:
    """OpenGL's, column by column, of a camera whose axes are x right, y down, z forward."""
    matrix: list[float] = np.linalg.inv(pose * (1, -1, -1, 1)).T.ravel().tolist()
    return matrix


def wander(rng: np.random.Generator, seconds: Array, size: float, slowest: float = 0.1, fastest: float = 0.5) -> Array:
    """(T, 3): a smooth random way of about ``size`` in each coordinate, made of two waves (Hz)."""
    rate, phase = rng.uniform(slowest, fastest, (2, 3)), rng.uniform(0, 2 * np.pi, (2, 3))
    return size * np.sin(2 * np.pi * rate * seconds[:, None, None] + phase).sum(1) / np.sqrt(2)


def travel(
    rng: np.random.Generator,
    seconds: Array,
    targets: Array,
    distance: tuple[float, float],
    height: tuple[float, float],
    sweep: float,
    limit: float = np.inf,
    still: float = 1 / 8,
) -> Array:
    """(T, 4, 4): a camera that goes around ``targets`` (T, 3), nearer or farther, up or down, held by a hand.

    At ``distance`` and ``height`` in metres between these bounds, through up to ``sweep`` radians either way, and never
    further than ``limit`` from the middle of the world. A share of them stands ``still`` beside what it looks at.
    """
    share = seconds / seconds[-1]
    share = np.zeros_like(share) if rng.random() < still else share

    def between(low: float, high: float) -> Array:
        first, last = rng.uniform(low, high, 2)
        return first + (last - first) * (share if rng.random() < 0.5 else (1 - np.cos(np.pi * share)) / 2)

    turned = rng.uniform(0, 2 * np.pi) + between(-sweep, sweep)
    away = between(*distance)[:, None] * np.stack([np.cos(turned), np.sin(turned), np.zeros_like(turned)], -1)
    held = wander(rng, seconds, rng.choice([0, 0.02, 0.06]))
    eyes = np.stack([targets[:, 0], targets[:, 1], between(*height)], -1) + away + held * share.any()
    eyes[:, :2] = eyes[:, :2].clip(-limit, limit)
    eyes[:, 2] = eyes[:, 2].clip(0.25)
    aims = targets + wander(rng, seconds, rng.choice([0, 0.05, 0.15])) * share.any()
    return geometry.look_at(eyes, aims, rng.normal(0, 0.06) + np.zeros(len(seconds)))
