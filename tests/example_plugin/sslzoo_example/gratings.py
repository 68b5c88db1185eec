"""Gratings: sine waves in two colours, drawn when read. Their direction is the human label.

Wavelength, phase, colours and size are drawn anew for every sample, so that nothing but the direction tells the label.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from sslzoo.data.source import DatasetInfo, NamedDataset, Source
from sslzoo.data.splits import check_split, slices
from sslzoo.method import Sample
from torch import Tensor

VERSION = 1
"""Of the drawing: another number where other pictures come out."""
LENGTHS = {"train": 256, "test": 128}
SEEDS = {"train": 0, "test": 1}
CLASS_NAMES = ("0°", "30°", "60°", "90°", "120°", "150°")


class Gratings(NamedDataset):
    info = DatasetInfo(
        name="gratings",
        splits=("train", "test"),
        modalities=("image",),
        license="CC0-1.0",
        homepage="https://example.org/sslzoo-example",
        summary="Sine waves in six directions and any colours, drawn when read.",
        contract=1,
    )

    def open(self, split: str) -> Source:
        check_split(split, self.info.splits, self.info.name)
        parts = slices(split, LENGTHS, self.info.name)
        return Waves(f"{self.info.name}[{split}]", [(part, number) for part, rows in parts for number in rows])


class Waves(Source):
    """Some of the gratings: ``image`` is a PIL image of 40 to 64 px a side."""

    license = Gratings.info.license
    class_names = CLASS_NAMES

    def __init__(self, name: str, rows: Sequence[tuple[str, int]]) -> None:
        """``rows`` are the samples' splits and numbers in them."""
        self.name, self.rows = name, rows

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Sample:
        split, number = self.rows[index]
        rng = np.random.default_rng((SEEDS[split], number))
        height, width = rng.integers(40, 65, 2)
        angle = math.pi * (number % len(CLASS_NAMES)) / len(CLASS_NAMES)
        row, column = np.mgrid[:height, :width]
        along = column * math.cos(angle) + row * math.sin(angle)
        share = 0.5 + 0.5 * np.sin(2 * math.pi * (along / rng.uniform(5, 12) + rng.random()))
        dark, bright = rng.uniform(0, 110, 3), rng.uniform(145, 255, 3)
        pixels = dark + share[..., None] * (bright - dark)
        return {"image": Image.fromarray(pixels.round().astype(np.uint8))}

    def labels(self) -> Tensor:
        return torch.tensor([number % len(CLASS_NAMES) for _, number in self.rows])

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr((Gratings.info.name, VERSION, self.rows)).encode()).hexdigest()
