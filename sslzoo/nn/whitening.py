"""Principal components of equal variance."""

from __future__ import annotations

import torch
from torch import Tensor

_NEGLIGIBLE = 1e-5
"""Share of the largest variance below which a direction holds rounding errors only."""


@torch.no_grad()
def pca_whitening(features: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """``mean`` (D,) and ``matrix`` (D, dim): ``(features - mean) @ matrix`` has uncorrelated columns of variance one.

    They are the ``dim`` directions in which the features (N, D) vary most, in falling order. Columns for directions in
    which they do not vary, as when N is small, are zero.
    """
    mean = features.mean(0)
    centred = features - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(features))
    variances, directions = variances.flip(0)[:dim], directions.flip(1)[:, :dim]
    varies = variances > _NEGLIGIBLE * variances[0].clamp(min=torch.finfo(variances.dtype).tiny)
    return mean, directions * torch.where(varies, variances.clamp(min=0).rsqrt(), 0)
