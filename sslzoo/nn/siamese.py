"""One encoder for several views of a sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.encoders import spec_of


def encode_views(encoder: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """Features (B, V, D) of V views (B, C, H, W) of one size, in one pass.

    A convolutional encoder takes them as they are. One of fixed input size (a ViT) takes no other, so smaller views,
    the tiles of a puzzle, are enlarged to it: the answer is the same, the cost that of as many whole images.
    """
    images = torch.cat(list(views))
    size = spec_of(encoder).input.size[1:]
    if encoder.pretrained_cfg["fixed_input_size"] and images.shape[2:] != size:  # type: ignore[index]
        images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
    return encoder(images).unflatten(0, (len(views), -1)).transpose(0, 1)
