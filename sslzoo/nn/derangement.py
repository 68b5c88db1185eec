"""To each sample of a batch another one, as a negative."""

from __future__ import annotations

import torch
from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.views.keyed import Draw


def others(key: Tensor) -> Tensor:
    """(B,) int64: for each sample with its ``key`` (B,) the position of another one, and each is that of one.

    Samples stand in a circle whose order their keys draw, and each takes the next: a random permutation that leaves
    none where it is. It does not depend on the order in the batch, so that any number of processes make the same pairs
    of keys that were gathered.

    Raises:
        UsageError: if there is one sample only.
    """
    if len(key) < 2:
        raise UsageError("a batch of one sample has no other one to tell it from: use a larger --batch-size")
    circle = Draw(key).bits("circle").argsort()
    return torch.empty_like(circle).scatter_(0, circle, circle.roll(-1))
