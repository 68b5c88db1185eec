"""Images and what people drew on them are fitted into the encoder's input together."""

from __future__ import annotations

import logging

import pytest
import torch
from squares import COLORS, Squares
from torch import Tensor

from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Annotation, Unreadable
from sslzoo.encoders import InputSpec
from sslzoo.evaluations.annotated import Annotated, AnnotatedImages, same_names

SPEC = InputSpec.square(96)


def read(source: Squares, part: str = "mask", spec: InputSpec = SPEC) -> list[Annotated]:
    images = AnnotatedImages(source, spec, part)
    return [sample for batch in images.batches(range(len(source)), 3) for sample in batch]


def color_at(sample: Annotated, place: Tensor) -> Tensor:
    return sample.image[:, place].movedim(0, -1).float()


def test_a_picture_is_enlarged_until_it_fits_and_the_rest_has_the_mean_colour() -> None:
    sample = read(Squares())[0]
    assert sample.image.shape == (3, 96, 96) and sample.image.dtype == torch.uint8
    assert (sample.size, sample.filled) == ((48, 64), (72, 96))
    mean = torch.tensor(SPEC.mean) * 255
    assert (sample.image[:, 72:].float() - mean[:, None, None]).abs().max() <= 0.5


@pytest.mark.parametrize(("width", "height"), [(64, 48), (40, 90), (300, 200)])
def test_masks_and_boxes_lie_where_the_colours_are(width: int, height: int) -> None:
    for sample in read(Squares(6, width=width, height=height), "boxes"):
        mask = sample.mask()
        high, wide = sample.filled
        assert (mask[:high, :wide] < 255).all() and (mask[high:] == 255).all() and (mask[:, wide:] == 255).all()
        for label, color in enumerate(COLORS.values()):
            if (mask == 1 + label).any():
                median = color_at(sample, mask == 1 + label).median(0).values
                assert (median - torch.tensor(color)).abs().max() <= 12
        boxes, labels = sample.boxes()
        assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, 2] <= wide + 1).all()
        for (left, top, right, bottom), label in zip(boxes.round().int().tolist(), labels.tolist(), strict=True):
            inside = mask[top : bottom + 1, left : right + 1]
            assert (mask == 1 + label).any() and (inside == 1 + label).float().mean() > 0.8


def test_ignored_boxes_are_left_out_of_what_is_learned() -> None:
    every, counted = read(Squares(), "boxes")[0], read(Squares(difficult=True), "boxes")[0]
    assert torch.equal(every.boxes()[0][1:], counted.boxes()[0])
    assert torch.equal(every.boxes()[1][1:], counted.boxes()[1])


def test_samples_come_in_the_order_that_is_asked_for_and_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Squares(5)
    reads = []
    monkeypatch.setattr(source, "read", lambda index, own=source.read: reads.append(index) or own(index))
    images = AnnotatedImages(source, SPEC, "mask")
    for order in ([4, 0, 2, 1, 3], [3, 2, 4, 0, 1]):
        assert [[sample.index for sample in batch] for batch in images.batches(order, 2)] == [
            order[:2],
            order[2:4],
            order[4:],
        ]
    assert reads == [4, 0, 2, 1, 3] and images.readable == set(range(5))


def test_workers_read_the_same() -> None:
    for own, others in zip(
        *(AnnotatedImages(Squares(4), SPEC, "mask", workers).batches(range(4), 2) for workers in (0, 1)), strict=True
    ):
        assert all(torch.equal(one.image, other.image) for one, other in zip(own, others, strict=True))


def test_an_unreadable_sample_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    images = AnnotatedImages(Squares(200, broken=(7,)), SPEC, "mask")
    with caplog.at_level(logging.WARNING):
        assert sum(len(batch) for batch in images.batches(range(200), 50)) == 199
    assert "skipped an unreadable sample of squares[train]: picture 7: torn" in caplog.text
    assert len(images.readable) == 199


def test_more_than_a_hundredth_unreadable_is_an_error() -> None:
    with pytest.raises(UserError, match=r"2 of 16 samples of squares\[train\] cannot be read.*picture 1: torn"):
        read(Squares(broken=(1, 2)))


def test_a_split_without_samples_is_an_error() -> None:
    with pytest.raises(UserError, match=r"squares\[train\] has no samples"):
        read(Squares(0))


class Misfitting(Squares):
    """The third mask belongs to another picture."""

    def annotation(self, index: int) -> Annotation:
        if index == 2:
            raise Unreadable("mask 2: 10 x 10 pixels, and its picture 64 x 48")
        return super().annotation(index)


def test_an_annotation_that_does_not_fit_counts_as_unreadable() -> None:
    with pytest.raises(UserError, match="1 of 16 samples.*mask 2: 10 x 10 pixels"):
        read(Misfitting())


@pytest.mark.parametrize(("part", "noun"), [("mask", "masks"), ("boxes", "boxes")])
def test_data_without_masks_or_boxes_are_refused_by_name(part: str, noun: str) -> None:
    source = Squares()
    monkey = {"mask": "mask_names", "boxes": "class_names"}
    setattr(source, monkey[part], ())
    with pytest.raises(UsageError, match=rf"squares\[train\] has no {noun}"):
        same_names(source, Squares(), part)
    without = {"mask": None, "boxes": None, "labels": None}
    empty = Squares()
    empty.annotation = lambda index: Annotation(**without)  # type: ignore[method-assign]
    with pytest.raises(UsageError, match=rf"squares\[train\] has no {noun}"):
        read(empty, part)


def test_splits_must_have_the_same_classes() -> None:
    other = Squares(name="other[test]")
    other.class_names = ("red", "green", "yellow")
    with pytest.raises(UsageError, match="do not have the same classes: they differ in blue, yellow"):
        same_names(Squares(), other, "boxes")
    other.class_names = ("green", "red", "blue")
    with pytest.raises(UsageError, match="their order differs"):
        same_names(Squares(), other, "boxes")
