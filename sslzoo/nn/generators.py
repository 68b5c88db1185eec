"""From random numbers to pictures.

Radford, Metz & Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", ICLR 2016, https://arxiv.org/abs/1511.06434, section 3 and figure 1.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from sslzoo.encoders import InputSpec
from sslzoo.views.color import normalize

START = 4
"""Height and width, at least, of the map that transposed convolutions enlarge."""
DEEPEST = 1024
"""Channels of that map, at most."""


class Generator(nn.Module):
    """Latents (B, latent_dim) to pictures (B, C, H, W) as an encoder takes them, normalised.

    A projection to a map of 4 x 4, or somewhat more where the picture asks for it; then transposed convolutions of
    5 x 5 that double the size, with batch norm and ReLU before each and tanh after the last, whose -1 to 1 are black to
    white. Weights begin with a deviation of 0.02. A size that doubling misses is cut from the next larger one.
    """

    def __init__(self, latent_dim: int, spec: InputSpec, width: int) -> None:
        """``width`` is the number of channels before the last layer; each layer before it has twice as many."""
        super().__init__()
        channels, *self.size = spec.size
        self.mean, self.std = spec.mean, spec.std
        doublings = max(1, int(math.log2(min(self.size) / START)))
        start = [math.ceil(length / 2**doublings) for length in self.size]
        widths = [min(width * 2**step, DEEPEST) for step in reversed(range(doublings))]
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, widths[0] * math.prod(start), bias=False),
            nn.Unflatten(1, (widths[0], *start)),
        ]
        for wide, narrow in pairwise(widths):
            layers += [*_norm(wide), _double(wide, narrow, bias=False)]
        layers += [*_norm(widths[-1]), _double(widths[-1], channels, bias=True)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        draw_weights(self)

    def forward(self, latent: Tensor) -> Tensor:
        made = self.layers(latent)
        top, left = ((have - want) // 2 for have, want in zip(made.shape[2:], self.size, strict=True))
        made = made[:, :, top : top + self.size[0], left : left + self.size[1]]
        return normalize((made + 1) / 2, self.mean, self.std)


def _norm(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(width), nn.ReLU(inplace=True)


def _double(wide: int, narrow: int, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(wide, narrow, 5, stride=2, padding=2, output_padding=1, bias=bias)


def draw_weights(network: nn.Module) -> None:
    """Draw anew all weights of a network of either player: normal, with a deviation of 0.02."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.02)
