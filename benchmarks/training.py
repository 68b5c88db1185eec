"""Pretraining beside lightly, stable-pretraining and the bare limit: samples per second on this machine.

    make .venv-rivals/installed && .venv-rivals/bin/python benchmarks/training.py

In each case all sides train the same timm encoder with the same head and loss, on the same photographs (300 px PNG
files), to the same number of views of the same sizes, 64 samples a step, on all cores (``training_cases.py``). Each
turn is a process of its own with memory in huge pages, as the ``sslzoo`` command has it; sides take turns, and the
first pass over the photographs does not count. The sides:

- ``bare``: forward, backward and step on one batch that is ready in memory (``training_bare.py``).
- ``lightly``: the loop of its example, and ``lightly bf16``: the same at sslzoo's precision (``training_lightly.py``).
- ``stable-pretraining``: SimCLR as its README trains it, in bf16 (``training_stable.py``).
- ``sslzoo``: ``sslzoo.pretrain`` as it comes, and ``sslzoo no cache`` (``training_sslzoo.py``).

Lightly has no rotation, so that is held against the bare limit only. ``training.json`` keeps all of it, and where the
time of sslzoo's steps went.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import tyro
from budgets import TRAINING, blamed, verdict
from side_by_side import compared, in_turn, write

SIDES = {
    "bare": "training_bare.bare",
    "lightly": "training_lightly.lightly",
    "lightly bf16": "training_lightly.lightly_bf16",
    "stable-pretraining": "training_stable.stable_pretraining",
    "sslzoo": "training_sslzoo.sslzoo",
    "sslzoo no cache": "training_sslzoo.sslzoo_no_cache",
}
"""Functions of a turn, imported in its process only."""


@dataclass(frozen=True)
class Arguments:
    """Time all sides, print a table and write it as JSON."""

    cases: tuple[str, ...] = ()
    """Methods with their encoders, such as "simclr test_resnet"; all if not given."""
    turns: int = 3
    """Of each side."""
    batches: int = 12
    """Of 64 photographs that there are; a turn passes over them two or three times."""
    side: str = ""
    """Run this side only, once, and print what it found as JSON."""
    photographs: Path | None = None
    """A folder of them; made if not given."""
    out: Path | None = Path(__file__).with_suffix(".json")


def main() -> None:
    """Measure, print, write."""
    from photographs import write_photographs
    from training_cases import BATCH, CASES, SIDE, Turn

    arguments = tyro.cli(Arguments, description=__doc__)
    cases = arguments.cases or tuple(CASES)
    if arguments.side:
        module, _, name = SIDES[arguments.side].partition(".")
        assert arguments.photographs
        found = getattr(import_module(module), name)(Turn(CASES[cases[0]], arguments.photographs, arguments.batches))
        print(json.dumps(found))
        return
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        photographs = arguments.photographs or write_photographs(Path(folder), BATCH * arguments.batches, SIDE)
        for case in cases:
            turns: dict[str, list[dict[str, Any]]] = {side: [] for side in CASES[case].sides}
            for turn in range(arguments.turns):
                for side in in_turn(CASES[case].sides, turn):
                    turns[side].append(in_a_process(side, case, photographs, arguments.batches))
            results[case] = summary(turns)
            print(case, *told(case, results[case]), sep="\n  ", flush=True)
    packages = ("timm", "lightly", "stable-pretraining", "lightning")
    write(arguments.out, arguments.turns, packages, results, batches=arguments.batches)


def in_a_process(side: str, case: str, photographs: Path, batches: int) -> dict[str, Any]:
    """What the side found in one turn."""
    command = words(side, case, photographs, batches)
    ended = subprocess.run(command, capture_output=True, text=True, env=environment())
    if ended.returncode:
        raise SystemExit(f"{case}, {side}:\n{ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1])


def words(side: str, case: str, photographs: Path, batches: int) -> list[str]:
    """The command of one turn."""
    given = {"side": side, "cases": case, "photographs": photographs, "batches": batches}
    return [sys.executable, __file__, *(word for name, value in given.items() for word in (f"--{name}", str(value)))]


def environment() -> dict[str, str]:
    """Of all sides alike: fresh memory in huge pages, as the ``sslzoo`` command asks for."""
    return os.environ | {"THP_MEM_ALLOC_ENABLE": "1"}


def summary(turns: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Median speeds; how many times as fast sslzoo was in the same turn; the profiles of the turns of median speed."""
    speeds = {side: [found["samples_per_second"] for found in all_of] for side, all_of in turns.items()}
    middle = {side: statistics.median_low(found) for side, found in speeds.items()}
    others = [side for side in speeds if side != "sslzoo"]
    return {
        "samples_per_second": {side: round(speed) for side, speed in middle.items()},
        "against": {side: compared(speeds["sslzoo"], speeds[side]) for side in others},
        "profile": {
            side: rounded(turns[side][speeds[side].index(middle[side])]["profile"])
            for side in speeds
            if side.startswith("sslzoo")
        },
    }


def rounded(profile: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds to a tenth."""
    parts = {kind: {part: round(ms, 1) for part, ms in profile[kind].items()} for kind in ("parts", "loader")}
    return profile | {"step": round(profile["step"], 1)} | parts


def told(case: str, result: dict[str, Any]) -> Iterator[str]:
    speeds = result["samples_per_second"]
    yield f"sslzoo {speeds['sslzoo']} samples/s: {blamed(result['profile']['sslzoo'])}"
    for side, found in result["against"].items():
        ratio, (low, high) = found["ratio"], found["quartiles"]
        budget = TRAINING.get(case, {}).get(side)
        judged = f" | budget {budget}: {verdict(ratio, budget)}" if budget else ""
        yield f"{ratio:.2f} ({low:.2f} to {high:.2f}) times {side}'s {speeds[side]}{judged}"


if __name__ == "__main__":
    main()
