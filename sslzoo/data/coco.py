"""Folders laid out as COCO's: ``annotations/instances_<split>.json``, and the images of each split in a folder.

The splits are called as the files are, and also without the year (train2017, train) where only one year is there.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as masks

from sslzoo.config import UsageError, UserError
from sslzoo.data.annotated import AnnotatedRows, Annotations
from sslzoo.data.annotation import VOID, annotate
from sslzoo.data.rows import rows_of_files
from sslzoo.data.source import Annotation, Source, Unreadable
from sslzoo.data.splits import check_split, slices

_FILES = "instances_*.json"


@dataclass(frozen=True)
class COCOFolder:
    """Such a folder: the file of each of its splits."""

    root: Path
    splits: dict[str, Path]

    @staticmethod
    def matches(path: Path) -> bool:
        """Whether a folder is laid out so."""
        return any((path / "annotations").glob(_FILES))

    @classmethod
    def scan(cls, path: Path) -> COCOFolder:
        """Reads no file."""
        root = path.expanduser().resolve()
        files = {file.stem.removeprefix("instances_"): file for file in sorted((root / "annotations").glob(_FILES))}
        plain = {name: re.sub(r"20\d\d$", "", name) for name in files}
        number = Counter(plain.values())
        short = {plain[name]: file for name, file in files.items() if plain[name] and number[plain[name]] == 1}
        return cls(root, short | files)

    @property
    def name(self) -> str:
        """Without the path, which is this machine's."""
        return f"folder:{self.root.name}"

    def open(self, split: str, image_column: str = "", label_column: str = "") -> Source:
        """The images of a split or a slice of one, with their annotations.

        Raises:
            UserError: if a file is not as COCO's are, or its images are nowhere.
        """
        check_split(split, list(self.splits), self.name)
        names = {name for name, _ in slices(split, dict.fromkeys(self.splits, 100), self.name)}
        found = {name: self._read(name) for name in names}
        parts = slices(split, {name: len(images) for name, (images, _) in found.items()}, self.name)
        images = [image for name, part in parts for image in found[name][0][part.start : part.stop]]
        if len({classes for _, classes in found.values()}) > 1:
            raise UsageError(f"the parts of {self.name}[{split}] do not have the same classes: choose one of them")
        files = [image.file for image in images]
        rows = rows_of_files(self.root, files, f"{self.name}[{split}]", image_column, label_column)
        return AnnotatedRows(rows, COCOAnnotations(images, found[parts[0][0]][1]))

    def _read(self, split: str) -> tuple[list[Objects], tuple[str, ...]]:
        """The images of a split, and the names of the classes."""
        file = self.splits[split]
        folder = self._images(file.stem.removeprefix("instances_"))
        place = f"annotations/{file.name} of {self.name}"
        try:
            return _parsed(json.loads(file.read_text("utf-8")), folder)
        except OSError as error:
            raise UserError(f"{place} cannot be read: {error.strerror or error}") from error
        except KeyError as error:
            raise UserError(f"{place} is not as COCO's are: something in it has no {error}") from error
        except (ValueError, TypeError, OverflowError) as error:
            raise UserError(f"{place} is not as COCO's are: {' '.join(str(error).split())}") from error

    def _images(self, split: str) -> str:
        for folder in (split, f"images/{split}", "images"):
            if (self.root / folder).is_dir():
                return folder
        raise UserError(f"{self.name} has no folder {split} with the images of annotations/instances_{split}.json")


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """What is in one image: in arrays and a text, for a hundred thousand of these travel to workers."""

    file: str
    """From the folder's root."""
    size: tuple[int, int]
    """Width and height of what was drawn on."""
    boxes: np.ndarray
    """(N, 4) left, top, right, bottom."""
    labels: np.ndarray
    """(N,) int64, places in the order of the categories' ids."""
    crowd: np.ndarray
    """(N,) bool."""
    outlines: str
    """JSON of N outlines; of null, if no image of the split has any."""


class COCOAnnotations(Annotations):
    """Boxes, of which crowds are ignored; and masks painted of the outlines, if there are any.

    A mask shows the smaller of two objects that overlap; a crowd is not to be scored, but for the objects in it.
    """

    def __init__(self, images: Sequence[Objects], class_names: tuple[str, ...]) -> None:
        outlined = (
            any(image.outlines != "null" for image in images) and len(class_names) < VOID
        )  # or a byte cannot say it
        self.class_names = class_names
        self.mask_names = ("background", *class_names) if outlined else ()
        self._images = images

    def of(self, index: int, name: str, size: tuple[int, int]) -> Annotation:
        image = self._images[index]
        if image.size != size:
            drawn, real = (f"{width} x {height}" for width, height in (image.size, size))
            raise Unreadable(f"{name}: was annotated at {drawn} pixels, but has {real}")
        return annotate(
            name,
            size,
            mask=_painted(image, name) if self.mask_names else None,
            classes=len(self.mask_names),
            boxes=image.boxes,
            labels=image.labels,
            ignored=image.crowd,
        )

    def things(self, index: int) -> tuple[Sequence[int], Sequence[bool]]:
        return self._images[index].labels.tolist(), self._images[index].crowd.tolist()

    def content(self, index: int) -> bytes:
        image = self._images[index]
        arrays = (image.boxes.astype("<f8"), image.labels.astype("<i8"), image.crowd)
        return repr(image.size).encode() + b"".join(array.tobytes() for array in arrays) + image.outlines.encode()


def _parsed(content: dict[str, Any], folder: str) -> tuple[list[Objects], tuple[str, ...]]:
    categories = sorted(content["categories"], key=lambda category: category["id"])
    position = {category["id"]: place for place, category in enumerate(categories)}
    things: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation["image_id"] not in things or annotation["category_id"] not in position:
            raise ValueError(f"annotation {annotation.get('id')} is of an image or a category that is not listed")
        things[annotation["image_id"]].append(annotation)
    outlined = any(annotation.get("segmentation") for annotation in content["annotations"])
    images = [
        Objects(
            file=f"{folder}/{image['file_name']}",
            size=(int(image["width"]), int(image["height"])),
            boxes=_corners([thing["bbox"] for thing in things[image["id"]]]),
            labels=np.array([position[thing["category_id"]] for thing in things[image["id"]]], np.int64),
            crowd=np.array([bool(thing.get("iscrowd")) for thing in things[image["id"]]], np.bool_),
            outlines=json.dumps([thing.get("segmentation") for thing in things[image["id"]]] if outlined else None),
        )
        for image in content["images"]
    ]
    return images, tuple(str(category["name"]) for category in categories)


def _corners(boxes: list[list[float]]) -> np.ndarray:
    """Left, top, width, height to left, top, right, bottom."""
    corners = np.array(boxes, np.float64).reshape(len(boxes), 4)
    corners[:, 2:] += corners[:, :2]
    return corners


def _painted(image: Objects, name: str) -> np.ndarray:
    """(H, W): crowds first, then objects from the largest to the smallest."""
    outlines = json.loads(image.outlines)
    inside = [_inside(outline, image.size, name) for outline in outlines]
    mask = np.zeros(image.size[::-1], np.uint8)
    for place in sorted(range(len(inside)), key=lambda place: (not image.crowd[place], -int(inside[place].sum()))):
        mask[inside[place]] = VOID if image.crowd[place] else 1 + image.labels[place]
    return mask


def _inside(outline: Any, size: tuple[int, int], name: str) -> np.ndarray:
    """(H, W) bool: inside of one of an object's polygons (x, y, x, y, …), or of its run lengths."""
    try:
        runs = _runs(outline, *size) if isinstance(outline, dict) else _polygons(outline, *size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of pycocotools' own array, by numpy
            return masks.decode(runs).astype(bool)
    except (ValueError, TypeError, OverflowError, KeyError) as error:
        raise Unreadable(f"{name}: the outline of an object cannot be drawn: {error}") from error


def _runs(outline: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """Run lengths as pycocotools takes them, from a list or as they are."""
    if outline["size"] != [height, width]:
        raise ValueError(f"it is of a mask of {outline['size']} rows and columns, not [{height}, {width}]")
    if not isinstance(outline["counts"], list):
        return outline
    if sum(outline["counts"]) != height * width:
        raise ValueError(f"its run lengths do not add up to {height * width} pixels")
    return masks.frPyObjects(outline, height, width)


def _polygons(outline: Any, width: int, height: int) -> dict[str, Any]:
    """The union of polygons as run lengths."""
    if not outline or any(len(polygon) < 6 or len(polygon) % 2 for polygon in outline):
        raise ValueError("it is no list of polygons of three points or more")
    for polygon in outline:
        points = np.array(polygon, np.float64).reshape(-1, 2) / (width, height)
        if not ((points > -1) & (points < 2)).all():  # pycocotools walks along each edge, however long
            raise ValueError("it goes far beyond the image")
    return masks.merge(masks.frPyObjects(outline, height, width))
