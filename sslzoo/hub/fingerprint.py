"""The forward fingerprint: what an encoder answers to a fixed synthetic input.

A checksum tells that the bytes are the same; the fingerprint tells that they still mean the same: that no layer was
left at random, no statistic of a normalisation lost, and that today's timm computes what the timm of the day computed.
"""

from __future__ import annotations

import math
from contextlib import suppress
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from sslzoo.config import UserError
from sslzoo.encoders import spec_of

SAMPLES = 2
LONGEST_SIDE = 64
"""Pixels. Every layer works on a small image as it does on a large one, at a fraction of the cost: of resnet50 at 224,
it would be twice that of all else that loading does."""
MOST_FRAMES = 8
"""Of a clip, for the same reason."""
MOST_VALUES = 32
TOLERANCE = 5e-4
"""Largest difference, as a share of the root mean square of a sample's features. Instruction sets, thread counts and
memory formats differ by 2e-5 at most in float32 (measured, resnet50); one layer drawn anew, by 1e-3 at least."""


def synthetic_input(shape: tuple[int, ...]) -> Tensor:
    """(2, C, H, W) float32 in about [-2, 2], by a formula: waves slow and fast, and a chequered pattern.

    Of a clip (C, T, H, W) each frame moves them on. No random generator, so that it is the same for every version of
    every library.
    """
    channels, *time, height, width = shape
    axes = [torch.arange(length, dtype=torch.float64) for length in (SAMPLES, channels, *(time or [1]), height, width)]
    n, c, t, y, x = torch.meshgrid(*axes, indexing="ij")
    slow = torch.sin(2 * math.pi * ((n + 1) * x / width + (c + 1) * y / height) + c + 2 * n + 0.4 * t)
    fast = torch.sin(1.7 * x + 0.9 * (n + 1) * y + 0.5 * c + 0.8 * t)
    chequered = (7 * x + 11 * y + 13 * c + 17 * n + 5 * t) % 23 / 11 - 1
    waves = (0.8 * slow + 0.6 * fast + 0.6 * chequered).float()
    return waves if time else waves[:, :, 0]


def features_of(encoder: nn.Module, shape: tuple[int, ...] | None = None) -> Tensor:
    """(2, D) float32 features of the synthetic input, of the shape that ``encoder`` was trained with if none is given.

    The encoder must be on the CPU and in ``eval()``.
    """
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return encoder(synthetic_input(shape or spec_of(encoder).input.shape)).float()


def fingerprint(encoder: nn.Module) -> dict[str, Any]:
    """The answer to a small image (or clip) or, from an encoder for one size, to an image of that size.

    Raises:
        UserError: if a feature is not a finite number.
    """
    trained = spec_of(encoder).input.shape
    channels, *time, height, width = trained
    small = (channels, *(min(t, MOST_FRAMES) for t in time), min(height, LONGEST_SIDE), min(width, LONGEST_SIDE))
    if small != trained and not encoder.pretrained_cfg["fixed_input_size"]:  # type: ignore[index]
        with suppress(Exception):  # each architecture says in its own way that it needs a larger one
            return fingerprint_of_size(encoder, small)
    return fingerprint_of_size(encoder, trained)


def fingerprint_of_size(encoder: nn.Module, size: tuple[int, ...]) -> dict[str, Any]:
    """Shape, mean and spread of the features of each sample, and up to 32 evenly spaced ones of them. Plain JSON.

    Raises:
        UserError: if a feature is not a finite number.
    """
    features = features_of(encoder, size)
    if not features.isfinite().all():
        raise UserError(
            "the encoder's features are not finite numbers, so it is not worth keeping; train with a lower rate"
        )
    chosen = features.flatten(1)[:, _evenly(features[0].numel())]
    return {
        "input": "sines@1",
        "size": list(size),
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
    try:
        now = fingerprint_of_size(encoder, _size(stored, spec_of(encoder).input.shape))
    except UserError:
        raise
    except Exception as error:  # the size of its input comes from a file: the encoder may stumble over it in any way
        raise UserError(
            f"its features cannot be computed ({shorten(repr(error), 200)}); fetch or save it again"
        ) from error
    for key in ("input", "shape"):
        if now[key] != stored.get(key):
            raise UserError(
                f"its fingerprint has {key} {shorten(repr(stored.get(key)), 80)} instead of {now[key]!r}; "
                "sslzoo or timm may be too old"
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


def _size(stored: dict[str, Any], trained: tuple[int, ...]) -> tuple[int, ...]:
    """Of the input that a stored fingerprint was taken with, which never is larger than the one trained with.

    Raises:
        UserError: if it is malformed.
    """
    size = stored.get("size")
    if size is None:  # as before there were small ones
        return trained
    if not isinstance(size, list) or len(size) < 3 or not all(isinstance(side, int) for side in size):
        raise UserError("its fingerprint is malformed; fetch or save it again")
    fits = len(size) == len(trained) and all(0 < side <= most for side, most in zip(size, trained, strict=True))
    if not fits or size[0] != trained[0]:
        raise UserError(f"its fingerprint is of an input {size[:4]}, which does not fit {list(trained)}; save it again")
    return tuple(size)


def _table(stored: dict[str, Any]) -> Tensor:
    """(2, 2 + values): mean, spread and chosen features of each sample."""
    rows = zip(stored["mean"], stored["std"], stored["values"], strict=True)
    return torch.tensor([[mean, std, *values] for mean, std, values in rows])


def _evenly(length: int) -> list[int]:
    count = min(length, MOST_VALUES)
    return [index * length // count for index in range(count)]


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]
