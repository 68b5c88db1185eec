"""What projectors and predictors are made of."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def hidden_layers(*widths: int) -> nn.Sequential:
    """Linear, batch norm, ReLU from each width to the next: (B, first) to (B, last).

    The linear layers have no bias, for batch norm would subtract it again.
    """
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Linear(narrow, wide, bias=False), nn.BatchNorm1d(wide), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
