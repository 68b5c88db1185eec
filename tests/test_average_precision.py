"""Average precision, by cases solved by hand."""

from __future__ import annotations

import pytest
import torch

from sslzoo.data.source import Annotation
from sslzoo.evaluations.average_precision import Detections, average_precision

Box = tuple[float, float, float, float]
A: Box = (0, 0, 10, 10)
B: Box = (50, 50, 60, 60)
C: Box = (100, 0, 110, 10)
NOWHERE: Box = (200, 200, 210, 210)


def drawn(*boxes: Box, labels: tuple[int, ...] = (), ignored: tuple[bool, ...] = ()) -> Annotation:
    return Annotation(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
        ignored=torch.tensor(ignored) if ignored else None,
    )


def found(*boxes: Box, labels: tuple[int, ...] = (), scores: tuple[float, ...] = ()) -> Detections:
    """Boxes, of which the first are the surest if nothing is said."""
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
        torch.tensor(scores or [0.9 - 0.1 * place for place in range(len(boxes))]),
    )


def coco(recalls: list[tuple[float, float]]) -> float:
    """The mean precision over 101 recalls, where a precision holds up to its recall: (recall, precision) ascending."""
    grid = [number / 100 for number in range(101)]
    return sum(next((p for r, p in recalls if r >= at - 1e-9), 0.0) for at in grid) / 101


def test_all_found_and_nothing_else_is_one_everywhere() -> None:
    precision = average_precision([drawn(A, B), drawn(C)], [found(A, B), found(C)], 1)
    for value in (precision.coco, precision.coco50, precision.coco75, precision.voc07):
        assert value.tolist() == pytest.approx([1.0])


def test_nothing_found_is_zero_and_a_class_without_boxes_does_not_count() -> None:
    precision = average_precision([drawn(A), drawn()], [found(), found()], 2)
    assert precision.coco50[0] == precision.voc07[0] == 0
    assert precision.coco50[1].isnan() and precision.voc07[1].isnan()


def test_one_of_three_missed_after_a_false_one() -> None:
    """Found, false, found: precisions 1 at a recall of 1/3, and 2/3 at 2/3."""
    precision = average_precision([drawn(A, B, C)], [found(A, NOWHERE, B)], 1)
    assert precision.coco50.item() == pytest.approx(coco([(1 / 3, 1.0), (2 / 3, 2 / 3)]))
    assert precision.voc07.item() == pytest.approx((4 * 1.0 + 3 * 2 / 3) / 11), "recalls 0 to 0.3, then 0.4 to 0.6"


def test_a_second_detection_of_an_object_is_a_false_one() -> None:
    """Found, its double, found: precisions 1 at 1/2, and 2/3 at 1."""
    precision = average_precision([drawn(A, B)], [found(A, A, B)], 1)
    assert precision.coco50.item() == pytest.approx(coco([(1 / 2, 1.0), (1.0, 2 / 3)]))
    assert precision.voc07.item() == pytest.approx((6 * 1.0 + 5 * 2 / 3) / 11)


def test_a_box_counts_up_to_the_overlap_it_has() -> None:
    """Ten by eight of ten by ten: found up to an overlap of 0.8, seven of COCO's ten."""
    precision = average_precision([drawn(A)], [found((0, 0, 10, 8))], 1)
    assert (precision.coco50.item(), precision.coco75.item()) == pytest.approx((1.0, 1.0))
    assert precision.coco.item() == pytest.approx(0.7)


def test_the_surest_come_first_over_all_images_and_each_class_is_its_own() -> None:
    """Of class 0 the false one of the second image is the surest: 1/2 throughout."""
    precision = average_precision(
        [drawn(A, B, labels=(0, 1)), drawn()],
        [found(A, B, labels=(0, 1), scores=(0.6, 0.5)), found(NOWHERE, scores=(0.8,))],
        2,
    )
    assert precision.coco50.tolist() == pytest.approx([0.5, 1.0])
    assert precision.voc07.tolist() == pytest.approx([0.5, 1.0])


def test_the_right_place_with_the_wrong_class_is_false() -> None:
    precision = average_precision([drawn(A, B, labels=(0, 1))], [found(A, B, labels=(1, 1))], 2)
    assert precision.coco50.tolist() == pytest.approx([0.0, 0.5])


def test_ignored_boxes_count_neither_as_found_nor_as_missed() -> None:
    """Its two detections are the surest, and neither help nor harm; it is not missed where it is not found."""
    image = drawn(A, B, ignored=(True, False))
    for detections in (found(A, A, B), found(B), found(B, A)):
        precision = average_precision([image], [detections], 1)
        assert precision.coco50.item() == pytest.approx(1.0)
        assert precision.voc07.item() == pytest.approx(1.0)


def test_inside_a_crowd_nothing_is_false_for_coco_but_for_voc_overlap_decides() -> None:
    """A small box inside the ignored one overlaps with 4 % of it: false for VOC, and nothing for COCO."""
    image = drawn((0, 0, 50, 50), C, ignored=(True, False))
    precision = average_precision([image], [found((10, 10, 20, 20), C)], 1)
    assert precision.coco50.item() == pytest.approx(1.0)
    assert precision.voc07.item() == pytest.approx(0.5)


def test_only_ignored_boxes_are_as_none() -> None:
    precision = average_precision([drawn(A, ignored=(True,))], [found(A)], 1)
    assert precision.coco50.isnan().all() and precision.voc07.isnan().all()


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    average_precision([drawn(A)], [found(A)], 1)
    assert capsys.readouterr() == ("", "")
