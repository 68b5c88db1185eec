"""What things are made of: how it looks, weighs, bounces and sounds. Their names are the labels of ``world``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sslzoo.datasets.world import textures
from sslzoo.datasets.world.textures import Picture, color, near


@dataclass(frozen=True)
class Material:
    name: str
    look: Callable[[np.random.Generator], Picture]
    gloss: float
    """Strength of highlights in [0, 1]."""
    density: float
    """Kilograms per cubic metre; things of metal, ceramic and plastic are hollow."""
    bounce: float
    """Coefficient of restitution."""
    friction: float
    pitch: float
    """Hz of the lowest mode of a thing whose longest side is 0.3 m; it goes with one over its size."""
    modes: tuple[float, ...]
    """Frequencies of the modes over that of the lowest."""
    damping: tuple[float, float]
    """Decay of a mode: 1/s, and what is added for each Hz."""
    click: float
    """Loudness of the noise at a blow, over that of the modes."""


def _metal(rng: np.random.Generator) -> Picture:
    hue, saturation = ((0.12, 0.55), (0.04, 0.5), (0.6, 0.06), (0.6, 0.06))[rng.integers(4)]
    light, dark = near(rng, hue, saturation, 0.9), near(rng, hue, saturation, 0.35)
    return textures.brushed(rng, light, dark)


def _wood(rng: np.random.Generator) -> Picture:
    hue = rng.uniform(0.05, 0.1)
    return textures.grain(rng, near(rng, hue, 0.5, 0.8), near(rng, hue, 0.7, 0.35))


def _stone(rng: np.random.Generator) -> Picture:
    hue, kind = rng.random(), (textures.speckles, textures.veins)[rng.integers(2)]
    return kind(rng, near(rng, hue, 0.08, 0.75), near(rng, hue, 0.12, 0.25))


def _ceramic(rng: np.random.Generator) -> Picture:
    kind = (textures.spots, textures.stripes, textures.tiles)[rng.integers(3)]
    return kind(rng, near(rng, 0.12, 0.05, 0.95), color(rng, (0.7, 1), (0.3, 0.7)))


def _rubber(rng: np.random.Generator) -> Picture:
    kind = (textures.blotches, textures.stripes)[rng.integers(2)]
    return kind(rng, color(rng, (0.2, 0.6), (0.25, 0.4)), color(rng, (0, 0.3), (0.05, 0.15)))


def _plastic(rng: np.random.Generator) -> Picture:
    kind = (textures.stripes, textures.spots, textures.blotches)[rng.integers(3)]
    return kind(rng, color(rng, (0.85, 1), (0.8, 1)), color(rng, (0.8, 1), (0.7, 1)))


MATERIALS = (
    Material("metal", _metal, 0.9, 1500, 0.5, 0.4, 900, (1, 1.52, 2.76, 3.63, 5.4, 8.93), (5, 0.0015), 0.2),
    Material("wood", _wood, 0.15, 600, 0.4, 0.5, 380, (1, 2.57, 4.93, 7.1), (35, 0.02), 0.5),
    Material("stone", _stone, 0.2, 2200, 0.25, 0.7, 1500, (1, 1.43, 2.12, 3.2, 4.6), (110, 0.01), 1.0),
    Material("ceramic", _ceramic, 0.8, 1200, 0.45, 0.4, 1700, (1, 2.32, 2.96, 4.25), (22, 0.004), 0.3),
    Material("rubber", _rubber, 0.05, 900, 0.8, 0.9, 110, (1, 1.59, 2.14), (40, 0.05), 0.1),
    Material("plastic", _plastic, 0.5, 300, 0.6, 0.45, 520, (1, 1.81, 2.9, 4.1, 5.5), (60, 0.03), 0.7),
)
NAMES = tuple(material.name for material in MATERIALS)
