"""A part of the training split to choose settings on, so that nothing is ever chosen on the test split."""

from __future__ import annotations

import torch
from torch import Tensor

from sslzoo.views.keyed import Draw


def holdout(labels: Tensor, index: Tensor, share: float) -> Tensor:
    """(N,) bool: which samples are held out, the same for the same data on every machine.

    ``labels`` and ``index`` (the position in the data set, which decides the drawing) are (N,). Of each class ``share``
    of the samples are held out, rounded, but at least one, and never the last one left: a class of one sample is only
    fitted on.
    """
    order = Draw.root(0).at("evaluation", "holdout").of(index).bits("order").argsort()
    order = order[labels[order].argsort(stable=True)]
    held = torch.zeros(len(labels), dtype=torch.bool)
    for members in order.split(torch.bincount(labels).tolist()):
        count = min(len(members) - 1, max(1, round(share * len(members))))
        held[members[: max(0, count)]] = True
    return held
