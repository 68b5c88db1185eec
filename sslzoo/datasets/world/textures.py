"""Pictures of surfaces, 128 x 128 and without a seam: each is another."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Array = NDArray[np.floating]

SIDE = 128


def fitted(picture: Picture, texels: float) -> Picture:
    """A texture averaged down to about ``texels`` a side, at least 8: the renderer would else pick single ones."""
    factor = 2 ** int(np.clip(np.ceil(np.log2(len(picture) / texels)), 0, 4))
    side = len(picture) // factor
    small: Picture = picture.reshape(side, factor, side, factor, 3).mean((1, 3)).astype(np.uint8)
    return small


def noise(rng: np.random.Generator, roughness: float = 1.5, stretch: float = 1.0) -> Array:
    """(128, 128) in about [-1, 1], periodic: amplitude falls with frequency to the power ``-roughness``.

    ``stretch`` > 1 makes it longer across than down.
    """
    across, down = np.fft.rfftfreq(SIDE, 1 / SIDE), np.fft.fftfreq(SIDE, 1 / SIDE)[:, None]
    frequency = np.hypot(stretch * across, down / stretch)
    frequency[0, 0] = np.inf
    phase = np.exp(2j * np.pi * rng.random(frequency.shape))
    drawn = np.fft.irfft2(phase * np.maximum(frequency, 1.0) ** -roughness, (SIDE, SIDE))
    return (drawn / (2 * drawn.std())).clip(-1, 1)


def color(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Array:
    """(3,) in [0, 255], of any hue."""
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))) * 255


def near(rng: np.random.Generator, hue: float, saturation: float, value: float, spread: float = 0.05) -> Array:
    """(3,) in [0, 255], about a colour."""
    drawn = np.array([hue, saturation, value]) + rng.uniform(-spread, spread, 3) * (0.5, 2, 2)
    return np.array(colorsys.hsv_to_rgb(drawn[0] % 1, *drawn[1:].clip(0, 1))) * 255


def blend(share: Array, one: Array, other: Array) -> Picture:
    """Colours (3,) mixed by ``share`` (128, 128) in [0, 1]."""
    return (one + share.clip(0, 1)[..., None] * (other - one)).clip(0, 255).astype(np.uint8)


def grain(rng: np.random.Generator, light: Array, dark: Array) -> Picture:
    """Lines along wood, that give way to each other."""
    down = np.arange(SIDE)[:, None] / SIDE
    lines = np.sin(2 * np.pi * (rng.integers(4, 10) * down + rng.uniform(0.4, 1) * noise(rng, 2.2, 3)))
    return blend(0.5 + 0.35 * lines + 0.2 * noise(rng, 1, 6), light, dark)


def veins(rng: np.random.Generator, light: Array, dark: Array) -> Picture:
    """Thin lines through marble."""
    return blend(np.exp(-12 * np.abs(noise(rng, 1.7))) + 0.2 * noise(rng, 1.2), light, dark)


def speckles(rng: np.random.Generator, light: Array, dark: Array) -> Picture:
    """As in granite."""
    return blend(0.5 + 2 * noise(rng, 0.7) + 0.5 * noise(rng, 1.8), light, dark)


def brushed(rng: np.random.Generator, light: Array, dark: Array) -> Picture:
    """Fine lines in one direction."""
    return blend(0.5 + 0.4 * noise(rng, 0.9, 8) + 0.35 * noise(rng, 2), light, dark)


def blotches(rng: np.random.Generator, light: Array, dark: Array) -> Picture:
    return blend(0.5 + rng.uniform(1, 6) * noise(rng, rng.uniform(1.4, 2.4)), light, dark)


def stripes(rng: np.random.Generator, light: Array, dark: Array) -> Picture:
    """Or checks, with sharp or soft edges."""
    steps = 2 * np.pi * np.arange(SIDE) / SIDE
    across, down = rng.integers(0, 4), rng.integers(1, 5)
    wave = np.sin(across * steps + down * steps[:, None])
    if rng.random() < 0.5:
        wave = wave * np.sin(down * steps - across * steps[:, None])
    return blend(0.5 + rng.choice([0.5, 4]) * wave + 0.15 * noise(rng, 1), light, dark)


def spots(rng: np.random.Generator, light: Array, dark: Array) -> Picture:
    """Discs of several sizes."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    outside = np.full((SIDE, SIDE), np.inf)
    for _ in range(rng.integers(6, 16)):
        x, y, radius = *rng.uniform(0, SIDE, 2), rng.uniform(5, 18)
        off = [(places - at + SIDE / 2) % SIDE - SIDE / 2 for places, at in ((columns, x), (rows, y))]
        outside = np.minimum(outside, np.hypot(*off) - radius)
    return blend(0.5 - outside / 2 + 0.1 * noise(rng, 1), light, dark)


def tiles(rng: np.random.Generator, light: Array, dark: Array) -> Picture:
    """Bricks or tiles, with joints in the dark colour."""
    rows, columns = int(rng.choice([2, 4, 8])), int(rng.choice([2, 4]))
    shift = rng.choice([0, 0.5])
    down = np.arange(SIDE)[:, None] / SIDE * rows
    across = np.arange(SIDE)[None] / SIDE * columns + shift * (np.floor(down) % 2)
    tone = rng.uniform(-0.25, 0.25, (rows, columns))[np.floor(down).astype(int), np.floor(across).astype(int) % columns]
    joint = np.minimum(np.minimum(across % 1, 1 - across % 1) / columns, np.minimum(down % 1, 1 - down % 1) / rows)
    return blend(np.where(joint < 0.012, 1, 0.3 + tone + 0.2 * noise(rng, 1.2)), light, dark)


def anything(rng: np.random.Generator, contrast: float = 1.0) -> Picture:
    """Of any kind and in any two colours, which ``contrast`` < 1 brings together: for floors, walls, clothes."""
    kinds = (grain, veins, speckles, brushed, blotches, stripes, spots, tiles, tiles, blotches)
    kind = kinds[rng.integers(len(kinds))]
    light, dark = color(rng, (0, 0.7), (0.55, 1)), color(rng, (0, 0.9), (0.1, 0.6))
    middle = (1 - contrast) * (light + dark) / 2
    return kind(rng, middle + contrast * light, middle + contrast * dark)


def sky(rng: np.random.Generator) -> Picture:
    """(128, 128) over elevation, from the horizon up, and azimuth."""
    horizon, zenith = color(rng, (0, 0.4), (0.6, 1)), near(rng, rng.uniform(0.5, 0.75), 0.5, rng.uniform(0.3, 0.9))
    height = np.linspace(0, 1, SIDE)[:, None]
    base = horizon + height[..., None] * (zenith - horizon)
    clouds = (rng.uniform(0, 2) * noise(rng, 1.8, 0.7)).clip(0, 1)[..., None] * 0.7
    return (base + clouds * (rng.uniform(150, 255) - base)).clip(0, 255).astype(np.uint8)
