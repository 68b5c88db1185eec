"""To each sample of a batch another one, as a negative."""

from __future__ import annotations

import torch
from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.nn.gather import gather, own_part
from sslzoo.views.keyed import Draw


def of_others(rows: Tensor, key: Tensor, gathered: bool) -> Tensor:
    """(B, ...): for each sample with its ``key`` (B,) the row of another one, by ``others``.

    If ``gathered``, as in training, of those of all processes, which must call this together.

    Raises:
        UsageError: in training, if there is one sample only. (The last held-out batch may be of one.)
    """
    if not gathered:
        return rows[others(key)]
    keys = gather(key)
    if len(keys) < 2:
        raise UsageError("a batch of one sample has no other one to tell it from: use a larger --batch-size")
    return own_part(gather(rows)[others(keys)])


def others(key: Tensor) -> Tensor:
    """(B,) int64: for each sample with its ``key`` (B,) the position of another one, and each is that of one.

    Samples stand in a circle whose order their keys draw, and each takes the next: a random permutation that leaves
    none where it is, unless it is alone. It does not depend on the order in the batch, so that any number of processes
    make the same pairs of keys that were gathered.
    """
    circle = Draw(key).bits("circle").argsort()
    return torch.empty_like(circle).scatter_(0, circle, circle.roll(-1))
