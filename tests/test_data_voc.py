"""Folders laid out as PASCAL VOC's: the right boxes, masks and labels, and one line for what is wrong with them."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import encoded, number_of
from PIL import Image

from sslzoo.api import open_dataset
from sslzoo.config import UsageError, UserError
from sslzoo.data.annotation import annotate
from sslzoo.data.open import open_source, split_names
from sslzoo.data.source import Unreadable

CLASSES = ("boat", "cat", "dog")
WIDTH, HEIGHT = 20, 12

Objects = Sequence[tuple[str, tuple[float, float, float, float], int]]
IMAGES: dict[str, Objects] = {
    "000001": [("cat", (1, 1, 20, 12), 0), ("dog", (5, 3, 8, 10), 1)],
    "000002": [("dog", (2, 2, 9, 9), 1), ("dog", (4, 5, 6, 7), 0)],
    "000003": [],
    "000004": [("boat", (3, 1, 4, 2), 0)],
}


def xml(objects: Objects) -> str:
    """As VOC writes it, with a part of an object, whose box is not an object's."""
    body = ""
    for name, (left, top, right, bottom), difficult in objects:
        box = f"<bndbox><ymax>{bottom}</ymax><xmin>{left}</xmin><xmax>{right}</xmax><ymin>{top}</ymin></bndbox>"
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        body += f"<object><name>{name}</name><difficult>{difficult}</difficult>{part}{box}</object>"
    return f"<annotation><size><width>{WIDTH}</width></size>{body}</annotation>"


def mask(rows: np.ndarray) -> Image.Image:
    """A picture with a palette, whose colours are not its numbers."""
    image = Image.fromarray(rows.astype(np.uint8))
    image.putpalette([channel * 3 % 256 for channel in range(768)])
    return image


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Four images, of which two have masks."""
    root = tmp_path / "VOCdevkit" / "VOC2007"
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for number, (stem, objects) in enumerate(IMAGES.items()):
        (root / f"JPEGImages/{stem}.jpg").write_bytes(encoded(Image.new("RGB", (WIDTH, HEIGHT), (0, number, 128))))
        (root / f"Annotations/{stem}.xml").write_text(xml(objects))
    rows = np.zeros((HEIGHT, WIDTH))
    rows[2:5, 3:9], rows[5] = 2, 255
    for stem in ("000001", "000004"):
        mask(rows).save(root / f"SegmentationClass/{stem}.png")
    lists = {"Main/train": "1 2", "Main/val": "3 4", "Main/trainval": "1 2 3 4", "Segmentation/train": "1"}
    for name, numbers in (lists | {"Segmentation/val": "4"}).items():
        (root / f"ImageSets/{name}.txt").write_text("".join(f"00000{number}\n" for number in numbers.split()))
    for name in CLASSES:
        (root / f"ImageSets/Main/{name}_train.txt").write_text("000001 -1\n000002  1\n")
    return root


def test_the_splits_are_the_lists_and_those_of_segmentation_are_called_so(voc: Path) -> None:
    assert split_names(f"folder:{voc}") == ["train", "trainval", "val", "segmentation_train", "segmentation_val"]
    source = open_source(f"folder:{voc}")
    assert (source.name, len(source), source.class_names) == ("folder:VOC2007[train]", 2, CLASSES)
    assert [number_of(open_source(f"folder:{voc}[trainval[1:3]]").read(index)["image"]) for index in (0, 1)] == [1, 2]
    assert open_dataset(f"folder:{voc}", "segmentation_val").name == "folder:VOC2007[segmentation_val]"
    with pytest.raises(UsageError, match="has no split 'test': it has train, trainval, val, seg"):
        open_source(f"folder:{voc}[test]")


def test_a_box_holds_its_first_and_its_last_pixel_counted_from_1(voc: Path) -> None:
    found = open_source(f"folder:{voc}").annotation(0)
    assert found.boxes.tolist() == [[0, 0, WIDTH, HEIGHT], [4, 2, 8, 10]]
    assert found.boxes.dtype == torch.float32
    assert [CLASSES[label] for label in found.labels] == ["cat", "dog"]
    assert found.ignored.tolist() == [False, True]


def test_an_image_without_objects_has_no_boxes_and_one_without_difficult_ones_nothing_ignored(voc: Path) -> None:
    empty, one = (open_source(f"folder:{voc}[val]").annotation(index) for index in (0, 1))
    assert empty.boxes.shape == (0, 4) and empty.labels.shape == (0,) and empty.ignored is None
    assert one.boxes.tolist() == [[2, 0, 4, 2]] and one.ignored is None


def test_only_the_lists_of_segmentation_have_masks_and_they_hold_positions_not_colours(voc: Path) -> None:
    plain, masked = open_source(f"folder:{voc}[train]"), open_source(f"folder:{voc}[segmentation_train]")
    assert plain.mask_names == () and plain.annotation(0).mask is None
    assert masked.mask_names == ("background", *CLASSES)
    found = masked.annotation(0)
    assert found.mask.dtype == torch.uint8 and found.mask.shape == (HEIGHT, WIDTH)
    assert (found.mask[2:5, 3:9] == 2).all() and (found.mask[5] == 255).all() and (found.mask == 0).sum() == 202
    assert torch.equal(found.boxes, plain.annotation(0).boxes)
    assert open_source(f"folder:{voc}[segmentation_train+val]").mask_names == ()


def test_labels_say_what_is_there_what_is_not_and_what_is_only_there_with_difficulty(voc: Path) -> None:
    labels = open_source(f"folder:{voc}[trainval]").labels()
    assert labels.dtype == torch.int64
    assert labels.tolist() == [[0, 1, -1], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    shutil.rmtree(voc / "JPEGImages")
    (voc / "JPEGImages").mkdir()
    assert torch.equal(open_source(f"folder:{voc}[trainval]").labels(), labels)


def test_without_lists_of_classes_they_are_those_of_all_objects(voc: Path) -> None:
    for file in (voc / "ImageSets/Main").glob("*_train.txt"):
        file.unlink()
    (voc / "Annotations/000003.xml").write_text("torn")
    assert open_source(f"folder:{voc}[train]").class_names == CLASSES


def test_images_may_have_other_endings(voc: Path) -> None:
    (voc / "JPEGImages/000001.jpg").rename(voc / "JPEGImages/000001.png")
    assert number_of(open_source(f"folder:{voc}").read(0)["image"]) == 0


def test_the_fingerprint_tells_images_boxes_and_masks_apart_and_not_where_they_lie(voc: Path) -> None:
    before = open_source(f"folder:{voc}[segmentation_train]").fingerprint
    moved = shutil.copytree(voc, voc.parent / "copy")
    assert open_source(f"folder:{moved}[segmentation_train]").fingerprint == before
    assert open_source(f"folder:{moved}[segmentation_val]").fingerprint != before
    (moved / "Annotations/000001.xml").write_text(xml(IMAGES["000002"]))
    changed = open_source(f"folder:{moved}[segmentation_train]").fingerprint
    mask(np.zeros((HEIGHT, WIDTH))).save(moved / "SegmentationClass/000001.png")
    assert len({before, changed, open_source(f"folder:{moved}[segmentation_train]").fingerprint}) == 3


def test_a_source_travels_to_workers(voc: Path) -> None:
    source = open_source(f"folder:{voc}[segmentation_train]")
    there = pickle.loads(pickle.dumps(source))
    assert torch.equal(there.annotation(0).mask, source.annotation(0).mask)
    assert there.fingerprint == source.fingerprint


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((5, 1, 30, 12), r"JPEGImages/000001.jpg: the box \(4, 0, 30, 12\) is not in the image, which is 20 x 12"),
        ((9, 3, 4, 8), r"JPEGImages/000001.jpg: the box \(8, 2, 4, 8\) is empty or inverted"),
        ((9, 3, 8, 8), r"JPEGImages/000001.jpg: the box \(8, 2, 8, 8\) is empty or inverted"),
        ((21, 3, 21, 8), r"JPEGImages/000001.jpg: the box \(20, 2, 21, 8\) is not in the image"),
        (("x", 3, 4, 8), "Annotations/000001.xml: an object has no box of numbers in <bndbox>"),
        (("nan", 3, 4, 8), r"JPEGImages/000001.jpg: the box \(nan, 2, 4, 8\) is empty or inverted"),
    ],
)
def test_a_box_that_is_no_part_of_its_image_is_named(voc: Path, box: tuple, says: str) -> None:
    (voc / "Annotations/000001.xml").write_text(xml([("cat", box, 0)]))
    with pytest.raises(Unreadable, match=f"^{says}"):
        open_source(f"folder:{voc}").annotation(0)


def test_a_box_counted_from_0_or_with_its_end_outside_is_cut_by_that_pixel(voc: Path) -> None:
    (voc / "Annotations/000001.xml").write_text(xml([("cat", (0, 0, 21, 11.5), 0)]))
    assert open_source(f"folder:{voc}").annotation(0).boxes.tolist() == [[0, 0, 20, 11.5]]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (mask(np.zeros((HEIGHT, HEIGHT))), "JPEGImages/000001.jpg: its mask is 12 x 12, the image 20 x 12"),
        (mask(np.full((HEIGHT, WIDTH), 4)), "JPEGImages/000001.jpg: its mask has the class 4, but they go from 0 to 3"),
        (
            Image.new("RGB", (WIDTH, HEIGHT)),
            r"SegmentationClass/000001.png: a mask holds a class number in each pixel .*, but this is RGB",
        ),
    ],
)
def test_a_mask_that_does_not_fit_is_named(voc: Path, image: Image.Image, says: str) -> None:
    image.save(voc / "SegmentationClass/000001.png")
    with pytest.raises(Unreadable, match=f"^{says}"):
        open_source(f"folder:{voc}[segmentation_train]").annotation(0)


def test_files_that_are_missing_or_broken_are_named(voc: Path) -> None:
    (voc / "SegmentationClass/000001.png").unlink()
    source = open_source(f"folder:{voc}[segmentation_train]")
    with pytest.raises(Unreadable, match="^SegmentationClass/000001.png: No such file"):
        source.annotation(0)
    (voc / "Annotations/000001.xml").write_text("<annotation><object>")
    with pytest.raises(Unreadable, match="^Annotations/000001.xml: no XML"):
        source.annotation(0)
    (voc / "Annotations/000001.xml").unlink()
    with pytest.raises(Unreadable, match="^Annotations/000001.xml: No such file"):
        source.annotation(0)
    (voc / "JPEGImages/000001.jpg").unlink()
    for access in (source.read, source.annotation, open_source(f"folder:{voc}[segmentation_train]").read):
        with pytest.raises(Unreadable, match="^JPEGImages/000001.jpg: No such file"):
            access(0)


def test_an_object_of_no_class_that_has_lists_is_named(voc: Path) -> None:
    (voc / "Annotations/000001.xml").write_text(xml([("unicorn", (1, 1, 2, 2), 0)]))
    with pytest.raises(
        Unreadable, match="^Annotations/000001.xml: 'unicorn' is none of the 3 classes of ImageSets/Main"
    ):
        open_source(f"folder:{voc}").annotation(0)


def test_labels_that_cannot_be_read_do_not_count_and_too_many_of_them_are_an_error(voc: Path) -> None:
    (voc / "ImageSets/Main/long.txt").write_text("000001\n" * 199 + "missing\n")
    labels = open_source(f"folder:{voc}[long]").labels()
    assert labels[0].tolist() == [0, 1, -1] and labels[199].tolist() == [-1, -1, -1]
    (voc / "Annotations/000002.xml").unlink()
    with pytest.raises(
        UserError, match=r"1 of 2 samples of folder:VOC2007\[train\] .* Annotations/000002.xml: No such"
    ):
        open_source(f"folder:{voc}").labels()


def test_lists_that_are_not_there_or_empty_are_named(voc: Path) -> None:
    (voc / "ImageSets/Main/none.txt").write_text("\n")
    with pytest.raises(UsageError, match=r"folder:VOC2007\[none\] has no samples"):
        open_source(f"folder:{voc}[none]")
    (voc / "ImageSets/Main/train.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(UserError, match="the list of images .*train.txt cannot be read: it is no UTF-8 text"):
        open_source(f"folder:{voc}")
    shutil.rmtree(voc / "ImageSets")
    (voc / "ImageSets").mkdir()
    with pytest.raises(UsageError, match="VOC2007 has no lists of images in ImageSets/Main or ImageSets/Segmentation"):
        open_source(f"folder:{voc}")


def test_there_are_no_columns_to_choose(voc: Path) -> None:
    with pytest.raises(UsageError, match=r"folder:VOC2007\[train\] has no column 'class': it has image"):
        open_source(f"folder:{voc}", label_column="class")


def test_sixteen_bits_of_mask_do_not_wrap_around() -> None:
    with pytest.raises(Unreadable, match="its mask has the class 256"):
        annotate("x", (1, 1), mask=np.array([[256]]), classes=3)
