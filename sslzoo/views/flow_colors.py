"""Pictures of optical flow."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def flow_colors(flow: Tensor, largest: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] of flow (B, 2, H, W): the direction as hue, and the darker, the slower.

    Of full brightness from the length ``largest`` (B,) on; black where the flow is not known.
    """
    x, y = flow.nan_to_num().unbind(1)
    hue = torch.atan2(y, x) / (2 * math.pi) * 6
    away = (hue[:, None] - hue.new_tensor([0, 2, 4])[:, None, None] + 3).remainder(6) - 3
    length = torch.hypot(x, y) / largest.clamp(min=1e-6)[:, None, None]
    return (2 - away.abs()).clamp(0, 1) * length.clamp(max=1)[:, None]


def largest_motion(flow: Tensor) -> Tensor:
    """(B,): the length of flow (B, 2, H, W) that one in fifty pixels exceeds."""
    return flow.nan_to_num().norm(dim=1).flatten(1).quantile(0.98, dim=1)
