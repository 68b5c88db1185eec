"""Exponential moving averages of modules: teachers, and averaged encoders."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def frozen_copy(module: M) -> M:
    """A copy that takes no gradient: a teacher at its birth."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def ema_update(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """``teacher = momentum * teacher + (1 - momentum) * student``, for parameters and floating-point buffers.

    Other buffers (batch norm's step counts) are copied. Both modules must have the same structure.
    """
    averages, values = [], []
    students = student.state_dict()
    for name, mine in teacher.state_dict().items():
        if mine.is_floating_point():
            averages.append(mine)
            values.append(students[name].to(mine.dtype))
        else:
            mine.copy_(students[name])
    torch._foreach_lerp_(averages, values, 1 - momentum)
