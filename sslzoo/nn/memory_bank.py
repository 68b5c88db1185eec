"""A vector for every sample of the data set: what the encoder last made of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MemoryBank(nn.Module):
    """``rows`` (N, dim) of length one, each an average of what was put in for its sample.

    They begin as random directions (Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination", CVPR 2018, section 3.1). They are saved with the method, and in a run on several processes stay the
    same on all if what is put in is.
    """

    rows: Tensor

    def __init__(self, dim: int, momentum: float) -> None:
        """``momentum`` is how much of a row stays when it is put in anew. Give it its size in ``on_start``."""
        super().__init__()
        self.momentum = momentum
        self.register_buffer("rows", torch.zeros(0, dim))

    def resize(self, length: int) -> None:
        """Begin with ``length`` random directions, drawn on the CPU to be the same on every device."""
        self.rows = F.normalize(torch.randn(length, self.rows.shape[1]), dim=1).to(self.rows)

    @torch.no_grad()
    def put(self, index: Tensor, rows: Tensor) -> None:
        """Average ``rows`` (B, dim) into those of the samples ``index`` (B,), none of them twice."""
        self.rows[index] = F.normalize(torch.lerp(rows.to(self.rows), self.rows[index], self.momentum), dim=1)
