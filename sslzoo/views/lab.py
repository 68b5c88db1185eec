"""Between RGB and CIELAB: lightness L in 0 to 100, green to red a and blue to yellow b, in about -110 to 110.

RGB is sRGB (IEC 61966-2-1) with values in [0, 1], Lab is CIE 1976's with the white of D65 as seen by the observer of
two degrees. Images are (B, 3, H, W) float tensors. Equal distances in Lab look about equally far apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TO_XYZ = torch.tensor(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    dtype=torch.float64,
)
_TO_XYZ /= _TO_XYZ.sum(dim=1, keepdim=True)
"""From linear RGB to shares of white's X, Y and Z. White is (1, 1, 1), so greys have no a and no b."""
_DARK, _SLOPE = (6 / 29) ** 3, (29 / 6) ** 2 / 3
"""Below this share of white the cube root is continued as a line of this slope."""


def rgb_to_lab(images: Tensor) -> Tensor:
    """L, a and b as three channels."""
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055) ** 2.4, images / 12.92)
    xyz = _mix(_TO_XYZ, linear)
    x, y, z = torch.where(xyz > _DARK, xyz ** (1 / 3), _SLOPE * xyz + 4 / 29).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """The inverse; colours that RGB does not have are cut off at 0 and 1."""
    linear = _linear(lab).clamp(min=0)
    return torch.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, linear * 12.92).clamp(max=1)


def paled(lab: Tensor) -> Tensor:
    """With a and b brought so near to grey that RGB has the colour at its lightness; nothing is to be cut off.

    White and black lose all colour thereby, where cutting off would tint them. Twelve halvings find how near.
    """
    lightness, ab = lab[:, :1], lab[:, 1:]
    kept, too_much = torch.zeros_like(lightness), torch.ones_like(lightness)
    for _ in range(12):
        share = (kept + too_much) / 2
        exists = _exists(torch.cat([lightness, share * ab], dim=1))
        kept, too_much = torch.where(exists, share, kept), torch.where(exists, too_much, share)
    return torch.where(_exists(lab), lab, torch.cat([lightness, kept * ab], dim=1))


def only_lightness(lab: Tensor) -> Tensor:
    """RGB of the grey picture of the same lightness."""
    return lab_to_rgb(torch.cat([lab[:, :1], torch.zeros_like(lab[:, 1:])], dim=1))


def only_colors(lab: Tensor) -> Tensor:
    """RGB of the picture that has the same a and b, and a lightness of 50 everywhere."""
    return lab_to_rgb(torch.cat([torch.full_like(lab[:, :1], 50.0), lab[:, 1:]], dim=1))


def _exists(lab: Tensor) -> Tensor:
    """(B, 1, H, W): whether RGB has the colour, within a ten-thousandth."""
    linear = _linear(lab)
    return ((linear > -1e-4) & (linear < 1 + 1e-4)).all(dim=1, keepdim=True)


def _linear(lab: Tensor) -> Tensor:
    """Linear RGB, below 0 and above 1 where RGB does not have the colour."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    roots = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    return _mix(torch.linalg.inv(_TO_XYZ), torch.where(roots > 6 / 29, roots**3, (roots - 4 / 29) / _SLOPE))


def _mix(matrix: Tensor, images: Tensor) -> Tensor:
    """Every pixel times ``matrix`` (3, 3)."""
    return torch.einsum("oc,bchw->bohw", matrix.to(images), images)
