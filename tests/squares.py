"""A data set of coloured squares with masks and boxes, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sslzoo.data.source import Annotation, DatasetInfo, NamedDataset, Source, Unreadable
from sslzoo.data.splits import check_split
from sslzoo.views import Sample

COLORS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230)}


@dataclass
class Squares(Source):
    """Pictures of 64 x 48 pixels, each with one or two squares on grey noise; the colour tells the class."""

    samples: int = 16
    name: str = "squares[train]"
    seed: int = 0
    broken: tuple[int, ...] = ()
    width: int = 64
    height: int = 48
    difficult: bool = False
    """Whether the first square of each picture is to be ignored."""
    squares: int = 2

    def __post_init__(self) -> None:
        self.class_names = tuple(COLORS)
        self.mask_names = ("background", *COLORS)

    def __len__(self) -> int:
        return self.samples

    @property
    def fingerprint(self) -> str:
        return repr((self.samples, self.seed, self.broken, self.width, self.height, self.difficult, self.squares))

    def read(self, index: int) -> Sample:
        if index in self.broken:
            raise Unreadable(f"picture {index}: torn")
        pixels = np.random.default_rng((self.seed, index)).integers(90, 130, (self.height, self.width, 3))
        for (left, top, right, bottom), label in self._squares(index):
            pixels[top:bottom, left:right] = COLORS[self.class_names[label]]
        return {"image": Image.fromarray(pixels.astype(np.uint8))}

    def annotation(self, index: int) -> Annotation:
        squares = self._squares(index)
        mask = torch.zeros(self.height, self.width, dtype=torch.uint8)
        for (left, top, right, bottom), label in squares:
            mask[top:bottom, left:right] = 1 + label
        return Annotation(
            mask=mask,
            boxes=torch.tensor([corners for corners, _ in squares], dtype=torch.float32),
            labels=torch.tensor([label for _, label in squares]),
            ignored=torch.tensor([True, False][: self.squares]) if self.difficult else None,
        )

    def labels(self) -> Tensor:
        return torch.tensor([self._squares(index)[0][1] for index in range(len(self))])

    def _squares(self, index: int) -> list[tuple[tuple[int, int, int, int], int]]:
        """They do not overlap: one in each half of the picture."""
        generator = np.random.default_rng((self.seed, index, 1))
        squares = []
        for half in range(self.squares):
            side = int(generator.integers(12, min(self.width // 2, self.height)))
            left = half * self.width // 2 + int(generator.integers(0, self.width // 2 - side + 1))
            top = int(generator.integers(0, self.height - side + 1))
            squares.append(((left, top, left + side, top + side), int(generator.integers(len(COLORS)))))
        return squares


class ColoredSquares(NamedDataset):
    """The same by name, to be installed."""

    info = DatasetInfo(
        name="colored-squares",
        splits=("train", "test"),
        modalities=("image",),
        license="CC0-1.0",
        homepage="https://example.org",
        summary="Squares with masks and boxes.",
    )

    def open(self, split: str) -> Source:
        check_split(split, self.info.splits, self.info.name)
        return Squares(12, f"colored-squares[{split}]", seed=self.info.splits.index(split))
