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
import torch.nn.functional as F
from torch import Tensor

from sslzoo.views.keyed import Draw

PIXELS, TRIES, EIGHT = 400, 60, 8
"""Pixels that are looked at, and how often eight of them are tried. In 998 of 1,000 pictures all of some eight stand
still if a quarter of the pixels moves, and in 9 of 10 if a third does."""
STILL = 2e-4
"""Half of the pixels move by less than this share of the picture if the camera stands still: then F is anything."""
ROBUST = 2.5 * 1.4826
"""Medians from which on an error is no error: Rousseeuw's 2.5 standard deviations of normal errors."""
ROUNDING = 1e-7
"""Of coordinates up to 1 in single precision: so far off is a pixel that agrees when the median itself is 0."""


def off_epipolar(flow: Tensor, draw: Draw) -> Tensor:
    """How far each pixel's motion is from one of what stands still: (B, H, W) pixels of ``flow`` (B, 2, H, W).

    First-order distance (Sampson's); of a camera that stands still the length of the flow. 0 where there is no flow.
    """
    batch, _, height, width = flow.shape
    finite, scale = flow.isfinite(), max(height, width) / 2
    known = finite.all(dim=1).flatten(1)
    moved = (flow / scale).masked_fill(~finite, 0.0).flatten(2)
    here = _pixels(height, width, scale).expand_as(moved)
    there = here + moved
    rows = torch.arange(batch)[:, None]
    chosen = draw.integers("pixels", height * width, (PIXELS,))
    tried = draw.integers("tries", PIXELS, (TRIES, EIGHT))

    some = [points.gather(2, chosen[:, None].expand(-1, 2, -1)) for points in (here, there)]
    equations = _equations(*some)
    candidates = _solve(equations[rows[:, :, None], tried])
    distances = sampson(candidates, some[0][:, None], some[1][:, None])
    median, best = distances.median(dim=2).values.min(dim=1)
    agreeing = distances[torch.arange(batch), best] <= ROBUST * median[:, None] + ROUNDING
    found = _solve(equations * agreeing[..., None])
    distance = sampson(found, here, there)

    length = torch.hypot(*moved.unbind(1))
    still = length.median(dim=1, keepdim=True).values < 2 * STILL
    return (torch.where(still, length, distance) * known * scale).view(batch, height, width)


def sampson(matrix: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """(..., N): the first-order distance of pairs of points (..., 2, N) from those that obey ``matrix`` (..., 3, 3)."""
    (x, y), (to_x, to_y) = here.unbind(-2), there.unbind(-2)
    (a, b, c), (d, e, f), (g, h, i) = (row.split(1, dim=-1) for row in matrix.unbind(-2))
    line_x, line_y, line_one = a * x + b * y + c, d * x + e * y + f, g * x + h * y + i
    back_x, back_y = a * to_x + d * to_y + g, b * to_x + e * to_y + h
    error = (to_x * line_x + to_y * line_y + line_one).abs()
    slope = line_x * line_x + line_y * line_y + back_x * back_x + back_y * back_y
    return error / slope.sqrt().clamp(min=1e-12)


def _pixels(height: int, width: int, scale: float) -> Tensor:
    """(2, N): x and y of all pixels, about the middle of the picture, with its longer side from -1 to 1."""
    rows, columns = ((torch.arange(side) + 0.5 - side / 2) / scale for side in (height, width))
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy")).flatten(1)


def _equations(here: Tensor, there: Tensor) -> Tensor:
    """(..., N, 9): what x' F x = 0 says of the numbers of F, for points (..., 2, N), in twice their precision."""
    here, there = (F.pad(points.double().mT, (0, 1), value=1.0) for points in (here, there))
    return (there[..., :, None] * here[..., None, :]).flatten(-2)


def _solve(equations: Tensor) -> Tensor:
    """(..., 3, 3) float32 of length one that meets ``equations`` (..., N, 9) with the least sum of squares."""
    found = torch.linalg.eigh(equations.mT @ equations).eigenvectors[..., 0]
    return found.unflatten(-1, (3, 3)).float()
