"""Folders laid out as COCO's: the right boxes, masks and labels, and one line for what is wrong with them."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import encoded, number_of
from PIL import Image
from pycocotools import mask as coco_masks

from sslzoo.config import UsageError, UserError
from sslzoo.data.open import open_source, split_names
from sslzoo.data.source import Unreadable

WIDTH, HEIGHT = 20, 12
NAMES = ("cat", "dog", "kite")
IDS = {"kite": 90, "cat": 3, "dog": 11}


def square(left: float, top: float, right: float, bottom: float) -> list[float]:
    """A polygon."""
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(inside: np.ndarray, compressed: bool) -> dict[str, Any]:
    """(H, W) bool as COCO writes it: by columns, a run of what is outside first."""
    if compressed:
        runs = coco_masks.encode(np.asfortranarray(inside.astype(np.uint8)))
        return {"size": runs["size"], "counts": runs["counts"].decode()}
    flat = np.concatenate([[0], inside.T.ravel().astype(int), [2]])
    changes = np.flatnonzero(np.diff(flat))
    return {"size": list(inside.shape), "counts": np.diff(changes, prepend=0).tolist()}


def thing(image: int, name: str, box: list[float], segmentation: Any, crowd: int = 0) -> dict[str, Any]:
    return {
        "id": 7,
        "image_id": image,
        "category_id": IDS[name],
        "bbox": box,
        "segmentation": segmentation,
        "iscrowd": crowd,
    }


def content(things: list[dict[str, Any]], images: int = 3) -> dict[str, Any]:
    """Images with ids 100, 101, …, and categories that are not in the order of their ids."""
    return {
        "images": [
            {"id": 100 + number, "file_name": f"{number:03}.jpg", "width": WIDTH, "height": HEIGHT}
            for number in range(images)
        ],
        "annotations": things,
        "categories": [{"id": number, "name": name} for name, number in IDS.items()],
    }


def write(root: Path, split: str, found: Any, images: int = 3) -> None:
    """A split: its images, and what was found on them."""
    (root / split).mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    for number in range(images):
        (root / f"{split}/{number:03}.jpg").write_bytes(encoded(Image.new("RGB", (WIDTH, HEIGHT), (0, number, 128))))
    (root / f"annotations/instances_{split}.json").write_text(found if isinstance(found, str) else json.dumps(found))


CROWD = np.zeros((HEIGHT, WIDTH), bool)
CROWD[6:, 10:] = True
THINGS = [
    thing(101, "cat", [2, 3, 4, 5], [square(2, 3, 6, 8)]),
    thing(100, "kite", [1.5, 2.25, 10, 4.5], [square(4, 4, 6, 6), square(8, 4, 9, 6)]),
    thing(100, "dog", [0, 0, 12, 10], [square(0, 0, 12, 10)]),
    thing(100, "cat", [10, 6, 10, 6], run_lengths(CROWD, compressed=False), crowd=1),
    thing(101, "dog", [10, 6, 10, 6], run_lengths(CROWD, compressed=True), crowd=1),
]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Three images to train on, of which the last has nothing on it, and one more."""
    write(tmp_path / "coco", "train2017", content(THINGS))
    write(tmp_path / "coco", "val2017", content([], images=1), images=1)
    (tmp_path / "coco/annotations/captions_train2017.json").write_text("{}")
    return tmp_path / "coco"


def only(root: Path, **changes: Any) -> None:
    """One object, on the first image, but for ``changes``."""
    one = thing(100, "cat", [2, 3, 4, 5], [square(2, 3, 6, 8)]) | changes
    write(root, "train2017", content([one, thing(101, "cat", [2, 3, 4, 5], [square(2, 3, 6, 8)])]))


def test_a_split_is_called_as_its_file_or_without_the_year(coco: Path) -> None:
    assert split_names(f"folder:{coco}") == ["train", "val", "train2017", "val2017"]
    assert open_source(f"folder:{coco}").name == "folder:coco[train]"
    source = open_source(f"folder:{coco}[train2017[1:]]")
    assert (source.name, len(source), source.class_names) == ("folder:coco[train2017[1:]]", 2, NAMES)
    assert number_of(source.read(0)["image"]) == 1
    assert len(open_source(f"folder:{coco}[train+val]")) == 4


def test_where_two_years_are_there_they_are_told_apart(coco: Path) -> None:
    write(coco, "train2014", content([]))
    assert split_names(f"folder:{coco}") == ["val", "train2014", "train2017", "val2017"]


def test_images_may_lie_in_a_folder_of_their_own(coco: Path) -> None:
    (coco / "images").mkdir()
    (coco / "train2017").rename(coco / "images/train2017")
    assert number_of(open_source(f"folder:{coco}[train]").read(2)["image"]) == 2
    shutil.rmtree(coco / "images")
    with pytest.raises(UserError, match="coco has no folder train2017 with the images of annotations/instances_train"):
        open_source(f"folder:{coco}[train]")


def test_boxes_are_given_by_their_corners_and_classes_by_their_position(coco: Path) -> None:
    source = open_source(f"folder:{coco}")
    first, second, third = (source.annotation(index) for index in range(3))
    assert first.boxes.tolist() == [[1.5, 2.25, 11.5, 6.75], [0, 0, 12, 10], [10, 6, 20, 12]]
    assert [NAMES[label] for label in first.labels] == ["kite", "dog", "cat"]
    assert first.ignored.tolist() == [False, False, True] and second.ignored.tolist() == [False, True]
    assert third.boxes.shape == (0, 4) and third.ignored is None


def test_masks_are_painted_with_the_smallest_object_on_top_and_crowds_below_all(coco: Path) -> None:
    source = open_source(f"folder:{coco}")
    assert source.mask_names == ("background", *NAMES)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[6:, 10:] = 255
    expected[:10, :12] = 1 + NAMES.index("dog")
    expected[4:6, 4:6] = expected[4:6, 8:9] = 1 + NAMES.index("kite")
    mask = source.annotation(0).mask
    assert mask.dtype == torch.uint8 and np.array_equal(mask.numpy(), expected)
    expected[:] = 0
    expected[6:, 10:] = 255
    expected[3:8, 2:6] = 1 + NAMES.index("cat")
    assert np.array_equal(source.annotation(1).mask.numpy(), expected)
    assert not source.annotation(2).mask.any()


def test_labels_say_what_is_there_what_is_not_and_what_is_only_there_in_a_crowd(coco: Path) -> None:
    shutil.rmtree(coco / "train2017")
    (coco / "train2017").mkdir()
    assert open_source(f"folder:{coco}").labels().tolist() == [[-1, 1, 1], [1, -1, 0], [0, 0, 0]]


def test_boxes_without_outlines_are_no_masks(coco: Path) -> None:
    write(coco, "train2017", content([{**one, "segmentation": []} for one in THINGS]))
    source = open_source(f"folder:{coco}")
    assert source.mask_names == () and source.annotation(0).mask is None
    assert source.annotation(0).boxes.shape == (3, 4)


def test_a_split_without_a_single_object_has_no_masks_either(coco: Path) -> None:
    assert open_source(f"folder:{coco}[val]").mask_names == ()


def test_the_fingerprint_tells_images_boxes_and_outlines_apart_and_not_where_they_lie(coco: Path) -> None:
    before = open_source(f"folder:{coco}[train]").fingerprint
    assert open_source(f"folder:{coco}[train2017]").fingerprint == before
    moved = shutil.copytree(coco, coco.parent / "copy")
    assert open_source(f"folder:{moved}").fingerprint == before
    seen = {before}
    only(moved)
    seen.add(open_source(f"folder:{moved}").fingerprint)
    for change in ({"bbox": [2, 3, 4, 4]}, {"segmentation": [square(2, 3, 6, 7)]}, {"iscrowd": 1}, {"category_id": 11}):
        only(moved, **change)
        seen.add(open_source(f"folder:{moved}").fingerprint)
    assert len(seen) == 6


def test_a_source_travels_to_workers(coco: Path) -> None:
    source = open_source(f"folder:{coco}")
    there = pickle.loads(pickle.dumps(source))
    assert torch.equal(there.annotation(0).mask, source.annotation(0).mask)
    assert torch.equal(there.labels(), source.labels())


OUTLINE = "train2017/000.jpg: the outline of an object cannot be drawn: "


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"bbox": [10, 3, 30, 4]},
            r"train2017/000.jpg: the box \(10, 3, 40, 7\) is not in the image, which is 20 x 12",
        ),
        ({"bbox": [3, 3, 0, 4]}, r"train2017/000.jpg: the box \(3, 3, 3, 7\) is empty or inverted"),
        ({"bbox": [3, 3, 4, -1]}, r"train2017/000.jpg: the box \(3, 3, 7, 2\) is empty or inverted"),
        ({"segmentation": [[1, 2, 3, 4]]}, f"{OUTLINE}it is no list of polygons of three points or more"),
        ({"segmentation": []}, f"{OUTLINE}it is no list of polygons"),
        ({"segmentation": [square(0, 0, 1e12, 4)]}, f"{OUTLINE}it goes far beyond the image"),
        ({"segmentation": [square(0, 0, float("nan"), 4)]}, f"{OUTLINE}it goes far beyond the image"),
        ({"segmentation": [["a"] * 6]}, f"{OUTLINE}could not convert string to float"),
        (
            {"segmentation": {"size": [20, 12], "counts": [240]}},
            rf"{OUTLINE}it is of a mask of \[20, 12\] rows and col",
        ),
        ({"segmentation": {"size": [12, 20], "counts": [9]}}, f"{OUTLINE}its run lengths do not add up to 240 pixels"),
        ({"segmentation": {"size": [12, 20], "counts": "abc"}}, f"{OUTLINE}Invalid RLE mask representation"),
        ({"segmentation": {"size": [12, 20]}}, f"{OUTLINE}'counts'"),
    ],
)
def test_what_does_not_fit_its_image_is_named(coco: Path, change: dict[str, Any], says: str) -> None:
    only(coco, **change)
    source = open_source(f"folder:{coco}")
    with pytest.raises(Unreadable, match=f"^{says}"):
        source.annotation(0)
    assert len(source.annotation(1).boxes) == 1


def test_an_image_of_another_size_than_was_drawn_on_or_that_is_missing_is_named(coco: Path) -> None:
    source = open_source(f"folder:{coco}")
    (coco / "train2017/000.jpg").write_bytes(encoded(Image.new("RGB", (HEIGHT, WIDTH))))
    with pytest.raises(Unreadable, match="^train2017/000.jpg: was annotated at 20 x 12 pixels, but has 12 x 20"):
        source.annotation(0)
    (coco / "train2017/000.jpg").unlink()
    for access in (source.read, source.annotation):
        with pytest.raises(Unreadable, match="^train2017/000.jpg: No such file"):
            access(0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not as COCO's are: Expecting property name"),
        ("[]", "is not as COCO's are: list indices must be"),
        ('{"images": [], "annotations": []}', "is not as COCO's are: something in it has no 'categories'"),
        (json.dumps(content([thing(999, "cat", [1, 1, 1, 1], [])])), "annotation 7 is of an image or a category"),
        (json.dumps(content([thing(100, "cat", [1, 1, 1], [])])), "is not as COCO's are: cannot reshape"),
    ],
)
def test_a_file_that_is_not_as_cocos_are_is_one_line(coco: Path, text: str, says: str) -> None:
    write(coco, "train2017", text)
    with pytest.raises(UserError, match=f"annotations/instances_train2017.json of folder:coco .*{says}") as caught:
        open_source(f"folder:{coco}")
    assert "\n" not in str(caught.value)


def test_splits_of_different_classes_are_not_joined(coco: Path) -> None:
    other = content([], images=1)
    other["categories"][0]["name"] = "boat"
    write(coco, "val2017", other, images=1)
    with pytest.raises(UsageError, match=r"the parts of folder:coco\[train\+val\] do not have the same classes"):
        open_source(f"folder:{coco}[train+val]")


def test_there_are_no_columns_to_choose(coco: Path) -> None:
    with pytest.raises(UsageError, match=r"folder:coco\[train\] has no column 'category': it has image"):
        open_source(f"folder:{coco}", label_column="category")
