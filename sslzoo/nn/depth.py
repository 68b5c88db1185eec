"""How well depth is told, and how it is shown. Depth is (B, 1, H, W) along the optical axis; infinite is not scored."""

from __future__ import annotations

import torch
from torch import Tensor

from sslzoo.nn.precision import in_float32

DELTA = 1.25


@in_float32
def depth_scores(found: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Of each image (B,), NaN where nothing is to be scored; by the names of Eigen, Puhrsch & Fergus (NIPS 2014).

    ``delta_1`` to ``delta_3`` are the shares of pixels that are off by a factor of less than 1.25 to the first, second
    and third power; ``abs_rel`` is the mean error as a share of the true depth; ``rmse`` is in metres.
    """
    scored = true.isfinite() & (true > 0)
    true = torch.where(scored, true, 1.0)
    factor = torch.maximum(found / true, true / found)
    by_pixel = {f"delta_{power}": (factor < DELTA**power).float() for power in (1, 2, 3)}
    by_pixel |= {"abs_rel": (found - true).abs() / true, "squared": (found - true).square()}
    counted = scored.sum(dim=(1, 2, 3))
    scores = {name: torch.where(scored, each, 0.0).sum(dim=(1, 2, 3)) / counted for name, each in by_pixel.items()}
    scores["rmse"] = scores.pop("squared").sqrt()
    return scores


@in_float32
def median_scaled(found: Tensor, true: Tensor) -> Tensor:
    """``found`` in the unit of ``true``: their medians over what is scored are made the same, image by image."""
    scored = true.isfinite() & (true > 0)
    medians = [torch.where(scored, each, torch.nan).flatten(1).nanmedian(dim=1).values for each in (true, found)]
    return found * (medians[0] / medians[1])[:, None, None, None]


@in_float32
def depth_colors(depth: Tensor, nearest: Tensor | None = None) -> Tensor:
    """(B, 3, H, W) in [0, 1]: near is bright, and infinitely far is black (matplotlib's magma, of the inverse).

    ``nearest`` (B,) is the inverse depth that is brightest; by default that which 5 % of an image's pixels exceed.
    """
    from matplotlib import colormaps

    inverse = 1 / depth
    if nearest is None:
        nearest = brightest(depth)
    share = (inverse / nearest[:, None, None, None]).clamp(0, 1)
    palette = torch.tensor(colormaps["magma"](range(256))[:, :3], dtype=torch.float32, device=depth.device)
    return palette[(share[:, 0] * 255).round().long()].permute(0, 3, 1, 2)


def brightest(depth: Tensor) -> Tensor:
    """(B,): the inverse depth that 5 % of the pixels exceed, above 0."""
    return (1 / depth).flatten(1).float().quantile(0.95, dim=1).clamp(min=1e-6)
