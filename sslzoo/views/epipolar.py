"""What moves by itself, seen by a camera that may move too: from optical flow alone.

Whatever stands still moves in the picture so that x' F x = 0, for a pixel x, its place x' in the next frame, and one
matrix F of the camera's motion, at any depth (Longuet-Higgins 1981). F is found by least median of squares (Rousseeuw
1984; Zhang, "Determining the Epipolar Geometry and its Uncertainty", IJCV 1998, section 5): of those through eight
random pixels the one that lies nearest to half of the picture, and then the best one for the pixels that agree.

So more than half of the picture must stand still. What moves along its own epipolar line, such as a car straight ahead,
looks as if it stood still.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslzoo.views.keyed import Draw

PIXELS, TRIES, EIGHT = 400, 60, 8
"""Pixels that are looked at, and how often eight of them are tried. In 998 of 1,000 pictures all of some eight stand
still if a quarter of the pixels moves, and in 9 of 10 if a third does."""
STILL = 2e-4
"""Half of the pixels move by less than this share of the picture if the camera stands still: then F is anything."""
ROBUST = 2.5 * 1.4826
"""Medians from which on an error is no error: Rousseeuw's 2.5 standard deviations of normal errors."""


def off_epipolar(flow: Tensor, draw: Draw) -> Tensor:
    """How far each pixel's motion is from one of what stands still: (B, H, W) pixels of ``flow`` (B, 2, H, W).

    First-order distance (Sampson's); of a camera that stands still the length of the flow. 0 where there is no flow.
    """
    batch, _, height, width = flow.shape
    known = flow.isfinite().all(dim=1).flatten(1)
    scale = max(height, width) / 2
    moved = (flow / scale).masked_fill(~flow.isfinite(), 0.0).flatten(2).mT.double()
    here, there = _homogeneous(height, width, scale, moved)
    rows = torch.arange(batch)[:, None]
    chosen = draw.integers("pixels", height * width, (PIXELS,))
    tried = draw.integers("tries", PIXELS, (TRIES, EIGHT))

    some = (here[rows, chosen], there[rows, chosen])
    equations = _equations(*some)
    candidates = _solve(equations[rows[:, :, None], tried])
    distances = sampson(candidates, some[0][:, None], some[1][:, None])
    median, best = distances.median(dim=2).values.min(dim=1)
    agreeing = distances[torch.arange(batch), best] <= ROBUST * median[:, None] + 1e-9
    found = _solve(equations * agreeing[..., None])
    distance = sampson(found, here, there)

    length = torch.hypot(*moved.unbind(2))
    still = length.median(dim=1, keepdim=True).values < 2 * STILL
    return (torch.where(still, length, distance) * known * scale).float().view(batch, height, width)


def sampson(matrix: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """(..., N): the first-order distance of pairs of points (..., N, 3) from those that obey ``matrix`` (..., 3, 3)."""
    a, b, c = (here @ matrix.mT).unbind(-1)  # one number at a time, as sums of three are slow
    back_a, back_b, _ = (there @ matrix).unbind(-1)
    x, y, z = there.unbind(-1)
    error = (a * x + b * y + c * z).abs()
    slope = a * a + b * b + back_a * back_a + back_b * back_b
    return error / slope.sqrt().clamp(min=1e-12)


def _homogeneous(height: int, width: int, scale: float, moved: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, N, 3) and where they go, about the middle of the picture, with its longer side from -1 to 1."""
    rows, columns = ((torch.arange(side, dtype=torch.float64) + 0.5 - side / 2) / scale for side in (height, width))
    here = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).view(-1, 2).expand_as(moved)
    ones = torch.ones_like(here[..., :1])
    return torch.cat([here, ones], dim=-1), torch.cat([here + moved, ones], dim=-1)


def _equations(here: Tensor, there: Tensor) -> Tensor:
    """(..., 9): what x' F x = 0 says of the numbers of F."""
    return (there[..., :, None] * here[..., None, :]).flatten(-2)


def _solve(equations: Tensor) -> Tensor:
    """(..., 3, 3) of length one that meets ``equations`` (..., N, 9) with the least sum of squares."""
    return torch.linalg.eigh(equations.mT @ equations).eigenvectors[..., 0].unflatten(-1, (3, 3))
