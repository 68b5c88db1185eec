"""Tables with a column of objects or of masks beside the images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np

from sslzoo.data.annotated import AnnotatedRows, Annotations
from sslzoo.data.annotation import VOID, annotate, class_map
from sslzoo.data.cells import bytes_of, image_of
from sslzoo.data.columns import Columns
from sslzoo.data.rows import Rows, undecoded
from sslzoo.data.source import Annotation, Source, Unreadable

MASK_NAMES = ("mask", "masks", "annotation", "segmentation", "segmentation_mask", "semantic_mask", "label", "labels")
BOX_NAMES = ("bbox", "bboxes", "box", "boxes")
CLASS_NAMES = ("category", "categories", "label", "labels", "category_id", "class")
CROWD_NAMES = ("iscrowd", "is_crowd")


def open_table(
    table: datasets.Dataset, name: str, image_column: str = "", label_column: str = "", license: str | None = None
) -> Source:
    """The images of a table; with annotations, if it has a column of them: the first, or ``label_column``.

    Objects are a struct of lists, or a list of structs, with boxes as COCO's (left, top, width, height) and classes;
    where a label per image is there too, they must be asked for. A mask is a second picture of a usual name.

    Raises:
        UsageError: if there are no rows, or the columns are not found.
    """
    image = Columns.of(table.features, name, image_column, label_column).image
    for column in [label_column] if label_column else table.features:
        annotations = _annotations(table.select_columns([column])) if column != image else None
        if annotations is None:
            continue
        rest = table.remove_columns([column])
        is_mask = bool(annotations.mask_names)
        usual = column.lower() in MASK_NAMES if is_mask else Columns.of(rest.features, name, image).label is None
        if label_column or usual:
            return AnnotatedRows(Rows(rest, name, image, license=license), annotations)
    return Rows(table, name, image_column, label_column, license=license)


def _annotations(table: datasets.Dataset) -> Annotations | None:
    """Of a table of one column, if that is one of objects or of pictures."""
    (feature,) = table.features.values()
    if fields := Fields.of(feature):
        return ObjectsColumn(table, fields)
    return MaskColumn(table) if isinstance(feature, datasets.Image) else None


@dataclass(frozen=True)
class Fields:
    """What the parts of an object are called."""

    box: str
    label: str
    crowd: str | None
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, feature: Any) -> Fields | None:
        """None if it is no column of objects, or does not name their classes."""
        listed = isinstance(feature, datasets.List | datasets.LargeList)
        parts = feature.feature if listed else feature
        if not isinstance(parts, dict):
            return None
        box, label, crowd = (_first(names, parts) for names in (BOX_NAMES, CLASS_NAMES, CROWD_NAMES))
        if box is None or label is None:
            return None
        classes = parts[label] if listed else getattr(parts[label], "feature", None)
        return cls(box, label, crowd, tuple(classes.names)) if isinstance(classes, datasets.ClassLabel) else None


class ObjectsColumn(Annotations):
    """Boxes, of which crowds are ignored."""

    mask_names = ()

    def __init__(self, table: datasets.Dataset, fields: Fields) -> None:
        """``table`` has one column, of objects."""
        (self._column,) = table.column_names
        self._table, self._fields = table.with_format(None), fields
        self.class_names = fields.class_names

    def of(self, index: int, name: str, size: tuple[int, int]) -> Annotation:
        boxes = self._values(index, self._fields.box)
        labels, crowd = self.things(index)
        if any(box is None or len(box) != 4 for box in boxes) or len(boxes) != len(labels):
            raise Unreadable(f"{name}: its objects do not have a box of four numbers each")
        corners = np.array(boxes, np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        return annotate(
            f"{name}, boxes read as left, top, width, height", size, boxes=corners, labels=labels, ignored=crowd
        )

    def things(self, index: int) -> tuple[Sequence[int], Sequence[bool]]:
        labels = self._values(index, self._fields.label)
        if not all(label in range(len(self.class_names)) for label in labels):
            raise Unreadable(f"row {index}: an object has none of the {len(self.class_names)} classes")
        return labels, self._crowd(index, len(labels))

    def content(self, index: int) -> bytes:
        boxes = self._values(index, self._fields.box)
        return repr((boxes, self._values(index, self._fields.label), self._crowd(index, len(boxes)))).encode()

    def _crowd(self, index: int, number: int) -> list[bool]:
        return (
            [bool(one) for one in self._values(index, self._fields.crowd)] if self._fields.crowd else [False] * number
        )

    def _values(self, index: int, part: str) -> list[Any]:
        """One part of all objects of a row."""
        cell = self._table[index][self._column] or []
        return list(cell[part] or []) if isinstance(cell, dict) else [thing[part] for thing in cell]


class MaskColumn(Annotations):
    """Pictures of class numbers, which stand for the classes' names: a table does not say them."""

    class_names = ()
    mask_names = tuple(map(str, range(VOID)))

    def __init__(self, table: datasets.Dataset) -> None:
        """``table`` has one column, of pictures."""
        (self._column,) = table.column_names
        self._table = undecoded(table.with_format(None), "image")

    def of(self, index: int, name: str, size: tuple[int, int]) -> Annotation:
        place = f"the mask of {name}"
        mask = class_map(image_of(self._table[index][self._column], place), place)
        return annotate(name, size, mask=mask, classes=len(self.mask_names))

    def things(self, index: int) -> tuple[Sequence[int], Sequence[bool]]:
        return [], []

    def content(self, index: int) -> bytes:
        try:
            return bytes_of(self._table[index][self._column])
        except OSError:
            return b""


def _first(names: Iterable[str], there: Mapping[str, Any]) -> str | None:
    by_name = {name.lower(): name for name in there}
    return next((by_name[name] for name in names if name in by_name), None)
