"""Average precision of detections, by pycocotools: COCO's, and PASCAL VOC's of 2007."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from sslzoo.data.source import Annotation
from sslzoo.evaluations.annotated import ignored

DETECTIONS = 100
"""Of an image and a class, at most, the highest scored: COCO's number."""


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found on one image, in pixels of the image as it was read."""

    boxes: Tensor
    """(N, 4) float32: left, top, right, bottom."""
    labels: Tensor
    """(N,) int64."""
    scores: Tensor
    """(N,) in [0, 1]."""


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """Of each class, (K,) float64 in [0, 1]; NaN for a class without a box to be found."""

    coco: Tensor
    """Mean over overlaps of 0.50, 0.55, … 0.95, each over 101 recalls (Lin et al., Microsoft COCO, ECCV 2014)."""
    coco50: Tensor
    """At an overlap of 0.50."""
    coco75: Tensor
    """At an overlap of 0.75."""
    voc07: Tensor
    """At an overlap of 0.50, over eleven recalls (Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge,
    IJCV 2010, section 4.2)."""


def average_precision(drawn: Sequence[Annotation], found: Sequence[Detections], classes: int) -> AveragePrecision:
    """How well what was ``found`` on each image meets what was ``drawn`` on it.

    Ignored boxes count neither as found nor as missed, and each protocol has its way: of COCO's, a detection that lies
    to the threshold's share inside of one (a crowd) does not count; of VOC's, one that overlaps with one (a difficult
    object) as it would have to with any.

    Boxes have continuous edges, as in COCO; VOC's own program adds a pixel to each side.
    """
    truth = _indexed([_boxes(number, each) for number, each in enumerate(drawn)], len(drawn), classes)
    guess = _indexed([_detections(number, each) for number, each in enumerate(found)], len(drawn), classes)
    coco = _precisions(COCOeval(truth, guess, "bbox"))
    voc = _PlainOverlap(truth, guess, "bbox")
    voc.params.iouThrs, voc.params.recThrs = np.array([0.5]), np.linspace(0, 1, 11)
    return AveragePrecision(coco.mean(0), coco[0], coco[5], _precisions(voc)[0])


class _PlainOverlap(COCOeval):
    """Overlap with an ignored box is what it is with any: intersection over union, and not over the detection alone."""

    def computeIoU(self, imgId: int, catId: int) -> Any:
        boxes = self._gts[imgId, catId]
        crowds = [box["iscrowd"] for box in boxes]
        for box in boxes:
            box["iscrowd"] = 0
        overlaps = super().computeIoU(imgId, catId)
        for box, crowd in zip(boxes, crowds, strict=True):
            box["iscrowd"] = crowd
        return overlaps


def _precisions(evaluation: COCOeval) -> Tensor:
    """(T, K): for each overlap and class, the mean precision over the recalls."""
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, float("inf")]], ["all"]
    evaluation.params.maxDets = [DETECTIONS]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    precision = torch.from_numpy(evaluation.eval["precision"])[:, :, :, 0, 0]
    return torch.where(precision < 0, torch.nan, precision).mean(1)


def _indexed(boxes: list[list[dict[str, Any]]], images: int, classes: int) -> COCO:
    """COCO's index of boxes by image."""
    together = [box for own in boxes for box in own]
    index = COCO()
    index.dataset = {
        "images": [{"id": number} for number in range(images)],
        "categories": [{"id": label} for label in range(classes)],
        # Matches are told by number, where 0 is none.
        "annotations": [{**box, "id": number} for number, box in enumerate(together, start=1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    return index


def _boxes(image: int, annotation: Annotation) -> list[dict[str, Any]]:
    assert annotation.boxes is not None and annotation.labels is not None
    rows = zip(annotation.boxes.tolist(), annotation.labels.tolist(), ignored(annotation).tolist(), strict=True)
    return [{**_box(image, corners, label), "iscrowd": int(crowd)} for corners, label, crowd in rows]


def _detections(image: int, found: Detections) -> list[dict[str, Any]]:
    rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    return [{**_box(image, corners, label), "score": score} for corners, label, score in rows]


def _box(image: int, corners: list[float], label: int) -> dict[str, Any]:
    left, top, right, bottom = corners
    size = [right - left, bottom - top]
    return {"image_id": image, "category_id": label, "bbox": [left, top, *size], "area": size[0] * size[1]}
