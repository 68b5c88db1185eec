"""Losses in float32, whatever the precision of the network."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def in_float32(loss: Callable[P, T]) -> Callable[P, T]:
    """``loss`` outside autocast, its positional tensors widened if they are half-precision; the first is a tensor.

    A cosine has an error of up to 0.002 in bf16, which a temperature of 0.1 makes 0.02 in a logit; sums over a batch
    or over thousands of dimensions lose more. Next to the encoder a loss costs nothing.
    """

    @wraps(loss)
    def widened(*args: P.args, **kwargs: P.kwargs) -> T:
        first = args[0]
        assert isinstance(first, Tensor)
        with torch.autocast(first.device.type, enabled=False):
            return loss(*(_widened(value) for value in args), **kwargs)  # type: ignore[arg-type]

    return widened


def _widened(value: object) -> object:
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16) else value
