"""Similarities of many rows to many others, and the largest of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

_CHUNK = 2**24  # similarities at a time, 64 MB; more if that is fewer than 64 queries
_BLOCK = 1024  # rows of a product, which so stays in the processor's cache
_SIZE = 16  # entries of a group, at most: larger ones leave fewer entries, but take longer to go through


def similarities(queries: Tensor, rows: Tensor) -> Iterator[Tensor]:
    """``queries @ rows.T`` of (M, D) and (N, D), some queries at a time: (B, N), each in the memory of the last."""
    size = max(64, _CHUNK // len(rows))
    memory = queries.new_empty(min(size, len(queries)), len(rows))
    for chunk in queries.split(size):
        found = memory[: len(chunk)]
        for columns, block in zip(found.split(_BLOCK, dim=1), rows.split(_BLOCK), strict=True):
            torch.mm(chunk, block.T, out=columns)
        yield found


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """What ``values.topk(k)`` gives for (B, N), in less time if ``k`` is far below N: (B, k) values and columns.

    The k largest are in those k groups of columns whose largest entries are the largest, or in the rest that fills no
    group; only these are sorted. Of equal entries any may be chosen, and they come in any order, as with ``topk``.
    """
    columns = values.shape[1]
    size = min(_SIZE, math.isqrt(columns // k))  # as many entries remain as there are groups
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
