"""Frozen features with their human labels, and how predictions of labels are scored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Source
from sslzoo.features import Features, cached_features


@dataclass(frozen=True, eq=False)
class Labelled:
    """The readable samples of a split."""

    features: Features
    labels: Tensor
    """(N,) int64, positions in ``class_names``."""
    class_names: tuple[str, ...]


def labelled_pair(encoder: nn.Module, train: Source, test: Source, layers: bool = False) -> tuple[Labelled, Labelled]:
    """Features and labels of both splits.

    Raises:
        UsageError: if a split has no labels or hides them, the two name their classes differently, or there are not at
            least two classes to learn.
        UserError: if features are not finite.
    """
    names = _class_names(train, test)
    check_labels(train, names)
    check_labels(test, names)
    if len(train.labels().unique()) < 2:
        raise UsageError(f"{train.name} has one class only, so there is nothing to tell apart; choose another data set")
    return _labelled(encoder, train, names, layers), _labelled(encoder, test, names, layers)


def recalls(predicted: Tensor, labels: Tensor) -> dict[int, float]:
    """For each class that occurs in ``labels`` (N,), the share of its samples that were predicted right."""
    right = predicted == labels
    classes, position = labels.unique(return_inverse=True)
    count = torch.bincount(position, minlength=len(classes))
    hits = torch.bincount(position[right], minlength=len(classes))
    return dict(zip(classes.tolist(), (hits.double() / count).tolist(), strict=True))


def balanced_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """The mean recall of the classes that occur in ``labels``: all count the same, however many samples they have.

    A class that the training split lacks is never predicted, and counts as 0.
    """
    found = recalls(predicted, labels).values()
    return sum(found) / len(found)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """The share of samples that were predicted right."""
    return (predicted == labels).double().mean().item()


def recall_by_name(predicted: Tensor, test: Labelled) -> dict[str, float]:
    """``recalls`` with the names of the classes."""
    return {test.class_names[label]: recall for label, recall in recalls(predicted, test.labels).items()}


def finite_features(encoder: nn.Module, source: Source, layers: bool = False) -> Features:
    """``cached_features`` that are numbers.

    Raises:
        UserError: if some are not finite.
    """
    features = cached_features(encoder, source, layers)
    for name, rows in (features.layers or {"final": features.final}).items():
        if not rows.isfinite().all():
            raise UserError(
                f"the encoder's features of {source.name} are not finite in layer {name}, so it has diverged; "
                f"evaluate an earlier one, or train with a lower rate"
            )
    return features


def _labelled(encoder: nn.Module, source: Source, names: tuple[str, ...], layers: bool) -> Labelled:
    features = finite_features(encoder, source, layers)
    return Labelled(features, source.labels()[features.index], names)


def _class_names(train: Source, test: Source) -> tuple[str, ...]:
    if train.class_names != test.class_names:
        different = sorted(set(train.class_names) ^ set(test.class_names))
        reason = f"they differ in {', '.join(different[:5])}" if different else "their order differs"
        raise UsageError(
            f"{train.name} and {test.name} do not have the same classes: {reason}; choose splits of one data set"
        )
    if train.class_names:
        return train.class_names
    return tuple(str(label) for label in range(1 + max(int(train.labels().max()), int(test.labels().max()))))


def check_labels(source: Source, names: tuple[str, ...]) -> None:
    """
    Raises:
        UsageError: if a sample's label is no position in ``names``.
    """
    labels = source.labels()
    wrong = labels[(labels < 0) | (labels >= len(names))]
    if len(wrong):
        raise UsageError(
            f"{len(wrong)} of {len(labels)} samples of {source.name} have no known label ({int(wrong[0])}), "
            f"as in splits whose labels are kept secret; choose another split"
        )
