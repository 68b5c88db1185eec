"""Two sides of a comparison, timed by turns in one process, and how they compare.

Machines are shared and noisy, so nothing is said in seconds alone: the ratio is the median over pairs of turns that
follow each other, as on a busy machine both of a pair suffer alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Side = Callable[[], Any]


def measure(prepare: Callable[[], Mapping[str, Side]], turns: int) -> dict[str, Any]:
    """Time the two sides that ``prepare`` gives by name, anew for each turn; ratios are of the first to the second.

    Each side is first as often as the other. The first pair warms up and does not count. Of each clock (``wall``, and
    ``processor`` with all threads of this process) the medians, the ratio with its quartiles, and that of the fastest.
    """
    clocks: dict[str, list[tuple[float, float]]] = {}
    for turn in range(turns + 1):
        sides = prepare()
        clocks = clocks or {name: [] for name in sides}
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            began, worked = time.perf_counter(), time.process_time()
            sides[name]()
            clocks[name].append((time.perf_counter() - began, time.process_time() - worked))
    return {kind: _summary(clocks, index) for index, kind in enumerate(("wall", "processor"))}


def _summary(clocks: dict[str, list[tuple[float, float]]], index: int) -> dict[str, Any]:
    (first, ours), (second, theirs) = ((name, [clock[index] for clock in found[1:]]) for name, found in clocks.items())
    low, middle, high = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)
    return {
        first: round(statistics.median(ours), 4),
        second: round(statistics.median(theirs), 4),
        "ratio": round(middle, 3),
        "quartiles": [round(low, 3), round(high, 3)],
        "ratio_of_fastest": round(min(ours) / min(theirs), 3),
    }


def line(name: str, result: dict[str, Any]) -> str:
    """A result in one line."""
    cells = [f"{name:24}"]
    for kind, found in result.items():
        first, second, *_ = found
        low, high = found["quartiles"]
        cells.append(
            f"{kind} {first} {found[first]:.3f} s / {second} {found[second]:.3f} s = {found['ratio']:.2f} "
            f"({low:.2f} to {high:.2f}, fastest {found['ratio_of_fastest']:.2f})"
        )
    return " | ".join(cells)
