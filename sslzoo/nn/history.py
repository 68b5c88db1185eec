"""Maps that went by, for a discriminator that is not to forget them.

Shrivastava, Pfister, Tuzel, Susskind, Wang & Webb, "Learning from Simulated and Unsupervised Images through Adversarial
Training", CVPR 2017, section 2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslzoo.views.keyed import Draw


class History(nn.Module):
    """Maps (C, H, W) that went by. A new one is stored in place of one of them half of the time, which is given for it.

    It is saved with the method, and on several processes the same on all if what is exchanged is.
    """

    maps: Tensor
    count: Tensor

    def __init__(self, length: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("maps", torch.zeros(length, *shape))
        self.register_buffer("count", torch.tensor(0))

    @torch.no_grad()
    def exchange(self, new: Tensor, draw: Draw) -> Tensor:
        """(B, C, H, W) for ``new`` ones of that shape, with random numbers for each. Until it is full it stores all."""
        length, row = len(self.maps), torch.arange(len(new), device=new.device)
        place = self.count + row
        filling = place < length
        self.maps[place[filling]] = new[filling].to(self.maps.dtype)
        self.count.add_(len(new)).clamp_(max=length)
        slot, swapped = draw.integers("slot", length), draw.bernoulli("swap", 0.5) & ~filling
        given = torch.where(swapped[:, None, None, None], self.maps[slot].to(new.dtype), new)
        last = torch.full((length,), -1, device=new.device).scatter_reduce(0, slot, row.where(swapped, -1), "amax")
        self.maps[last >= 0] = new[last[last >= 0]].to(self.maps.dtype)
        return given
