"""The newest rows that went by: negatives that cost no forward pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Queue(nn.Module):
    """The last ``length`` rows that were put in; until there were so many, also random directions of length one.

    ``rows`` (length, dim) is in no order of age. It is saved with the method, and in a run on several processes it
    stays the same on all if what is put in is (He et al., "Momentum Contrast", CVPR 2020, section 3.1).
    """

    rows: Tensor
    oldest: Tensor

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(length, dim), dim=1))
        self.register_buffer("oldest", torch.tensor(0))

    @torch.no_grad()
    def put(self, rows: Tensor) -> None:
        """Replace the oldest rows by ``rows`` (N, dim), of which the last ``length`` count."""
        length = len(self.rows)
        rows = rows[-length:]
        places = (self.oldest + torch.arange(len(rows), device=rows.device)) % length
        self.rows[places] = rows.to(self.rows.dtype)
        self.oldest.add_(len(rows)).remainder_(length)
