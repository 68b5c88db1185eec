"""Learnt directions that features are compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.nn.precision import in_float32


class Prototypes(nn.Module):
    """``weight`` (K, dim), directions of length one; ``normalize`` makes them so again after an optimizer's step."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Cosines (..., K) of the directions of features (..., dim) with the prototypes, in float32."""
        return _cosines(features, self.weight)

    @torch.no_grad()
    def normalize(self) -> None:
        """Bring the prototypes back to length one."""
        self.weight.copy_(F.normalize(self.weight, dim=1))


@in_float32
def _cosines(features: Tensor, directions: Tensor) -> Tensor:
    return F.linear(F.normalize(features, dim=-1), directions)
