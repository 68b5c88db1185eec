"""Sinkhorn's algorithm: scale rows and columns in turn until both have the sums they should have."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Marginal = Tensor | float


def log_sinkhorn(scores: Tensor, iterations: int, rows: Marginal = 1.0, columns: Marginal = 1.0) -> Tensor:
    """The logarithm of ``exp(scores)``, scaled so that its rows sum to ``rows`` and its columns to ``columns``.

    ``scores`` is (..., R, C), ``rows`` a number or (R,), ``columns`` a number or (C,); both must have the same total.
    Each iteration (Sinkhorn & Knopp, 1967) scales the rows, then the columns: column sums are exact, row sums the
    closer the more iterations. The sums are taken of logarithms, so no score is too large, and gradients flow through
    every iteration. With the defaults a square matrix becomes doubly stochastic; with ``rows=C / R`` it becomes the
    equal assignment of C samples to R prototypes.
    """
    for _ in range(iterations):
        scores = scores - scores.logsumexp(dim=-1, keepdim=True) + _log(rows, scores)[..., :, None]
        scores = scores - scores.logsumexp(dim=-2, keepdim=True) + _log(columns, scores)[..., None, :]
    return scores


def _log(marginal: Marginal, scores: Tensor) -> Tensor:
    """(1,) or (R,)."""
    if isinstance(marginal, Tensor):
        return marginal.log()
    return torch.full((1,), math.log(marginal), dtype=scores.dtype, device=scores.device)
