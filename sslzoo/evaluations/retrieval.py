"""Retrieval: whether an image's nearest neighbours are of its class (Musgrave, Belongie & Lim, A Metric Learning
Reality Check, ECCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.config import UsageError
from sslzoo.data.source import Source
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.labelled import labelled_split

_CHUNK = 2**22  # similarities at a time, which are sorted: some 150 MB


@dataclass(frozen=True)
class RetrievalConfig:
    k: tuple[int, ...] = (1, 5, 10)
    """Numbers of neighbours among which recall looks for one of the query's class."""


@final
class Retrieval(Evaluation):
    """Each test image is a query, and all other test images are ranked by their cosine similarity to it.

    That is the custom of metric learning, where queries and references are one set (CUB, Cars, Stanford Products);
    nothing is fitted, so no other split is needed. With R references of the query's class:

    - ``recall_at_k``: whether one of them is among the first k,
    - ``r_precision``: the share of them among the first R,
    - ``mean_average_precision_at_r``: the mean over the first R places of the precision down to that place, counted
      where it holds one of them (MAP@R),
    - ``mean_average_precision``: the same over the whole ranking, divided by R.

    Each is averaged over the queries of a class, then over classes, which all count the same. A query whose class has
    no other member is left out, and stays a reference for others. Features are the encoder's final ones.
    """

    info = EvaluationInfo(
        name="retrieval",
        version=1,
        metric="mean_average_precision_at_r",
        modalities=("image", "clip"),
        summary="Ranking of all other test images by similarity.",
        fits=False,
    )
    Config = RetrievalConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Rank the images of ``test`` for each of them; ``train`` is not looked at.

        Raises:
            UsageError: if ``k`` does not suit, labels do not, or no class has two images.
            UserError: if features are not finite.
        """
        found = labelled_split(encoder, test)
        cutoffs, labels = sorted(set(self.config.k)), found.labels
        if not cutoffs or not 1 <= cutoffs[0] <= cutoffs[-1] < len(labels):
            raise UsageError(
                f"k must be numbers from 1 to {len(labels) - 1}, the other images of {test.name}, not {self.config.k}"
            )
        queries = (torch.bincount(labels)[labels] > 1).nonzero()[:, 0]
        if not len(queries):
            raise UsageError(f"no class of {test.name} has two images, so there is nothing to find; choose another")
        device = next(encoder.parameters()).device
        scores = rank(found.features.final.to(device), labels.to(device), queries.to(device), cutoffs)
        by_class = {name: class_means(values.cpu(), labels[queries]) for name, values in scores.items()}
        headline = by_class[self.info.metric]
        return Result(
            metrics={name: sum(means.values()) / len(means) for name, means in by_class.items()},
            details={
                "feature": "final",
                "queries": len(queries),
                "left_out": len(labels) - len(queries),
                self.info.metric: {found.class_names[label]: mean for label, mean in headline.items()},
                "readable": {"test": len(labels)},
            },
        )


def rank(features: Tensor, labels: Tensor, queries: Tensor, cutoffs: list[int]) -> dict[str, Tensor]:
    """Every metric of each query, (Q,) float64 by name.

    ``features`` are (N, D), ``labels`` (N,), and ``queries`` (Q,) the places of those that have another of their class.
    Of equally similar images the earlier is ranked first.
    """
    features = F.normalize(features, dim=1)
    chunks = [
        _scores(_relevance(features, labels, chunk), cutoffs)
        for chunk in queries.split(max(1, _CHUNK // len(features)))
    ]
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def class_means(values: Tensor, labels: Tensor) -> dict[int, float]:
    """The mean of ``values`` (Q,) over each class that occurs in ``labels`` (Q,)."""
    return {label: values[labels == label].mean().item() for label in labels.unique().tolist()}


def _relevance(features: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """(B, N - 1) bool: whether the reference at each place of each query's ranking is of its class."""
    similarity = features[queries] @ features.T
    similarity[torch.arange(len(queries), device=queries.device), queries] = -torch.inf  # itself comes last
    order = similarity.sort(dim=1, descending=True, stable=True).indices[:, :-1]
    return labels[order] == labels[queries][:, None]


def _scores(relevant: Tensor, cutoffs: list[int]) -> dict[str, Tensor]:
    """Each metric of rankings (B, N - 1), by name."""
    place = torch.arange(1, relevant.shape[1] + 1, device=relevant.device)
    number = relevant.sum(dim=1)
    precision = relevant.cumsum(dim=1).double() / place * relevant
    within = place <= number[:, None]
    return {
        "mean_average_precision_at_r": (precision * within).sum(dim=1) / number,
        "mean_average_precision": precision.sum(dim=1) / number,
        "r_precision": (relevant & within).sum(dim=1).double() / number,
        **{f"recall_at_{k}": relevant[:, :k].any(dim=1).double() for k in cutoffs},
    }
