"""The two views of SimCLR beside lightly's and torchvision's transforms: samples per second on one core.

    make .venv-rivals/installed && .venv-rivals/bin/python benchmarks/views.py

All sides cut the same photographs by the same table (crop of at least 8 % of the area, flip, jitter, grey, blur,
normalisation) into batches of float32 tensors, on one thread. Photographs are pieces of scikit-learn's two samples.
Decoding is measured apart from and with it, from files in memory; 32 px views are cut of 32 px pictures, as of CIFAR,
64 px of 96 px, as of STL-10, 224 px of 300 px, as of ImageNet. torchvision's is its v2 by the recipe of its own
references: a PIL picture to a tensor, then everything on tensors. ``views.json`` keeps all of it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # as the sslzoo command sets it, for all sides; torch reads it once

import torch
import tyro
from budgets import VIEWS, verdict
from lightly.transforms import SimCLRTransform
from photographs import photographs
from PIL import Image
from side_by_side import line, measure, write
from torchvision.transforms import v2

from sslzoo.data.images import decode_image, with_channels
from sslzoo.encoders import InputSpec
from sslzoo.views.crop import as_pixels
from sslzoo.views.two_views import SIMCLR_TABLE, TwoViews

BATCH = 64
SIDES = {32: 32, 64: 96, 224: 300}
"""Pixels of views, and of the pictures they are cut of."""
FORMATS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 90, "subsampling": 2},
    "WebP": {"quality": 90, "method": 0},
}


@dataclass(frozen=True)
class Arguments:
    """Time all sides, print a table and write it as JSON."""

    sizes: tuple[int, ...] = tuple(SIDES)
    """Pixels of the views."""
    turns: int = 9
    """Of each side."""
    out: Path | None = Path(__file__).with_suffix(".json")


def main() -> None:
    """Measure, print, write."""
    arguments = tyro.cli(Arguments, description=__doc__)
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for size in arguments.sizes:
        pictures = list(photographs(SIDES[size], BATCH))
        sides: dict[str, Callable[..., Any]] = {
            "sslzoo": partial(our_views, TwoViews(InputSpec.square(size), SIMCLR_TABLE, 0.08, 1.0)),
            "lightly": partial(their_views, SimCLRTransform(input_size=size)),
            "torchvision": partial(their_views, torchvision_transform(size)),
        }
        for form in ("decoded", *FORMATS):
            given = pictures if form == "decoded" else [encoded(picture, form) for picture in pictures]
            for rival in ("lightly", "torchvision"):
                name = f"{size} px, {form}, {rival}"
                pair = {side: partial(sides[side], given) for side in (rival, "sslzoo")}
                timed = measure(lambda pair=pair: pair, arguments.turns)  # type: ignore[misc]
                speeds = {side: round(BATCH / timed["processor"][side]) for side in pair}
                results[name] = timed | {"samples_per_second": speeds}
                print(line(name, timed), f"| {speeds}", judged(size, form, rival, timed), flush=True)
    write(arguments.out, arguments.turns, ("torchvision", "lightly"), results, batch=BATCH, threads=1)


def judged(size: int, form: str, rival: str, result: dict[str, Any]) -> str:
    if form != "decoded" or rival != "lightly":
        return ""
    return f"| budget {VIEWS[size]}: {verdict(result['processor']['ratio'], VIEWS[size])}"


def our_views(views: TwoViews, given: list[Any]) -> list[torch.Tensor]:
    """As in training, where a picture is made a tensor once for both views: that is part of our work."""
    pictures = [decode_image(one, "photograph") if isinstance(one, bytes) else one for one in given]
    images = [as_pixels(with_channels(picture, 3)) for picture in pictures]
    return views([{"image": image, "index": i, "key": 7919 * i} for i, image in enumerate(images)])["views"]


def their_views(transform: Callable[[Image.Image], Any], given: list[Any]) -> list[torch.Tensor]:
    pictures = [Image.open(io.BytesIO(one)).convert("RGB") if isinstance(one, bytes) else one for one in given]
    return [torch.stack(views) for views in zip(*map(transform, pictures), strict=True)]


def torchvision_transform(size: int) -> Callable[[Image.Image], Any]:
    """The same table by torchvision's v2."""
    blur = v2.GaussianBlur(size // 20 * 2 + 1, (0.1, 2.0)) if size >= 20 else v2.Identity()
    spec = InputSpec.square(size)
    one = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(size, (0.08, 1.0), interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([blur], 0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(spec.mean, spec.std),
        ]
    )
    return lambda picture: (one(picture), one(picture))


def encoded(picture: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **FORMATS[form])
    return file.getvalue()


if __name__ == "__main__":
    main()
