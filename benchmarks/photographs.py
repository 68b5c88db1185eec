"""The pictures that all sides of a benchmark are given: pieces of scikit-learn's two sample photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def photographs(side: int, number: int) -> Iterator[Image.Image]:
    """Square pieces of two photographs, each of half to all of their height, at ``side`` pixels."""
    generator = np.random.default_rng(0)
    whole = [Image.fromarray(array) for array in load_sample_images().images]
    for place in range(number):
        picture = whole[place % len(whole)]
        width, height = picture.size
        edge = int(generator.uniform(0.5, 1) * height)
        left, top = (int(generator.uniform(0, room - edge)) for room in (width, height))
        yield picture.resize((side, side), Image.Resampling.LANCZOS, (left, top, left + edge, top + edge))


def write_photographs(folder: Path, number: int, side: int) -> Path:
    """PNG files of ``side`` pixels in one class folder, as lightly's data set and torchvision's want it."""
    (folder / "all").mkdir(parents=True)
    for place, picture in enumerate(photographs(side, number)):
        picture.save(folder / "all" / f"{place:05}.png", compress_level=1)
    return folder
