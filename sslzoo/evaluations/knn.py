"""k-NN: the vote of the nearest training features (Wu et al., Unsupervised Feature Learning via Non-Parametric
Instance-level Discrimination, CVPR 2018, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.config import UsageError
from sslzoo.data.source import Source
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.labelled import accuracy, balanced_accuracy, labelled_pair, recall_by_name
from sslzoo.evaluations.nearest import largest, similarities


@dataclass(frozen=True)
class KNNConfig:
    k: int = 20
    """Neighbours that vote."""
    temperature: float = 0.07
    """A neighbour's vote weighs exp(cosine similarity / temperature)."""


@final
class KNN(Evaluation):
    """Each test image takes the class that most of its nearest training images have, weighted by similarity.

    Features are the encoder's final ones, L2-normalised. Nothing is chosen, so there is no validation split.
    """

    info = EvaluationInfo(
        name="knn",
        version=1,
        metric="balanced_accuracy",
        modalities=("image", "clip"),
        summary="Weighted vote among the nearest training features.",
    )
    Config = KNNConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Score ``test`` by the labels of ``train``.

        Raises:
            UsageError: if ``k`` or the temperature do not suit, or the splits' labels do not.
            UserError: if features are not finite.
        """
        k, temperature = self.config.k, self.config.temperature
        if k < 1 or temperature <= 0:
            raise UsageError(f"k-NN needs k >= 1 and a temperature above 0, not k={k} and temperature={temperature}")
        fitted, scored = labelled_pair(encoder, train, test)
        if k > len(fitted.labels):
            raise UsageError(
                f"k={k} is more than the {len(fitted.labels)} samples of {train.name}; choose a smaller --k"
            )
        device = next(encoder.parameters()).device
        rows = (fitted.features.final.to(device), fitted.labels.to(device), scored.features.final.to(device))
        predicted = vote(*rows, k, temperature).cpu()
        return Result(
            metrics={
                "balanced_accuracy": balanced_accuracy(predicted, scored.labels),
                "accuracy": accuracy(predicted, scored.labels),
            },
            details={
                "feature": "final",
                "k": k,
                "temperature": temperature,
                "recall": recall_by_name(predicted, scored),
                "readable": {"train": len(fitted.labels), "test": len(scored.labels)},
            },
        )


def vote(train: Tensor, labels: Tensor, test: Tensor, k: int, temperature: float) -> Tensor:
    """(M,) classes of the ``test`` features (M, D), from ``train`` (N, D) and its ``labels`` (N,).

    Of equally near neighbours the earlier ones vote; of equally supported classes the first wins.
    """
    train, test = F.normalize(train, dim=1), F.normalize(test, dim=1)
    classes = int(labels.max()) + 1
    predicted = [_vote(similarity, labels, classes, k, temperature) for similarity in similarities(test, train)]
    return torch.cat(predicted) if predicted else labels[:0]


def _vote(similarity: Tensor, labels: Tensor, classes: int, k: int, temperature: float) -> Tensor:
    """(B, N) similarities to (B,) classes."""
    neighbours = _nearest(similarity, k)
    near = similarity.gather(1, neighbours).double()
    weights = ((near - near.amax(1, keepdim=True)) / temperature).exp()
    votes = weights.new_zeros(len(similarity), classes)
    for chosen, weight in zip(labels[neighbours].split(1, dim=1), weights.split(1, dim=1), strict=True):
        votes.scatter_add_(1, chosen, weight)  # one at a time, so that sums are taken in one order
    return votes.argmax(1)


def _nearest(similarity: Tensor, k: int) -> Tensor:
    """(B, k) columns of the largest entries, in ascending order; of equal ones the first, unlike in ``largest``."""
    values, neighbours = largest(similarity, min(k + 1, similarity.shape[1]))
    neighbours = neighbours[:, :k].clone()
    if values.shape[1] > k:
        tied = (values[:, k - 1] == values[:, k]).nonzero()[:, 0]
        if len(tied):
            neighbours[tied] = similarity[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return neighbours.sort(dim=1).values
