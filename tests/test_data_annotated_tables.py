"""Tables with a column of objects or of masks: recognised, read as COCO's, and one line for what does not fit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from pictures import encoded, number_of, table
from PIL import Image

from sslzoo.config import UsageError
from sslzoo.data.annotated_tables import open_table
from sslzoo.data.open import open_source
from sslzoo.data.source import Source, Unreadable

CLASSES = datasets.ClassLabel(names=["coverall", "gloves", "mask"])
BOX = datasets.List(datasets.Value("float32"), length=4)
STRUCT = {"id": datasets.List(datasets.Value("int64")), "bbox": datasets.List(BOX), "category": datasets.List(CLASSES)}
OBJECTS = [
    {"id": [1, 2], "bbox": [[0, 1, 3, 4], [2, 2, 6, 6]], "category": [2, 0]},
    {"id": [], "bbox": [], "category": []},
]


def with_column(column: str, values: list, feature: Any, **others: list) -> datasets.Dataset:
    """Pictures of 8 x 8, and a column beside them."""
    plain = table(list(range(len(values))), **others)
    made = datasets.Dataset.from_dict({column: values}, features=datasets.Features({column: feature}))
    return datasets.concatenate_datasets([plain, made], axis=1)


def objects(values: list = OBJECTS, **others: list) -> Source:
    return open_table(with_column("objects", values, STRUCT, **others), "D")


def masks(*rows: np.ndarray, column: str = "annotation", **others: list) -> datasets.Dataset:
    cells = [{"bytes": encoded(Image.fromarray(row.astype(np.uint8))), "path": None} for row in rows]
    return with_column(column, cells, datasets.Image(), **others)


def test_objects_are_boxes_with_classes() -> None:
    source = objects()
    assert number_of(source.read(1)["image"]) == 1
    assert source.class_names == ("coverall", "gloves", "mask") and source.mask_names == ()
    found, empty = source.annotation(0), source.annotation(1)
    assert found.boxes.tolist() == [[0, 1, 3, 5], [2, 2, 8, 8]] and found.labels.tolist() == [2, 0]
    assert found.mask is None and found.ignored is None
    assert empty.boxes.shape == (0, 4)
    assert source.labels().tolist() == [[1, 0, 1], [0, 0, 0]]


def test_objects_may_be_a_list_of_structs_with_crowds() -> None:
    feature = datasets.List({"box": BOX, "label": CLASSES, "iscrowd": datasets.Value("bool")})
    values = [[{"box": [1, 1, 2, 2], "label": 1, "iscrowd": True}, {"box": [0, 0, 2, 2], "label": 2, "iscrowd": False}]]
    source = open_table(with_column("objects", values, feature), "D")
    found = source.annotation(0)
    assert found.boxes.tolist() == [[1, 1, 3, 3], [0, 0, 2, 2]] and found.ignored.tolist() == [True, False]
    assert source.labels().tolist() == [[0, -1, 1]]


def test_labels_of_whole_images_come_first_unless_the_objects_are_asked_for() -> None:
    both = with_column("objects", OBJECTS, STRUCT, label=[4, 5])
    assert open_table(both, "D").labels().tolist() == [4, 5]
    chosen = open_table(both, "D", label_column="objects")
    assert chosen.labels().shape == (2, 3) and chosen.annotation(0).labels.tolist() == [2, 0]


def test_objects_whose_classes_have_no_names_are_left_alone() -> None:
    feature = {"bbox": datasets.List(BOX), "category": datasets.List(datasets.Value("string"))}
    source = open_table(with_column("objects", [{"bbox": [[0, 0, 1, 1]], "category": ["a"]}], feature), "D")
    assert number_of(source.read(0)["image"]) == 0
    with pytest.raises(UsageError, match="D has no masks, boxes or depth"):
        source.annotation(0)


@pytest.mark.parametrize("column", ["annotation", "label", "Mask"])
def test_a_second_picture_of_a_usual_name_is_a_mask(column: str) -> None:
    rows = np.full((8, 8), 3)
    rows[0] = 255
    source = open_table(masks(rows, np.zeros((8, 8)), column=column), "D")
    assert number_of(source.read(1)["image"]) == 1
    found = source.annotation(0)
    assert np.array_equal(found.mask.numpy(), rows) and found.boxes is None and found.labels is None
    assert source.mask_names[3] == "3" and len(source.mask_names) == 255
    with pytest.raises(UsageError, match="D has no labels"):
        source.labels()


def test_a_mask_of_another_name_must_be_named_and_labels_stay_beside_it() -> None:
    both = masks(np.ones((8, 8)), column="truth", scene=["street"])
    plain = open_table(both, "D", image_column="image", label_column="scene")
    assert plain.mask_names == ()
    source = open_table(masks(np.ones((8, 8)), column="truth", label=[7]), "D", "image", "truth")
    assert (source.annotation(0).mask == 1).all() and source.labels().tolist() == [7]


def test_they_are_found_in_files_and_travel_to_workers(tmp_path: Path) -> None:
    with_column("objects", OBJECTS, STRUCT).to_parquet(tmp_path / "train.parquet")
    source = open_source(str(tmp_path / "train.parquet[train[:1]]"))
    there = pickle.loads(pickle.dumps(source))
    assert (len(there), there.name) == (1, source.name)
    assert torch.equal(there.annotation(0).boxes, source.annotation(0).boxes)
    assert there.fingerprint == source.fingerprint


def test_the_fingerprint_tells_objects_and_masks_apart() -> None:
    moved = [{**OBJECTS[0], "bbox": [[0, 1, 3, 4], [2, 2, 6, 5]]}, OBJECTS[1]]
    named = [{**OBJECTS[0], "category": [2, 1]}, OBJECTS[1]]
    seen = {objects(values).fingerprint for values in (OBJECTS, moved, named)}
    seen |= {open_table(masks(np.full((8, 8), value)), "D").fingerprint for value in (0, 1)}
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"bbox": [[0, 0, 9.5, 1]]},
            r"row 0, boxes read as left, top, width, height: the box \(0, 0, 9.5, 1\) is not in",
        ),
        ({"bbox": [[0, 0, 0, 1]]}, r"row 0, boxes .*: the box \(0, 0, 0, 1\) is empty or inverted"),
        ({"bbox": []}, "row 0: its objects do not have a box of four numbers each"),
    ],
)
def test_objects_that_do_not_fit_are_named(values: dict[str, list], says: str) -> None:
    source = objects([{"id": [1], "bbox": [[0, 0, 1, 1]], "category": [0], **values}])
    with pytest.raises(Unreadable, match=f"^{says}"):
        source.annotation(0)


def test_an_object_without_a_class_is_named() -> None:
    source = objects([{"id": [1], "bbox": [[0, 0, 1, 1]], "category": [None]}])
    with pytest.raises(Unreadable, match="^row 0: an object has none of the 3 classes"):
        source.annotation(0)


def test_masks_that_do_not_fit_are_named() -> None:
    for picture, says in (
        (np.zeros((4, 8)), "^row 0: its mask is 8 x 4, the image 8 x 8"),
        (np.zeros((8, 8, 3)), "^the mask of row 0: a mask holds a class number in each pixel .*, but this is RGB"),
    ):
        with pytest.raises(Unreadable, match=says):
            open_table(masks(picture), "D").annotation(0)
    empty = with_column("mask", [None], datasets.Image())
    with pytest.raises(Unreadable, match="^the mask of row 0: the cell is empty"):
        open_table(empty, "D").annotation(0)
