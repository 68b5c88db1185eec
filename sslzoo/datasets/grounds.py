"""Grounds to lay cut-outs on: colours that run into each other, a pattern, blotches, and shapes that are no objects."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageDraw

from sslzoo.views import Draw

SHAPES = 6
"""Of the litter, at most."""
CORNERS = 6
PATTERNS = ("plain", "waves", "stripes", "checks")


class Grounds:
    """Pictures of ``side`` pixels, one for each key of ``draw``: all that is random is drawn at once."""

    def __init__(self, draw: Draw, side: int) -> None:
        self.side = side
        base, spread = draw.uniform("base", 40, 256, (1, 1, 3)), draw.uniform("spread", 0, 110, (1, 1, 1))
        wash = base + spread * draw.uniform("wash", -1, 1, (3, 3, 3))
        self.wash = wash.clamp(0, 255).byte().numpy()
        height = draw.uniform("height", 0, 30, (1, 1)) * draw.bernoulli("blotched", 0.5, (1, 1))
        self.blotches = (height * draw.uniform("blotches", -1, 1, (12, 12))).numpy()
        self.pattern = draw.integers("pattern", len(PATTERNS))
        self.strength = draw.uniform("strength", -45, 45, (3,)).numpy()
        length, angle = draw.uniform("length", 6, 40), draw.uniform("direction", 0, math.pi)
        self.wave = (torch.stack([angle.cos() / length, angle.sin() / length], 1) * 2 * math.pi).numpy()
        self.count = draw.integers("litter", SHAPES + 1)
        self.colors = draw.integers("color", 256, (SHAPES, 3))
        self.corners = draw.integers("corners", CORNERS - 1, (SHAPES,))
        center, radius = draw.uniform("center", 0, side, (SHAPES, 1, 2)), draw.uniform("radius", 4, 36, (SHAPES, 1, 1))
        turns = draw.uniform("turn", shape=(SHAPES, CORNERS)).sort().values * 2 * math.pi
        self.outline = center + radius * torch.stack([turns.cos(), turns.sin()], -1)

    def draw(self, number: int) -> Image.Image:
        """The ground of one key, RGB."""
        size = self.side, self.side
        wash = Image.fromarray(self.wash[number]).resize(size, Image.Resampling.BICUBIC)
        blotches = Image.fromarray(self.blotches[number]).resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(wash) + np.asarray(blotches)[..., None]
        pixels += self._wave(number)[..., None] * self.strength[number]
        ground = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        litter = self._litter(number)
        ground.paste(litter, mask=litter)
        return ground

    def _wave(self, number: int) -> np.ndarray:
        """(side, side) in [-1, 1]."""
        pattern = PATTERNS[int(self.pattern[number])]
        if pattern == "plain":
            return np.zeros((self.side, self.side), np.float32)
        across, down = self.wave[number]
        steps = np.arange(self.side, dtype=np.float32)
        phase = across * steps + down * steps[:, None]
        wave = np.sin(phase)
        if pattern == "checks":
            wave = wave * np.sin(across * steps[:, None] - down * steps)
        return wave if pattern == "waves" else (4 * wave).clip(-1, 1)

    def _litter(self, number: int) -> Image.Image:
        """RGBA: polygons, or discs where two corners are left, drawn twice as large for smooth edges."""
        layer = Image.new("RGBA", (2 * self.side, 2 * self.side))
        pen = ImageDraw.Draw(layer)
        for place in range(int(self.count[number])):
            corners = 2 + int(self.corners[number, place])
            outline = [tuple(point) for point in (2 * self.outline[number, place, :corners]).tolist()]
            color = tuple(self.colors[number, place].tolist())
            if corners == 2:
                (left, top), (right, bottom) = zip(*map(sorted, zip(*outline, strict=True)), strict=True)
                pen.ellipse((left, top, right, bottom), fill=color)
            else:
                pen.polygon(outline, fill=color)
        return layer.reduce(2)
