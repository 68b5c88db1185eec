"""A data set of clips with depth, in memory: grey walls, the brighter the nearer, and sky that is infinitely far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sslzoo.data.source import Annotation, DatasetInfo, NamedDataset, Source, Unreadable
from sslzoo.data.splits import check_split
from sslzoo.views import Sample

FRAMES, HEIGHT, WIDTH = 6, 40, 48


@dataclass
class Walls(Source):
    """Two walls side by side, each at a depth of 1 to 4 metres, on which 200 / depth is added to a grey of 20 to 40.

    The upper quarter is sky. ``pictures`` gives the first frame of each clip as an image with an annotation.
    """

    samples: int = 12
    name: str = "walls[train]"
    seed: int = 0
    broken: tuple[int, ...] = ()
    pictures: bool = False

    def __len__(self) -> int:
        return self.samples

    @property
    def fingerprint(self) -> str:
        return repr((self.samples, self.seed, self.broken, self.pictures))

    def read(self, index: int) -> Sample:
        if index in self.broken:
            raise Unreadable(f"clip {index}: torn")
        generator = np.random.default_rng((self.seed, index))
        depth = np.full((FRAMES, 1, HEIGHT, WIDTH), np.inf, np.float32)
        depth[:, :, HEIGHT // 4 :, : WIDTH // 2] = generator.uniform(1, 4, (FRAMES, 1, 1, 1))
        depth[:, :, HEIGHT // 4 :, WIDTH // 2 :] = generator.uniform(1, 4, (FRAMES, 1, 1, 1))
        pixels = generator.uniform(20, 40, (FRAMES, 3, HEIGHT, WIDTH)) + 200 / depth
        clip = torch.from_numpy(pixels.astype(np.uint8))
        if self.pictures:
            return {"image": clip[0]}
        return {"clip": clip, "depth": torch.from_numpy(depth)}

    def annotation(self, index: int) -> Annotation:
        clips = Walls(self.samples, self.name, self.seed)
        return Annotation(depth=clips.read(index)["depth"][0, 0])

    def labels(self) -> torch.Tensor:
        return torch.zeros(self.samples, dtype=torch.int64)


class DepthClips(NamedDataset):
    """The same by name, to be installed."""

    info = DatasetInfo(
        name="walls",
        splits=("train", "test"),
        modalities=("clip",),
        license="CC0-1.0",
        homepage="https://example.org",
        summary="Walls with depth.",
    )

    def open(self, split: str) -> Source:
        check_split(split, self.info.splits, self.info.name)
        return Walls(8, f"walls[{split}]", seed=self.info.splits.index(split))
