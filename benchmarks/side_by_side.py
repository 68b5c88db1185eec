"""Two sides of a comparison, timed by turns in one process, and how they compare.

Machines are shared and noisy, so nothing is said in seconds alone: the ratio is the median over pairs of turns that
follow each other, as on a busy machine both of a pair suffer alike.
"""

from __future__ import annotations

import cProfile
import json
import os
import platform
import pstats
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import sslzoo

PACKAGE = Path(sslzoo.__file__).parent
TELLING = 0.1, 0.9
"""Shares of a side's time: who has less matters little, who has more is all of it."""

Side = Callable[[], Any]
T = TypeVar("T")


def measure(prepare: Callable[[], Mapping[str, Side]], turns: int) -> dict[str, Any]:
    """Time the two sides that ``prepare`` gives by name, anew for each turn; ratios are of the first to the second.

    Each side is first as often as the other. The first pair warms up and does not count. Of each clock (``wall``, and
    ``processor`` with all threads of this process) the medians, the ratio with its quartiles, and that of the fastest;
    and, of a further turn, where the time of sslzoo's side goes.
    """
    clocks: dict[str, list[tuple[float, float]]] = {}
    for turn in range(turns + 1):
        sides = prepare()
        clocks = clocks or {name: [] for name in sides}
        for name in in_turn(list(sides), turn):
            began, worked = time.perf_counter(), time.process_time()
            sides[name]()
            clocks[name].append((time.perf_counter() - began, time.process_time() - worked))
    found = {kind: _summary(clocks, index) for index, kind in enumerate(("wall", "processor"))}
    return found | {"profile": shares(prepare()["sslzoo"])}


def shares(side: Side) -> dict[str, float]:
    """The functions of sslzoo that a side is in for most of its time, with what they call; some call one another.

    Where there is only one, those of other packages, without what they call.
    """
    profile = cProfile.Profile()
    profile.runcall(side)
    stats = pstats.Stats(profile)
    ours, others = {}, {}
    for (file, _, function), (_, _, own, within, _) in stats.stats.items():  # type: ignore[attr-defined]
        if Path(file).is_relative_to(PACKAGE) and function[0] not in "_<":
            ours[f"{Path(file).stem}.{function}"] = within / stats.total_tt  # type: ignore[attr-defined]
        else:
            name = function.split("'")[1] if function.startswith("<method '") else function.strip("<>")
            others[name if file == "~" else f"{Path(file).stem}.{name}"] = own / stats.total_tt  # type: ignore[attr-defined]
    return _telling(ours) or _telling(others)


def _telling(spent: dict[str, float]) -> dict[str, float]:
    longest = sorted(spent.items(), key=lambda item: -item[1])
    return {name: round(share, 2) for name, share in longest if TELLING[0] <= share <= TELLING[1]}


def in_turn(sides: Sequence[T], turn: int) -> Iterator[T]:
    """All of them, from the other end at every other turn."""
    yield from sides[:: 1 if turn % 2 else -1]


def compared(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """The ratio of the two sides' figures of the same turns: median and quartiles.

    The quartiles of two or three turns are their extremes.
    """
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 3 else _extremes(ratios)
    return {"ratio": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}


def _extremes(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def _summary(clocks: dict[str, list[tuple[float, float]]], index: int) -> dict[str, Any]:
    (first, ours), (second, theirs) = ((name, [clock[index] for clock in found[1:]]) for name, found in clocks.items())
    return {
        first: round(statistics.median(ours), 4),
        second: round(statistics.median(theirs), 4),
        **compared(ours, theirs),
        "ratio_of_fastest": round(min(ours) / min(theirs), 3),
    }


def line(name: str, result: dict[str, Any]) -> str:
    """A result in one line."""
    cells = [f"{name:24}"]
    for kind in ("wall", "processor"):
        found = result[kind]
        first, second, *_ = found
        low, high = found["quartiles"]
        cells.append(
            f"{kind} {first} {found[first]:.3f} s / {second} {found[second]:.3f} s = {found['ratio']:.2f} "
            f"({low:.2f} to {high:.2f}, fastest {found['ratio_of_fastest']:.2f})"
        )
    return " | ".join(cells)


def write(out: Path | None, turns: int, packages: Sequence[str], results: dict[str, Any], **about: Any) -> None:
    """Results, and with what they were measured: day, processor, versions of sslzoo, torch and other ``packages``."""
    if out is None:
        return
    found = {
        "turns": turns,
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        **about,
        "versions": {"python": platform.python_version(), **dict(_versions("sslzoo", "torch", *packages))},
    }
    out.write_text(json.dumps({"about": found, "results": results}, indent=1) + "\n")


def _versions(*packages: str) -> Iterator[tuple[str, str]]:
    for package in packages:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
