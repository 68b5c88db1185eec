"""A data set of a few small pictures, in memory."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sslzoo.data.source import Source, Unreadable
from sslzoo.views import Sample


class TinySource(Source):
    """Noisy pictures whose colour tells the class, which goes round: 0, 1, 2, 0, …"""

    def __init__(
        self,
        samples: int = 12,
        name: str = "tiny[train]",
        seed: int = 0,
        classes: tuple[str, ...] = ("red", "green", "blue"),
        broken: tuple[int, ...] = (),
        size: int = 16,
    ) -> None:
        self.samples, self.name, self.seed, self.class_names = samples, name, seed, classes
        self.broken, self.size = broken, size

    def __len__(self) -> int:
        return self.samples

    def read(self, index: int) -> Sample:
        if index in self.broken:
            raise Unreadable(f"picture {index}: torn")
        pixels = np.random.default_rng((self.seed, index)).integers(0, 128, (self.size, self.size, 3))
        pixels[:, :, index % len(self.class_names) % 3] += 100
        return {"image": Image.fromarray(pixels.astype(np.uint8))}

    @property
    def fingerprint(self) -> str:
        return f"{self.samples}-{self.seed}-{len(self.class_names)}-{self.broken}"

    def labels(self) -> Tensor:
        return torch.arange(self.samples) % len(self.class_names)
