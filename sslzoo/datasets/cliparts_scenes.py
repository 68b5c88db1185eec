"""Scenes of clip art with masks and boxes, composed when read: segmentation and detection without files.

One to five of cliparts' labelled cut-outs lie on a drawn ground, mirrored, tilted, of several sizes, one over another.
The scenes of ``train`` and ``test`` are made of the cut-outs of cliparts' ``train`` and ``test``, which share none. All
classes are equally frequent. What is random of a scene is a function of its split and its number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sslzoo.config import UsageError
from sslzoo.data.source import Annotation, DatasetInfo, NamedDataset, Source
from sslzoo.data.splits import check_split, slices
from sslzoo.datasets.cliparts import Cliparts
from sslzoo.datasets.grounds import Grounds
from sslzoo.views import Draw, Sample

VERSION = 1
"""Of the composing: another number where another picture, mask or box comes out."""
LENGTHS = {"train": 2000, "test": 500}
SIDE = 128

MOST = 5
"""Objects in a scene; the least is one."""
SIZES = (28, 92)
"""Pixels of an object's longer side, before it is tilted; small ones are more frequent."""
ENLARGED = 1.5
"""Cut-outs are enlarged no further."""
TILT = 20
"""Degrees, either way."""
OUTSIDE = 0.15
"""Share of an object's width and height that may lie outside of the scene."""
VISIBLE = 0.4
"""Share of an object that others and the scene's edge must leave in sight; one that shows less is left out."""
SMALLEST = 24
"""Pixels of an object that must be in sight."""


class ClipartsScenes(NamedDataset):
    info = DatasetInfo(
        name="cliparts-scenes",
        splits=("train", "test"),
        modalities=("image",),
        license="LicenseRef-Public-Domain",
        homepage="https://openclipart.org",
        summary="Scenes at 128 px composed of cliparts' cut-outs, with masks and boxes for segmentation and detection.",
    )

    def open(self, split: str) -> Source:
        check_split(split, self.info.splits, self.info.name)
        parts = slices(split, LENGTHS, self.info.name)
        return Scenes(f"{self.info.name}[{split}]", [(part, number) for part, rows in parts for number in rows])


class Scenes(Source):
    """Some of the scenes: ``image`` is RGB of 128 x 128 px, each object has a box, no part of a mask is 255."""

    license = ClipartsScenes.info.license

    def __init__(self, name: str, rows: Sequence[tuple[str, int]]) -> None:
        """``rows`` are the scenes' splits and numbers in them.

        Raises:
            UsageError: if there are none.
        """
        if not rows:
            raise UsageError(f"{name} has no samples")
        self.name, self.rows = name, rows
        self._layouts = {split: Layout(split) for split in sorted({split for split, _ in rows})}
        self.class_names = next(iter(self._layouts.values())).cutouts.class_names
        self.mask_names = ("background", *self.class_names)
        self._latest: tuple[int, Scene] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Sample:
        return {"image": self._scene(index).picture.copy()}

    def annotation(self, index: int) -> Annotation:
        scene = self._scene(index)
        return Annotation(
            mask=torch.tensor(scene.mask),
            boxes=torch.tensor(scene.boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(scene.labels, dtype=torch.int64),
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the composing's version, of the cut-outs' fingerprints, and of which scenes these are.

        Of nothing that is composed: the last bit of a resized picture may differ between processors.
        """
        cutouts = {split: layout.cutouts.fingerprint for split, layout in self._layouts.items()}
        return hashlib.sha256(repr((ClipartsScenes.info.name, VERSION, cutouts, list(self.rows))).encode()).hexdigest()

    def _scene(self, index: int) -> Scene:
        """Kept until another is asked for, as the picture and its annotation are wanted together."""
        if self._latest is None or self._latest[0] != index:
            split, number = self.rows[index]
            layout = self._layouts[split]
            self._latest = (
                index,
                Scene.compose(layout.objects(number), layout.count(number), layout.grounds.draw(number)),
            )
        return self._latest[1]


class Layout:
    """What lies where in all scenes of a split: everything random is drawn at once."""

    def __init__(self, split: str) -> None:
        draw = Draw.root(VERSION).at(split).of(torch.arange(LENGTHS[split]))
        self.cutouts = Cliparts().open(split)
        self.grounds = Grounds(draw.at("ground"), SIDE)
        self._members = _by_class(self.cutouts)
        self._count = 1 + draw.integers("count", MOST)
        self._label = draw.integers("label", len(self._members), (MOST,))
        self._pick = draw.uniform("pick", shape=(MOST,))
        self._pose = (
            SIZES[0] * (SIZES[1] / SIZES[0]) ** draw.uniform("size", shape=(MOST,)),
            draw.bernoulli("mirrored", 0.5, (MOST,)),
            draw.uniform("angle", -TILT, TILT, (MOST,)),
        )
        self._place = draw.uniform("place", shape=(MOST, 2))

    def count(self, number: int) -> int:
        """How many objects a scene is to have."""
        return int(self._count[number])

    def objects(self, number: int) -> Iterator[Placed]:
        """What a scene is to be made of, the front first."""
        for place in range(MOST):
            label = int(self._label[number, place])
            own = self._members[label]
            cutout = self.cutouts.read(own[int(self._pick[number, place] * len(own))])["image"]
            image = _posed(cutout, *(float(values[number, place]) for values in self._pose))
            left, top = _corner(image, *self._place[number, place].tolist())
            yield Placed(image, left, top, label)


@dataclass(frozen=True, eq=False)
class Placed:
    """A cut-out as it lies in a scene."""

    image: Image.Image
    """RGBA."""
    left: int
    """Where in the scene its corner is; it may lie outside."""
    top: int
    label: int

    @cached_property
    def opaque(self) -> NDArray[np.bool_]:
        """(h, w): where it is more seen than seen through."""
        return np.asarray(self.image.getchannel("A")) > 127

    def inside(self) -> NDArray[np.bool_]:
        """(128, 128): where it is opaque, in the scene."""
        height, width = self.opaque.shape
        top, left = max(0, -self.top), max(0, -self.left)
        part = self.opaque[top : SIDE - self.top, left : SIDE - self.left]
        mask = np.zeros((SIDE, SIDE), np.bool_)
        mask[max(0, self.top) : self.top + height, max(0, self.left) : self.left + width] = part
        return mask


@dataclass(frozen=True, eq=False)
class Scene:
    """A composed picture with what is in it."""

    picture: Image.Image
    mask: NDArray[np.uint8]
    """(128, 128): 0 is the ground, the others are positions in class names plus 1."""
    boxes: list[tuple[int, int, int, int]]
    """Of what is seen of each object, the front first."""
    labels: list[int]

    @classmethod
    def compose(cls, objects: Iterable[Placed], count: int, ground: Image.Image) -> Scene:
        """On ``ground`` the first ``count`` of ``objects``, the front first, that enough is seen of."""
        mask = np.zeros((SIDE, SIDE), np.uint8)
        kept, boxes = [], []
        for placed in objects:
            seen = placed.inside() & (mask == 0)
            if seen.sum() >= max(SMALLEST, VISIBLE * placed.opaque.sum()):
                mask[seen] = 1 + placed.label
                kept.append(placed)
                boxes.append(_box(seen))
                if len(kept) == count:
                    break
        for placed in reversed(kept):
            ground.paste(placed.image, (placed.left, placed.top), placed.image)
        return cls(ground, mask, boxes, [placed.label for placed in kept])


def _by_class(cutouts: Source) -> list[list[int]]:
    labels = cutouts.labels()
    return [(labels == label).nonzero()[:, 0].tolist() for label in range(len(cutouts.class_names))]


def _posed(cutout: Image.Image, size: float, mirrored: float, angle: float) -> Image.Image:
    """RGBA with ``size`` as its longer side, then turned; in premultiplied alpha, so that no hidden colour shows."""
    image = cutout.convert("RGBA").convert("RGBa")
    scale = min(ENLARGED, size / max(image.size))
    image = image.resize((max(1, round(scale * image.width)), max(1, round(scale * image.height))))
    image = ImageOps.mirror(image) if mirrored else image
    return image.rotate(angle, Image.Resampling.BILINEAR, expand=True).convert("RGBA")


def _corner(image: Image.Image, across: float, down: float) -> tuple[int, int]:
    """Left and top, where 0 is as far out as may be on one side, and 1 on the other."""
    left, top = (
        round(-OUTSIDE * length + share * (SIDE - (1 - 2 * OUTSIDE) * length))
        for share, length in zip((across, down), image.size, strict=True)
    )
    return left, top


def _box(seen: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
