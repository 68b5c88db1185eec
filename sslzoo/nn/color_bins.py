"""Colours as classes: the ab plane of CIELAB in squares of 10 units, of which sRGB needs 313.

Zhang, Isola & Efros, "Colorful Image Colorization", ECCV 2016, https://arxiv.org/abs/1603.08511, sections 2.1 and 2.3.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from scipy.spatial import ConvexHull
from torch import Tensor, nn

from sslzoo.config import UsageError
from sslzoo.encoders import spec_of
from sslzoo.nn.precision import in_float32
from sslzoo.views.lab import rgb_to_lab

GRID, SIGMA, NEIGHBOURS = 10, 5.0, 5
_REACH = 120
"""All colours of sRGB have a and b between minus this and this."""
_CANDIDATES = 21
"""Among so many bins around a grid point are the five nearest to any colour that is nearest to that grid point."""


@lru_cache(maxsize=1)
def gamut_bins() -> Tensor:
    """(313, 2): the colours a, b that stand for classes.

    The authors publish them as a list. It is this: the corners of all squares of the grid that meet the convex hull of
    the colours of sRGB. A point is such a corner if the square of twice the size around it meets the hull; and two
    convex shapes are apart if a line along an edge of one of them keeps them apart.
    """
    steps = torch.linspace(0, 1, 17, dtype=torch.float64)
    colors = rgb_to_lab(torch.cartesian_prod(steps, steps, steps)[:, :, None, None])[:, 1:, 0, 0]
    edges = torch.from_numpy(ConvexHull(colors.numpy()).equations)
    normals, offsets = edges[:, :2], edges[:, 2]
    points = _grid_points().double()
    meets_edges = (points @ normals.T + offsets < GRID * normals.abs().sum(dim=1)).all(dim=1)
    meets_sides = ((points - GRID < colors.amax(dim=0)) & (points + GRID > colors.amin(dim=0))).all(dim=1)
    return points[meets_edges & meets_sides].float()


def _grid_points() -> Tensor:
    steps = torch.arange(-_REACH, _REACH + GRID, GRID).float()
    return torch.cartesian_prod(steps, steps)


class ColorBins(nn.Module):
    """The bins, and how colours are shared out among them."""

    bins: Tensor
    near: Tensor

    def __init__(self) -> None:
        super().__init__()
        bins = gamut_bins()
        away = (_grid_points()[:, None] - bins).square().sum(dim=2)
        near = away.argsort(dim=1, stable=True)[:, :_CANDIDATES]
        self.register_buffer("bins", bins, persistent=False)
        self.register_buffer("near", near, persistent=False)

    def __len__(self) -> int:
        return len(self.bins)

    def encode(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """The five nearest bins of colours (B, 2, H, W) and how much each counts, both (B, 5, H, W).

        Nearest first; the weights fall as a Gaussian of sigma 5 and sum to 1.
        """
        colors = ab.movedim(1, -1)
        a, b = ((colors + _REACH) / GRID).round().long().clamp(0, 2 * _REACH // GRID).unbind(-1)
        candidates = self.near[a * (2 * _REACH // GRID + 1) + b]
        distances = (self.bins[candidates] - colors.unsqueeze(-2)).square().sum(dim=-1)
        nearest, place = distances.topk(NEIGHBOURS, largest=False)
        weights = torch.softmax(-nearest / (2 * SIGMA**2), dim=-1)
        return candidates.gather(-1, place).movedim(-1, 1), weights.movedim(-1, 1)


@in_float32
def annealed_mean(logits: Tensor, bins: Tensor, temperature: float = 0.38) -> Tensor:
    """Colours (B, 2, H, W) of logits (B, Q, H, W) over ``bins`` (Q, 2): the mean of the sharpened distribution.

    Equation 5. At a temperature of 1 it is the mean, near 0 the colour of the likeliest bin.
    """
    return torch.einsum("bqhw,qc->bchw", torch.softmax(logits / temperature, dim=1), bins)


@in_float32
def soft_cross_entropy(logits: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """(B, H, W): the cross-entropy of logits (B, Q, H, W) and a distribution that is 0 except at ``index``."""
    return -(F.log_softmax(logits, dim=1).gather(1, index) * weights).sum(dim=1)


def require_rgb(encoder: nn.Module) -> None:
    """For methods that tell colour from lightness.

    Raises:
        UsageError: if the encoder's images have other channels than red, green and blue.
    """
    channels = spec_of(encoder).input.size[0]
    if channels != 3:
        raise UsageError(f"lightness and colour are told apart in RGB pictures: leave out --channels {channels}")
