"""Nearest class mean: a class is the mean of its training features.

Mensink, Verbeek, Perronnin & Csurka, "Distance-Based Image Classification: Generalizing to New Classes at Near-Zero
Cost", TPAMI 2013, without its learnt metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sslzoo.data.source import Source
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.labelled import balanced_accuracy, labelled_pair, recall_by_name
from torch import Tensor, nn


@dataclass(frozen=True)
class NearestMeanConfig:
    unit_length: bool = True
    """Bring features to length one before they are averaged and compared."""


class NearestMean(Evaluation):
    """Nothing is chosen, so there is no validation split."""

    info = EvaluationInfo(
        name="nearest-mean",
        version=1,
        metric="balanced_accuracy",
        modalities=("image",),
        summary="The class whose mean training feature is nearest.",
        contract=1,
    )
    Config = NearestMeanConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Score ``test`` by the class means of ``train``."""
        fitted, scored = labelled_pair(encoder, train, test)
        rows, queries = fitted.features.final, scored.features.final
        if self.config.unit_length:
            rows, queries = F.normalize(rows, dim=1), F.normalize(queries, dim=1)
        predicted = nearest_mean(rows, fitted.labels, queries)
        return Result(
            metrics={"balanced_accuracy": balanced_accuracy(predicted, scored.labels)},
            details={"recall": recall_by_name(predicted, scored), "unit_length": self.config.unit_length},
        )


def nearest_mean(rows: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """(M,) classes of ``queries`` (M, D): those whose mean row is nearest, of ``rows`` (N, D) with ``labels`` (N,)."""
    classes = labels.unique()
    means = torch.stack([rows[labels == label].mean(0) for label in classes])
    return classes[torch.cdist(queries, means).argmin(1)]
