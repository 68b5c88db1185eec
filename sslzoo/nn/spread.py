"""How different the vectors of a batch are: the number that shows a collapse."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sslzoo.nn.precision import in_float32


@in_float32
def spread(vectors: Tensor) -> Tensor:
    """0 when all directions of (B, D) are equal, about 1 when they fill the sphere; without gradient.

    The mean over dimensions of the standard deviation of L2-normalised vectors, times the root of D (Chen & He,
    "Exploring Simple Siamese Representation Learning", CVPR 2021, section 4.1).
    """
    return F.normalize(vectors.detach(), dim=1).std(0, correction=0).mean() * vectors.shape[1] ** 0.5
