"""The largest of many similarities."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """What ``values.topk(k)`` gives for (B, N), in less time if ``k`` is far below N: (B, k) values and columns.

    The k largest are in those k groups of columns whose largest entries are the largest, or in the rest that fills no
    group; only these are sorted. Of equal entries any may be chosen, and they come in any order, as with ``topk``.
    """
    columns = values.shape[1]
    size = math.isqrt(columns // k)  # as many entries remain as there are groups
    if size < 2:
        return values.topk(k, dim=1)
    groups = columns // size  # the members of each are that many columns apart, which is the fast layout
    grouped = values[:, : size * groups].unflatten(1, (size, groups))
    chosen = grouped.amax(1).topk(k, dim=1, sorted=False).indices
    members = chosen[:, None] + groups * torch.arange(size, device=values.device)[:, None]
    rest = torch.arange(size * groups, columns, device=values.device).expand(len(values), -1)
    kept = torch.cat([members.flatten(1), rest], dim=1)
    found, places = values.gather(1, kept).topk(k, dim=1)
    return found, kept.gather(1, places)
