"""Parts of the training split, with each class's share: to choose settings on, or to be all that has labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sslzoo.views.keyed import Draw


def holdout(labels: Tensor, index: Tensor, share: float) -> Tensor:
    """(N,) bool: which samples are held out, the same for the same data on every machine.

    ``labels`` and ``index`` (the position in the data set, which decides the drawing) are (N,). Of each class ``share``
    of the samples are held out, rounded, but at least one, and never the last one left: a class of one sample is only
    fitted on.
    """
    return _drawn(labels, index, "holdout", lambda size: max(0, min(size - 1, max(1, round(share * size)))))


def labelled_share(labels: Tensor, index: Tensor, share: float) -> Tensor:
    """(N,) bool: which samples keep their label where only ``share`` of them have one, in the same manner.

    Of each class it is that share, rounded, but at least one. A smaller share is part of a larger one.
    """
    return _drawn(labels, index, "labels", lambda size: max(1, round(share * size)))


def _drawn(labels: Tensor, index: Tensor, purpose: str, count: Callable[[int], int]) -> Tensor:
    """(N,) bool: the first ``count(size)`` of each class, in an order that ``index`` and ``purpose`` decide."""
    order = Draw.root(0).at("evaluation", purpose).of(index).bits("order").argsort()
    order = order[labels[order].argsort(stable=True)]
    drawn = torch.zeros(len(labels), dtype=torch.bool)
    for members in order.split(torch.bincount(labels).tolist()):
        drawn[members[: min(len(members), count(len(members)))]] = True
    return drawn
