"""Gaussian blur of float images (B, C, H, W), each sample with its own width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sslzoo.views.chosen import on_chosen_
from sslzoo.views.keyed import Draw


def gaussian_blur(
    images: Tensor, draw: Draw, p: float = 0.5, sigma: tuple[float, float] = (0.1, 2.0), kernel_size: int = 0
) -> Tensor:
    """With probability ``p``, blur by a Gaussian whose standard deviation in pixels is uniform in ``sigma``.

    ``kernel_size`` is odd; 0 takes SimCLR's: a tenth of the image's height (Chen et al., ICML 2020, appendix A).
    """
    length = kernel_size or images.shape[2] // 20 * 2 + 1
    unit = draw.uniform("gaussian_blur", shape=(2,))
    width = sigma[0] + (sigma[1] - sigma[0]) * unit[:, 1]
    by_width = width.argsort()
    images = images.clone()
    on_chosen_(images, by_width[unit[by_width, 0] < p], blur, gaussian_weights(width, length))
    return images


def gaussian_weights(sigma: Tensor, length: int) -> Tensor:
    """(B, length): Gaussians of standard deviation ``sigma`` (B,) in pixels that sum to one."""
    offset = torch.arange(length, device=sigma.device) - length // 2
    weights = torch.softmax(-((offset / sigma[:, None]) ** 2) / 2, dim=1)
    return torch.where(weights < 2.0**-24, 0, weights)


def blur(images: Tensor, weights: Tensor) -> Tensor:
    """Convolve rows and columns with the sample's ``weights`` (B, odd length), reflecting at the edges."""
    while weights.shape[1] > 1 and not weights[:, 0].any():
        weights = weights[:, 1:-1]
    radius = weights.shape[1] // 2
    taps = weights.T[:, :, None, None, None]
    for dim, padding in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded = F.pad(images, padding, mode="reflect")
        windows = [padded.narrow(dim, start, images.shape[dim]) for start in range(len(taps))]
        images = windows[0] * taps[0]
        for window, tap in zip(windows[1:], taps[1:], strict=True):
            images.addcmul_(window, tap)
    return images
