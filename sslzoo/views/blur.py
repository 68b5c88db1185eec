"""Gaussian blur of float images (B, C, H, W), each sample with its own width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslzoo.views.chosen import on_chosen_
from sslzoo.views.keyed import Draw

_NEGLIGIBLE = 2.0**-24
"""A weight that a float32 sum of values up to one cannot show."""


def gaussian_blur(
    images: Tensor,
    draw: Draw,
    p: float = 0.5,
    sigma: tuple[float, float] = (0.1, 2.0),
    kernel_size: int = 0,
    inplace: bool = False,
) -> Tensor:
    """With probability ``p``, blur by a Gaussian whose standard deviation in pixels is uniform in ``sigma``.

    ``kernel_size`` is odd; 0 takes SimCLR's: a tenth of the image's height (Chen et al., ICML 2020, appendix A).
    """
    images = images if inplace else images.clone()
    unit = draw.uniform("gaussian_blur", shape=(2,))
    width = sigma[0] + (sigma[1] - sigma[0]) * unit[:, 1]
    weights = gaussian_weights(width, kernel_size or images.shape[2] // 20 * 2 + 1)
    by_width = width.argsort(stable=True)
    on_chosen_(images, by_width[unit[by_width, 0] < p], blur, weights)
    return images


def gaussian_weights(sigma: Tensor, length: int) -> Tensor:
    """(B, length): Gaussians of standard deviation ``sigma`` (B,) that sum to one, exactly 0 where negligible."""
    offset = torch.arange(length, device=sigma.device) - length // 2
    weights = torch.softmax(-((offset / sigma[:, None]) ** 2) / 2, dim=1)
    return F.threshold(weights, _NEGLIGIBLE, 0)


def blur(images: Tensor, weights: Tensor) -> Tensor:
    """Convolve rows and columns with the sample's symmetric ``weights`` (B, odd length), reflecting at the edges."""
    outer = int((weights != 0).any(dim=0).int().argmax())
    taps = weights.T[outer : weights.shape[1] - outer, :, None, None, None]
    radius = len(taps) // 2
    for dim, padding in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded = F.pad(images, padding, mode="reflect")
        windows = [padded.narrow(dim, start, images.shape[dim]) for start in range(len(taps))]
        images = windows[0] * taps[0]
        for window, tap in zip(windows[1:], taps[1:], strict=True):
            images.addcmul_(window, tap)
    return images
