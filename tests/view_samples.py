"""Pictures and colours for the tests of the views."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sslzoo.views.keyed import Draw

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


def draw_of(count: int, seed: int = 0) -> Draw:
    return Draw.root(seed).of(torch.arange(count))


def picture(height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth in one half, noise in the other."""
    noise = np.random.default_rng([seed, height, width]).integers(0, 256, (height, width, CHANNELS[mode]), np.uint8)
    noise[: height // 2] = np.linspace(0, 255, width, dtype=np.uint8)[:, None]
    return Image.fromarray(noise.squeeze(2) if mode == "L" else noise)


def colors(count: int, channels: int = 3, size: int = 12) -> Tensor:
    """Noise, and the pixels on which hue is hard: grey, nearly grey, dark, pure and with two equal channels."""
    images = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(count))
    images[0] = 0.5
    images[1] = images[1].round()
    images[2] *= 1e-4
    images[3] = 0.5 + 1e-4 * images[3]
    images[4] = (images[4] * 255).round() / 255
    images[5, -1] = images[5, 0]
    return images
