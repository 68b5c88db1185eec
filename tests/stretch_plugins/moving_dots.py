"""A data set of clips with sound: a dot crosses the frame, and its pitch follows its height."""

from __future__ import annotations

import torch
from PIL import Image

from sslzoo.data.source import DatasetInfo, NamedDataset, Source
from sslzoo.method import Sample

FRAMES, SIZE, BANDS = 4, 32, 32


class MovingDotsSplit(Source):
    name = "moving-dots[train]"
    license = "CC0-1.0"
    fingerprint = "moving-dots"

    def __len__(self) -> int:
        return 48

    def read(self, index: int) -> Sample:
        clip = torch.zeros(FRAMES, 3, SIZE, SIZE, dtype=torch.uint8)
        audio = torch.zeros(1, BANDS, FRAMES)
        for frame in range(FRAMES):
            row, column = (index * 7) % 24, (index * 5 + 6 * frame) % 24
            clip[frame, index % 3, row : row + 8, column : column + 8] = 200
            audio[0, BANDS - 1 - row, frame] = 1.0
        image = Image.fromarray(clip[0].permute(1, 2, 0).numpy())
        return {"image": image, "clip": clip, "audio": audio}


class MovingDots(NamedDataset):
    info = DatasetInfo(
        name="moving-dots",
        splits=("train",),
        modalities=("image", "clip", "audio"),
        license="CC0-1.0",
        homepage="https://example.org/moving-dots",
        summary="A dot that moves and sounds.",
    )

    def open(self, split: str) -> Source:
        return MovingDotsSplit()
