"""Schedules as pure functions of the step: no state to save, nothing to get out of step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence


def cosine(start: float, end: float, fraction: float) -> float:
    """From ``start`` at fraction 0 to ``end`` at fraction 1, along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def rate_factor(
    step: int, total_steps: int, *, warmup_steps: float = 0, schedule: str = "cosine", milestones: Sequence[float] = ()
) -> float:
    """Share of the peak learning rate at ``step`` (0 .. total_steps - 1).

    A linear rise that reaches the peak on step ``warmup_steps``, then one of: ``cosine`` to 0 (Loshchilov & Hutter,
    ICLR 2017), ``step`` (divided by ten after each milestone, a share of training), ``constant``.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if schedule == "cosine":
        return cosine(1.0, 0.0, (step - warmup_steps) / max(total_steps - warmup_steps, 1))
    if schedule == "step":
        return 0.1 ** bisect_right(sorted(milestones), step / total_steps)
    return 1.0
