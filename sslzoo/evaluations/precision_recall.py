"""Average precision of one class's ranking, in two of the field's versions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

_ROUNDING = 1e-9


def area(truth: NDArray, scores: NDArray) -> float:
    """The area under the precision-recall curve, where precision at a recall is the best at that recall or above.

    That is PASCAL VOC's since 2010, and that of published VOC07 results by linear SVM (Goyal et al., ICCV 2019).
    Scikit-learn's ``average_precision_score`` leaves the curve as it is, and is never larger. ``truth`` (N,) is true of
    at least one sample; equal ``scores`` (N,) share a rank.
    """
    envelope, recall = _curve(truth, scores)
    return float(-np.diff(recall, append=0) @ envelope)


def eleven_points(truth: NDArray, scores: NDArray) -> float:
    """The mean of that precision at recalls of 0, 0.1, …, 1: PASCAL VOC's until 2009 (Everingham et al., 2010)."""
    envelope, recall = _curve(truth, scores)
    return float(np.mean([envelope[recall >= level / 10 - _ROUNDING][-1] for level in range(11)]))


def _curve(truth: NDArray, scores: NDArray) -> tuple[NDArray, NDArray]:
    """Best precision at each recall or above, and the recalls, which fall from 1."""
    precision, recall, _ = precision_recall_curve(truth, scores)
    return np.maximum.accumulate(precision[:-1]), recall[:-1]  # without the point that scikit-learn adds at recall 0
