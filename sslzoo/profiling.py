"""Where the time of a step goes: ``sslzoo pretrain --profile``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.table import Table

from sslzoo.checkpoint import atomic_write
from sslzoo.data.stopwatch import Stopwatch
from sslzoo.machine import Resolved, usable_cores

T = TypeVar("T")

IN_LOADER = {"decode": "read and decode", "crop": "crop", "augment": "augment and pseudo-labels"}
IN_STEP = {
    "wait": "wait for the loader",
    "transfer": "to the device, augment there",
    "forward": "forward",
    "backward": "backward",
    "optimizer": "optimizer",
    "hooks": "the method's hooks",
    "logging": "log, validate, monitor, draw",
    "checkpoint": "checkpoint",
}
WARM_UP = 5
"""Steps that do not count, or half of all where there are few: memory is laid out, kernels chosen, workers started."""
STARVED = 0.2
"""Share of a step spent waiting that is worth a word."""
CROWDED = 1.5
"""Busy threads for each core that are worth one."""


class Profile:
    """Seconds of the parts of a step, in the training process and in the loader's workers.

    It always runs, as it costs microseconds. Only with ``exact`` does it wait for a GPU at the end of each part,
    without which a part's work would be counted where its result is waited for.
    """

    def __init__(self, resolved: Resolved, batch_size: int, exact: bool) -> None:
        """``batch_size`` is of one process."""
        self.resolved, self.batch_size, self.exact = resolved, batch_size, exact
        self.start(0)

    def start(self, steps: int) -> None:
        """That many steps follow."""
        self.watch, self.loader = Stopwatch(), Stopwatch()
        self.steps = -min(WARM_UP, steps // 2)
        self.began = time.perf_counter()

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count what is done meanwhile as a ``part`` of the step."""
        with self.watch(part):
            yield
            if self.exact and self.resolved.device != "cpu":
                torch.accelerator.synchronize()

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; the time until each arrives counts as waiting."""
        rest = iter(batches)
        while True:
            with self.watch("wait"):
                batch = next(rest, None)
            if batch is None:
                return
            yield batch

    def step(self) -> None:
        """A step has ended."""
        self.steps += 1
        if self.steps == 0:
            self.start(0)

    def result(self) -> dict[str, Any]:
        """Milliseconds per step by part, of the process and of the loader."""
        whole = time.perf_counter() - self.began
        steps = max(1, self.steps)
        parts = {part: self.watch.seconds[part] for part in IN_STEP if part in self.watch.seconds}
        parts["other"] = max(0.0, whole - sum(parts.values()))
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "workers": self.resolved.workers,
            "threads": self.resolved.threads,
            "step": 1e3 * whole / steps,
            "parts": {part: 1e3 * seconds / steps for part, seconds in parts.items()},
            "loader": {part: 1e3 * seconds / steps for part, seconds in self.loader.seconds.items()},
        }

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``profile.json`` there, and return what it says."""
        result = self.result()
        result["warnings"] = warnings(result)
        with atomic_write(folder / "profile.json") as path:
            path.write_text(json.dumps(result, indent=1) + "\n")
        return result


def warnings(result: dict[str, Any]) -> list[str]:
    """What is wrong, and what to do, in one line each."""
    return [text for text in (_starved(result), _crowded(result)) if text]


def table(result: dict[str, Any]) -> Table:
    """A result for people."""
    workers, step = result["workers"], result["step"]
    shown = Table(
        title=f"{result['batch_size'] / step * 1e3:.0f} samples/s: where {step:.1f} ms per step of "
        f"{result['batch_size']} samples go ({result['steps']} steps)",
        title_justify="left",
    )
    for name, where in (("part", "left"), ("ms", "right"), ("share", "right")):
        shown.add_column(name, justify=where)  # type: ignore[arg-type]

    def rows(parts: dict[str, float], names: dict[str, str]) -> None:
        for part, spent in parts.items():
            shown.add_row(names.get(part, part), f"{spent:.1f}", f"{spent / step:.0%}")

    rows(result["parts"], IN_STEP)
    shown.add_section()
    where = f"in {workers} loader process{'es' if workers > 1 else ''}, meanwhile" if workers else "while it waited"
    shown.add_row(where, "", "", style="italic")
    rows(result["loader"], IN_LOADER)
    return shown


def _starved(result: dict[str, Any]) -> str:
    waiting, loader, workers = result["parts"].get("wait", 0.0), result["loader"], result["workers"]
    if waiting < STARVED * result["step"] or not loader:
        return ""
    slowest = max(loader, key=loader.__getitem__)
    cure = "--cache with more gigabytes keeps decoded pictures, smaller files decode faster; or more --workers"
    return (
        f"the model waits for samples {waiting / result['step']:.0%} of the time: a batch takes the loader "
        f"{sum(loader.values()):.0f} ms, {loader[slowest]:.0f} of them to {IN_LOADER[slowest]}"
        + (f"; {cure}" if slowest == "decode" else f"; use --workers {max(2, 2 * workers)} if there are cores for them")
    )


def _crowded(result: dict[str, Any]) -> str:
    """Threads and workers that want to run at once beside the cores there are."""
    local, cores = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), usable_cores()
    loading = sum(result["loader"].values()) / result["step"] if result["workers"] else 0.0
    wanted = local * (result["threads"] + min(loading, result["workers"]))
    if wanted <= CROWDED * cores:
        return ""
    return (
        f"{wanted:.1f} threads want to run on {cores} core{'s' if cores > 1 else ''}, more than is good for any: "
        f"use --threads {max(1, cores // local - (result['workers'] > 0))} --workers {min(1, result['workers'])}"
    )
