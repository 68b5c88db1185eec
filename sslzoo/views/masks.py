"""Which pixels or patches of a picture are taken away, drawn from each sample's key.

Masks of pixels are (B, 1, H, W) bool, True where a pixel is missing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslzoo.views.keyed import Draw

Size = tuple[int, int]
LEAST_PATCH = 2
"""Height and width in pixels of the smallest patches that ``patch_chances`` is enough for."""
_BLOB = 1 / 8
"""Side of the cells from which regions grow, as a share of the picture's."""


def center_mask(size: Size, margin: int = 0) -> Tensor:
    """(1, 1, H, W): the central half in height and in width, less ``margin`` pixels on each of its sides."""
    (top, left), (height, width) = (size[0] // 4, size[1] // 4), (size[0] // 2, size[1] // 2)
    mask = torch.zeros(1, 1, *size, dtype=torch.bool)
    mask[..., top + margin : top + height - margin, left + margin : left + width - margin] = True
    return mask


def block_mask(draw: Draw, size: Size, count: int, share: float) -> Tensor:
    """``count`` rectangles of the picture's proportions anywhere in it; ``share`` of it if none overlap, else less."""
    scale = (share / count) ** 0.5
    height, width = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    rows = _stretch(draw.integers("block top", size[0] - height + 1, (count,)), height, size[0])
    columns = _stretch(draw.integers("block left", size[1] - width + 1, (count,)), width, size[1])
    return (rows.transpose(1, 2) @ columns > 0)[:, None]


def _stretch(first: Tensor, length: int, whole: int) -> Tensor:
    """(B, N, whole) float32: 1 in the ``length`` places from ``first`` (B, N) on."""
    place = torch.arange(whole, device=first.device)
    return ((place >= first[..., None]) & (place < first[..., None] + length)).float()


def region_mask(draw: Draw, size: Size, share: float) -> Tensor:
    """Smooth random shapes anywhere: exactly ``share`` of the pixels, those where a field of smoothed noise is lowest.

    The field is a window, moved at random, of noise enlarged bicubically, as in the code of Pathak et al., CVPR 2016.
    """
    cell = (max(1, round(size[0] * _BLOB)), max(1, round(size[1] * _BLOB)))
    cells = [length // side + 3 for length, side in zip(size, cell, strict=True)]  # one more at each edge, one to move
    noise = draw.uniform("region", shape=(1, *cells))
    field = F.interpolate(noise, size=[n * side for n, side in zip(cells, cell, strict=True)], mode="bicubic")
    for dim, purpose in ((2, "region top"), (3, "region left")):
        side, length = cell[dim - 2], size[dim - 2]
        first = side + draw.integers(purpose, side)
        place = (first[:, None] + torch.arange(length, device=first.device)).view(-1, *_along(dim, length))
        field = field.take_along_dim(place, dim=dim)
    return _lowest(field, share)


def _along(dim: int, length: int) -> tuple[int, int, int]:
    return (1, length, 1) if dim == 2 else (1, 1, length)


def pixel_mask(draw: Draw, size: Size, share: float) -> Tensor:
    """``share`` of the pixels, each set of as many equally likely."""
    return _lowest(draw.bits("pixels", (1, *size)), share)


def _lowest(field: Tensor, share: float) -> Tensor:
    """Where values are among the lowest ``share`` of their sample's (B, 1, H, W)."""
    count = round(share * field[0].numel())
    if count == 0:
        return torch.zeros_like(field, dtype=torch.bool)
    return field <= field.flatten(1).kthvalue(count, dim=1).values[:, None, None, None]


def patch_chances(draw: Draw, size: Size) -> Tensor:
    """(B, M) float32: a random number for each patch that a picture of ``size`` may have.

    Views do not know the encoder's patches, so there are enough for patches of 2 x 2 pixels; ``patch_order`` takes as
    many as there are.
    """
    return draw.uniform("patches", shape=(size[0] * size[1] // LEAST_PATCH**2,))


def patch_order(chances: Tensor, patches: int) -> Tensor:
    """(B, patches) int64: all patches in a random order, of which the first are left visible."""
    return chances[:, :patches].argsort(dim=1, stable=True)
