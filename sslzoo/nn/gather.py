"""Rows of all processes in one tensor, with gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather(rows: Tensor) -> Tensor:
    """(B, ...) of each of W processes as (W * B, ...), in the order of the one batch they share; on one, ``rows``.

    The gradient that comes back to ``rows`` is summed over what all processes made of them. DDP then averages the
    gradients of parameters, so a step follows the gradient of the *mean over processes of the losses they return*.
    That is one process's gradient of the whole batch, both where every process returns the same loss of gathered
    rows, and where each returns the mean over its own rows of something that also looks at gathered ones.

    Half-precision rows are gathered as float32. All processes must call it together, with rows of one shape: not in
    ``eval()``, where every process has the whole held-out batch.
    """
    if _world() == 1:
        return rows
    return _Gather.apply(rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows)


def own_part(rows: Tensor) -> Tensor:
    """This process's (B, ...) of rows (W * B, ...) that are the same on all processes."""
    return rows.chunk(_world())[dist.get_rank()] if _world() > 1 else rows


def _world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty(rows.shape, dtype=rows.dtype, device=rows.device) for _ in range(_world())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return own_part(total)
