"""What the flow between two frames must be like, of which UnFlow (Meister, Hur & Roth, AAAI 2018) learns it.

As in the authors' code, each loss is a mean over all pixels, where those that are not counted count nothing.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sslzoo.nn.flow import warp
from sslzoo.nn.precision import in_float32
from sslzoo.views.color import to_grayscale

BORDER = 0.1
"""Share of the shorter side at each edge where the second frame is not looked for."""


@in_float32
def both_ways(
    there: Tensor, back: Tensor, first: Tensor, second: Tensor, mask: Tensor, radius: int, full: Tensor
) -> dict[str, Tensor]:
    """The losses of one resolution, summed over both directions; in the first stage no pixel counts as covered."""
    total = {name: there.new_zeros(()) for name in ("census", "smooth", "consistency", "occlusion")}
    for one, other, near, far in ((there, back, first, second), (back, there, second, first)):
        left, covered = round_trip(one, other)
        counted = mask * ~(covered & full)
        losses = {
            "census": census_loss(near, warp(far, one), counted, radius),
            "smooth": smoothness_loss(one),
            "consistency": (charbonnier(left) * counted).mean(),
            "occlusion": charbonnier(1 - counted).mean(),
        }
        total = {name: total[name] + loss for name, loss in losses.items()}
    return total


def charbonnier(error: Tensor) -> Tensor:
    """(error^2 + 0.001^2)^0.45, a robust penalty that grows a little more slowly than the error (Sun et al., 2014)."""
    return (error.square() + 0.001**2) ** 0.45


def census(images: Tensor, radius: int) -> Tensor:
    """(B, (2 radius + 1)^2, H, W): how much brighter each pixel around is, softly -1, 0 or 1 (Stein, 2004).

    Of images (B, 1, H, W) in grey levels from 0 to 255, black around.
    """
    around = F.unfold(images, 2 * radius + 1, padding=radius).unflatten(2, images.shape[2:])
    brighter = around - images
    return brighter / (0.81 + brighter.square()).sqrt()


def census_loss(first: Tensor, warped: Tensor, counted: Tensor, radius: int) -> Tensor:
    """The soft Hamming distance of the census of images (B, C, H, W) in [0, 1] where ``counted`` (B, 1, H, W) > 0.

    A mean over all pixels, where those count nothing that are left out, or nearer than ``radius`` to an edge.
    """
    grey = [255 * to_grayscale(image)[:, :1] for image in (first, warped)]
    apart = (census(grey[0], radius) - census(grey[1], radius)).square()
    distance = (apart / (0.1 + apart)).sum(dim=1, keepdim=True)
    return (charbonnier(distance) * counted * _inner(counted, radius)).mean()


def smoothness_loss(flow: Tensor) -> Tensor:
    """The second differences of flow (B, 2, H, W) across, down and along both diagonals: their mean, of x and y summed.

    Those that would reach beyond an edge count nothing.
    """
    middle_row, middle_column = flow[..., 1:-1, :], flow[..., 1:-1]
    middle = middle_row[..., 1:-1]
    differences = (
        flow[..., :-2] - 2 * middle_column + flow[..., 2:],
        flow[..., :-2, :] - 2 * middle_row + flow[..., 2:, :],
        flow[..., :-2, :-2] - 2 * middle + flow[..., 2:, 2:],
        flow[..., :-2, 2:] - 2 * middle + flow[..., 2:, :-2],
    )
    total = sum(charbonnier(difference).sum() for difference in differences)
    return 2 * total / (len(differences) * flow.numel())


def round_trip(there: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """What is left (B, 2, H, W) after going ``there`` and, from where that leads, ``back``; and whether the pixel is
    covered (B, 1, H, W): whether more is left than the flows' lengths explain (Sundaram, Brox & Keutzer, ECCV 2010).
    """
    left = there + warp(back, there)
    allowed = 0.01 * (there.square() + back.square()).sum(dim=1, keepdim=True) + 0.5
    return left, left.square().sum(dim=1, keepdim=True) > allowed


def inside_border(size: tuple[int, int]) -> Tensor:
    """(1, 1, H, W): 1, but 0 in a tenth of the shorter side at each edge."""
    mask = torch.ones(1, 1, *size)
    return mask * _inner(mask, math.ceil(min(size) * BORDER))


def _inner(like: Tensor, margin: int) -> Tensor:
    """(H, W): 1 further than ``margin`` from the edges, else 0."""
    height, width = like.shape[2:]
    down, across = torch.arange(height, device=like.device), torch.arange(width, device=like.device)
    rows, columns = ((place >= margin) & (place < size - margin) for place, size in ((down, height), (across, width)))
    return (rows[:, None] & columns).to(like.dtype)
