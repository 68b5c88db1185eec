"""Scenes of clip art are the same everywhere, and their masks and boxes say what is seen in them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from sslzoo.config import UsageError
from sslzoo.data.source import Annotation
from sslzoo.datasets.cliparts import Cliparts
from sslzoo.datasets.cliparts_scenes import (
    MOST,
    OUTSIDE,
    SIDE,
    SIZES,
    SMALLEST,
    VERSION,
    ClipartsScenes,
    Layout,
    Placed,
    Scene,
)

TRAIN = ClipartsScenes().open("train")
SOME = range(0, 2000, 40)


def pixels(image: Image.Image) -> torch.Tensor:
    """(128, 128, 3)"""
    return torch.from_numpy(np.array(image))


def equal(one: Annotation, other: Annotation) -> bool:
    return all(torch.equal(getattr(one, part), getattr(other, part)) for part in ("mask", "boxes", "labels"))


def placed(left: int, top: int, label: int, width: int = 40, height: int = 40) -> Placed:
    """A square in a grey of its label."""
    return Placed(Image.new("RGBA", (width, height), (label, label, label, 255)), left, top, label)


def composed(*objects: Placed) -> Scene:
    return Scene.compose(objects, MOST, Image.new("RGB", (SIDE, SIDE), "white"))


def test_a_scene_has_a_picture_a_mask_and_a_box_for_each_object() -> None:
    for index in SOME:
        sample, found = TRAIN.read(index), TRAIN.annotation(index)
        assert sample.keys() == {"image"}
        assert (sample["image"].mode, sample["image"].size) == ("RGB", (SIDE, SIDE))
        assert (found.mask.shape, found.mask.dtype) == ((SIDE, SIDE), torch.uint8)
        assert (found.boxes.shape, found.boxes.dtype) == ((len(found.labels), 4), torch.float32)
        assert found.labels.dtype == torch.int64 and found.ignored is None
        assert 1 <= len(found.labels) <= MOST


def test_mask_and_boxes_tell_of_the_same_objects() -> None:
    assert TRAIN.mask_names == ("background", *TRAIN.class_names)
    for index in SOME:
        found = TRAIN.annotation(index)
        in_boxes = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        for (left, top, right, bottom), label in zip(found.boxes.int().tolist(), found.labels.tolist(), strict=True):
            assert 0 <= left < right <= SIDE and 0 <= top < bottom <= SIDE
            part = found.mask[top:bottom, left:right] == 1 + label
            assert part.sum() >= SMALLEST
            assert all(part[edge].any() for edge in (0, -1)) and all(part[:, edge].any() for edge in (0, -1))
            in_boxes[top:bottom, left:right] = True
        assert found.mask[~in_boxes].sum() == 0
        assert set(found.mask.unique().tolist()) - {0} == {1 + label for label in found.labels.tolist()}


def test_where_the_mask_says_ground_the_ground_is_seen_and_elsewhere_an_object() -> None:
    layout = Layout("train")
    differ = []
    for number in SOME:
        picture, found = pixels(TRAIN.read(number)["image"]), TRAIN.annotation(number)
        change = (picture - pixels(layout.grounds.draw(number)).int()).abs().amax(2)
        differ.append([(change[found.mask > 0] > 8).float().mean(), (change[found.mask == 0] > 128).float().mean()])
    seen, unseen = np.mean(differ, axis=0)
    assert seen > 0.95 and unseen < 0.005  # what is left is an outline's soft edge


def test_the_front_object_hides_what_lies_behind_it() -> None:
    scene = composed(placed(20, 20, 3), placed(40, 30, 5), placed(100, 90, 3))
    assert scene.labels == [3, 5, 3]
    assert scene.boxes == [(20, 20, 60, 60), (40, 30, 80, 70), (100, 90, 128, 128)]
    assert (scene.mask[20:60, 20:60] == 4).all() and (scene.mask[60:70, 40:80] == 6).all()
    assert scene.picture.getpixel((50, 50)) == (3, 3, 3) and scene.picture.getpixel((70, 50)) == (5, 5, 5)
    assert scene.picture.getpixel((0, 0)) == (255, 255, 255)
    hidden_left = composed(placed(20, 0, 3, height=128), placed(40, 30, 5))
    assert hidden_left.boxes[1] == (60, 30, 80, 70)


def test_what_shows_too_little_of_itself_is_not_in_the_scene_at_all() -> None:
    behind = placed(23, 20, 5)
    scene = composed(placed(20, 20, 3), behind, placed(-30, 100, 7), placed(44, 20, 9))
    assert scene.labels == [3, 9]  # 3 of 40 columns show of 5, a quarter of 7, and 5 hides nothing of 9
    assert not (scene.mask == 6).any() and not (pixels(scene.picture) == 5).all(2).any()
    assert composed(placed(20, 20, 3, 3, 3)).labels == []  # 9 pixels


def test_only_as_many_objects_are_placed_as_a_scene_is_to_have() -> None:
    ground = Image.new("RGB", (SIDE, SIDE))
    assert Scene.compose([placed(0, 0, 1), placed(50, 0, 2), placed(0, 50, 3)], 2, ground).labels == [1, 2]


def test_an_object_is_a_cut_out_with_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    layout, labels = Layout("test"), Cliparts().open("test").labels()
    asked: list[int] = []
    read = layout.cutouts.read
    monkeypatch.setattr(layout.cutouts, "read", lambda index: asked.append(index) or read(index))
    objects = [thing for number in range(60) for thing in layout.objects(number)]
    assert [thing.label for thing in objects] == labels[asked].tolist()
    assert {thing.label for thing in objects} == set(range(21)) and len(set(asked)) > 200


def test_no_cut_out_is_in_both_splits() -> None:
    train, test = (
        {cutouts.read(index)["image"].tobytes() for index in range(len(cutouts))}
        for cutouts in (Layout(split).cutouts for split in ClipartsScenes.info.splits)
    )
    assert (len(train), len(test)) == (921, 926) and not train & test


def test_objects_differ_in_size_place_and_number_and_classes_are_equally_frequent() -> None:
    layout = Layout("train")
    objects = [thing for number in range(80) for thing in layout.objects(number)]
    longest = np.array([max(thing.image.size) for thing in objects])
    assert np.percentile(longest, 10) < 40 and np.percentile(longest, 90) > 80
    assert longest.max() <= SIZES[1] * 2**0.5 and SIZES[0] // 2 < longest.min()
    for side, length in ((0, 0), (1, 1)):
        corners = np.array([(thing.left, thing.top)[side] / thing.image.size[length] for thing in objects])
        assert -OUTSIDE - 0.02 <= corners.min() < 0 and corners.max() > 1
    counts = torch.tensor([layout.count(number) for number in range(2000)]).bincount(minlength=MOST + 1)
    assert counts[0] == 0 and counts[1:].min() > 300
    labels = torch.cat([TRAIN.annotation(index).labels for index in SOME]).bincount(minlength=21)
    assert labels.min() > 0 and labels.max() < 20


def test_a_scene_is_the_same_whenever_and_wherever_it_is_read() -> None:
    source = pickle.loads(pickle.dumps(TRAIN))
    for index in (7, 3, 7):
        assert TRAIN.read(index)["image"].tobytes() == source.read(index)["image"].tobytes()
        assert equal(TRAIN.annotation(index), source.annotation(index))


def test_what_is_done_to_a_scene_that_was_read_does_not_change_it() -> None:
    image, found = TRAIN.read(11)["image"], TRAIN.annotation(11)
    image.paste("black", (0, 0, SIDE, SIDE))
    found.mask.zero_()
    found.boxes.add_(1)
    assert TRAIN.read(11)["image"].getextrema() != ((0, 0),) * 3
    fresh = ClipartsScenes().open("train[11:12]")
    assert equal(TRAIN.annotation(11), fresh.annotation(0))


def test_no_two_scenes_are_equal() -> None:
    splits = [TRAIN, ClipartsScenes().open("test")]
    assert [len(split) for split in splits] == [2000, 500]
    assert len({split.read(index)["image"].tobytes() for split in splits for index in range(60)}) == 120


def test_slices_are_those_of_every_data_set() -> None:
    part = ClipartsScenes().open("train[10:38]+test[:2]")
    assert len(part) == 38 - 10 + 2
    assert equal(part.annotation(0), TRAIN.annotation(10))
    assert equal(part.annotation(29), ClipartsScenes().open("test").annotation(1))
    with pytest.raises(UsageError, match="no split 'unlabeled': it has train, test"):
        ClipartsScenes().open("unlabeled")
    with pytest.raises(UsageError, match="has no samples"):
        ClipartsScenes().open("train[:0]")


def test_the_fingerprint_tells_which_scenes_these_are_and_not_what_they_are_called() -> None:
    names = ["train", "train[:200]", "train[:10%]", "train[:20]+train[20:200]", "test[:200]"]
    whole, first, same, joined, test = (ClipartsScenes().open(name).fingerprint for name in names)
    assert first == same == joined
    assert len({whole, first, test}) == 3


def test_the_composing_is_of_its_version() -> None:
    """Where these numbers change, the data do: give ``VERSION`` its next number with them."""
    pictures = [round(float(pixels(TRAIN.read(index)["image"]).float().mean())) for index in (0, 5, 100)]
    found = [TRAIN.annotation(index) for index in (0, 5, 100)]
    labels = [[TRAIN.class_names[label] for label in one.labels] for one in found]
    shares = [round(float((one.mask > 0).float().mean()), 2) for one in found]
    assert (VERSION, pictures, shares) == (1, [152, 119, 138], [0.11, 0.28, 0.27])
    assert labels == [
        ["meal", "card", "bird"],
        ["sport", "arrow", "fruit", "building", "dessert"],
        ["bird", "sign", "flag"],
    ]
