"""Frozen features with their human labels, and how predictions of labels are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    """(N,) int64, positions in ``class_names``. Where several labels per image were asked for, and there are: (N, K)
    int64, 1 where an image has a class, 0 where it lacks it, -1 where that is not to be counted."""
    class_names: tuple[str, ...]


def labelled_pair(
    encoder: nn.Module, train: Source, test: Source, layers: bool = False, several: bool = False
) -> tuple[Labelled, Labelled]:
    """Features and labels of both splits; ``several`` labels per image are refused if they are not asked for.

    Raises:
        UsageError: as ``shared_classes`` does.
        UserError: if features are not finite.
    """
    names = shared_classes(train, test, several)
    return _labelled(encoder, train, names, layers), _labelled(encoder, test, names, layers)


def labelled_split(encoder: nn.Module, source: Source) -> Labelled:
    """Features and labels of one split.

    Raises:
        UsageError: if it has no labels or hides them, or there are not at least two classes.
        UserError: if features are not finite.
    """
    return _labelled(encoder, source, shared_classes(source, source), layers=False)


def shared_classes(train: Source, test: Source, several: bool = False) -> tuple[str, ...]:
    """The names of the classes of both splits, whose labels are in order.

    Raises:
        UsageError: if a split has no labels or hides them, has several per image though not ``several`` may be, the
            two name their classes differently, or there are not at least two classes to learn.
    """
    names = _class_names(train, test)
    for source in (train, test):
        check_labels(source, names, several)
    if train.labels().ndim != test.labels().ndim:
        one, more = (train, test) if train.labels().ndim == 1 else (test, train)
        raise UsageError(f"the images of {one.name} have one label each, those of {more.name} several; choose one kind")
    if _number_of_classes(train.labels()) < 2:
        raise UsageError(f"{train.name} has one class only, so there is nothing to tell apart; choose another data set")
    return names


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
    return round(sum(found) / len(found), 12)  # or of equal scores one would be chosen by how its sum was rounded


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """The share of samples that were predicted right."""
    return (predicted == labels).double().mean().item()


def top_accuracy(logits: Tensor, labels: Tensor, k: int) -> float:
    """The share of samples whose label is among the ``k`` classes with the largest of ``logits`` (N, K).

    A class that was not there to be learned, whose logits are -inf, is among none.
    """
    among = (logits.topk(k, dim=1).indices == labels[:, None]).any(dim=1)
    known = logits.gather(1, labels[:, None])[:, 0] > -torch.inf
    return (among & known).double().mean().item()


def recall_by_name(predicted: Tensor, test: Labelled) -> dict[str, float]:
    """``recalls`` with the names of the classes."""
    return {test.class_names[label]: recall for label, recall in recalls(predicted, test.labels).items()}


def finite_features(encoder: nn.Module, source: Source, layers: bool = False, **clips: Any) -> Features:
    """``cached_features`` that are numbers; ``clips`` are its ``views`` and ``sampling``.

    Raises:
        UserError: if some are not finite.
    """
    features = cached_features(encoder, source, layers, **clips)
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
    return tuple(str(label) for label in range(max(_number_of_labels(train), _number_of_labels(test))))


def _number_of_labels(source: Source) -> int:
    labels = source.labels()
    return labels.shape[1] if labels.ndim == 2 else 1 + int(labels.max())


def _number_of_classes(labels: Tensor) -> int:
    """Those that occur."""
    return int((labels == 1).any(dim=0).sum()) if labels.ndim == 2 else len(labels.unique())


def check_labels(source: Source, names: tuple[str, ...], several: bool = False) -> None:
    """Hold labels against the names of classes.

    Raises:
        UsageError: if one is hidden or no position in ``names``, or if there are several per image though not
            ``several`` may be.
    """
    labels = source.labels()
    if labels.ndim == 2:
        if not several:
            raise UsageError(
                f"the images of {source.name} have several labels each, and this evaluation needs one; use svm"
            )
        wrong = labels[(labels < -1) | (labels > 1)]
        if labels.shape[1] != len(names) or len(wrong):
            raise UsageError(
                f"the labels of {source.name} are broken: several per image are 1, 0 or -1 for each of its "
                f"{len(names)} classes"
            )
        return
    wrong = labels[(labels < 0) | (labels >= len(names))]
    if len(wrong):
        raise UsageError(
            f"{len(wrong)} of {len(labels)} samples of {source.name} have no known label ({int(wrong[0])}), "
            f"as in splits whose labels are kept secret; choose another split"
        )
