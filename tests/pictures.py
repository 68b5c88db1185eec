"""Small pictures and data sets of them, for the tests of the data layer."""

from __future__ import annotations

import io
from pathlib import Path

import datasets
import torch
from PIL import Image

from sslzoo.views import Batch, Draw, Sample, Views, draw_for

datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0  # else 5 s after each pass over a stream of parquet files


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(number: int) -> bytes:
    """A PNG of 8 x 8 pixels, all of which spell ``number`` (below 65536) in red and green."""
    return encoded(Image.new("RGB", (8, 8), (number // 256, number % 256, 128)))


def number_of(image: Image.Image | torch.Tensor) -> int:
    """What ``picture`` was given."""
    red, green, _ = image[:, 0, 0].tolist() if isinstance(image, torch.Tensor) else image.getpixel((0, 0))
    return red * 256 + green


def write_folder(root: Path, paths: list[str]) -> Path:
    """A file for each of ``paths``, spelling its place among them."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(picture(number))
    return root


def table(numbers: list[int], **columns: list) -> datasets.Dataset:
    """A table of pictures in the column ``image``, and other columns."""
    cells = [{"bytes": picture(number), "path": None} for number in numbers]
    return datasets.Dataset.from_dict({"image": cells, **columns}).cast_column("image", datasets.Image())


def write_shards(folder: Path, shards: int, rows: int, split: str = "train") -> Path:
    """Parquet files with ``rows`` pictures each, numbered through, with a label column."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        numbers = list(range(shard * rows, (shard + 1) * rows))
        labels = [number % 3 for number in numbers]
        table(numbers, label=labels).to_parquet(folder / f"{split}-{shard:05}-of-{shards:05}.parquet")
    return folder


class Noisy(Views):
    """The pictures, each with noise of its own from the workers and from the second half."""

    def crop(self, samples: list[Sample]) -> Batch:
        assert all(set(sample) == {"image", "index", "key"} for sample in samples)
        pixels = torch.stack([sample["image"][:, :4, :4] for sample in samples])
        return {"pixels": pixels, "noise": draw_for(samples).uniform("noise")}

    def augment(self, batch: Batch) -> Batch:
        return {**batch, "more": Draw(batch["key"]).uniform("more")}
