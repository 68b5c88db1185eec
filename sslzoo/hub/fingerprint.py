"""The forward fingerprint: what an encoder answers to a fixed synthetic input.

A checksum tells that the bytes are the same; the fingerprint tells that they still mean the same: that no layer was
left at random, no statistic of a normalisation lost, and that today's timm computes what the timm of the day computed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sslzoo.config import UserError
from sslzoo.encoders import spec_of

SAMPLES = 2
MOST_VALUES = 32
TOLERANCE = 5e-4
"""Largest difference, as a share of the root mean square of a sample's features. Instruction sets, thread counts and
memory formats differ by 2e-5 at most in float32 (measured, resnet50); one layer drawn anew, by 1e-3 at least."""


def synthetic_input(size: tuple[int, int, int]) -> Tensor:
    """(2, C, H, W) float32 in about [-2, 2], by a formula: waves slow and fast, and a chequered pattern.

    No random generator, so that it is the same for every version of every library.
    """
    axes = [torch.arange(length, dtype=torch.float64) for length in (SAMPLES, *size)]
    n, c, y, x = torch.meshgrid(*axes, indexing="ij")
    height, width = size[1:]
    slow = torch.sin(2 * math.pi * ((n + 1) * x / width + (c + 1) * y / height) + c + 2 * n)
    fast = torch.sin(1.7 * x + 0.9 * (n + 1) * y + 0.5 * c)
    chequered = (7 * x + 11 * y + 13 * c + 17 * n) % 23 / 11 - 1
    return (0.8 * slow + 0.6 * fast + 0.6 * chequered).float()


def features_of(encoder: nn.Module) -> Tensor:
    """(2, D) float32 features of the synthetic input. The encoder must be on the CPU and in ``eval()``."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return encoder(synthetic_input(spec_of(encoder).input.size)).float()


def fingerprint(encoder: nn.Module) -> dict[str, Any]:
    """Shape, mean and spread of the features of each sample, and up to 32 evenly spaced ones of them. Plain JSON.

    Raises:
        UserError: if a feature is not a finite number.
    """
    features = features_of(encoder)
    if not features.isfinite().all():
        raise UserError(
            "the encoder's features are not finite numbers, so it is not worth keeping; train with a lower rate"
        )
    chosen = features.flatten(1)[:, _evenly(features[0].numel())]
    return {
        "input": "sines@1",
        "shape": list(features.shape),
        "mean": _rounded(features.flatten(1).mean(dim=1)),
        "std": _rounded(features.flatten(1).std(dim=1, correction=0)),
        "values": [_rounded(row) for row in chosen],
    }


def check(encoder: nn.Module, stored: dict[str, Any]) -> float:
    """The largest difference from a stored fingerprint, in units of ``TOLERANCE``'s scale.

    Raises:
        UserError: if it is over ``TOLERANCE``, or the features have another shape.
    """
    now = fingerprint(encoder)
    for key in ("input", "shape"):
        if now[key] != stored.get(key):
            raise UserError(
                f"its fingerprint has {key} {stored.get(key)} instead of {now[key]}; sslzoo or timm may be too old"
            )
    try:
        ours, theirs = _table(now), _table(stored)
        scale = theirs[:, :2].square().sum(dim=1, keepdim=True).sqrt().clamp_min(1e-12)
        difference = float(((ours - theirs).abs() / scale).max())
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError("its fingerprint is malformed; fetch or save it again") from error
    if not difference <= TOLERANCE:
        raise UserError(
            f"its features are not those of the encoder that was saved (relative difference {difference:.1e}, "
            f"at most {TOLERANCE:.0e} allowed); fetch or save it again"
        )
    return difference


def _table(stored: dict[str, Any]) -> Tensor:
    """(2, 2 + values): mean, spread and chosen features of each sample."""
    rows = zip(stored["mean"], stored["std"], stored["values"], strict=True)
    return torch.tensor([[mean, std, *values] for mean, std, values in rows])


def _evenly(length: int) -> list[int]:
    count = min(length, MOST_VALUES)
    return [index * length // count for index in range(count)]


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]
