"""Where pixels are, and what images show at any place. Places are in pixels, x right and y down, from the corner: the
centres of pixels are at integer + 0.5."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslzoo.nn.precision import in_float32


def pixel_places(height: int, width: int, device: torch.device) -> Tensor:
    """(2, H, W): x and y of every pixel's centre."""
    x, y = (torch.arange(length, device=device) + 0.5 for length in (width, height))
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])


@in_float32
def sample_at(images: Tensor, places: Tensor) -> Tensor:
    """Images (B, C, H, W) at ``places`` (B, 2, h, w): bilinear, and beyond the edge what is at the edge."""
    height, width = images.shape[2:]
    size = places.new_tensor([width, height])
    # What is not a number would be read from anywhere in memory, as torch does on a CPU.
    grid = (places.permute(0, 2, 3, 1) * (2 / size) - 1).nan_to_num().clamp(-2, 2)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
