"""What a user waits for before anything happens: imports and commands, each beside a Python that does nothing.

    make .venv-rivals/installed && .venv-rivals/bin/python benchmarks/startup.py

Each is a process of its own; all take turns, so that each has a bare ``python -c pass`` of the same round beside it.
The importing of lightly and stable-pretraining is there for comparison. ``startup.json`` keeps the whole time and
what is beyond the bare interpreter's.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tyro
from budgets import STARTUP, verdict
from side_by_side import in_turn, write

NOTHING = "python -c pass"
RIVALS = ("lightly", "stable_pretraining")


@dataclass(frozen=True)
class Arguments:
    """Time all commands, print a table and write it as JSON."""

    turns: int = 11
    """Of each command; one more warms up and does not count."""
    out: Path | None = Path(__file__).with_suffix(".json")


def main() -> None:
    """Measure, print, write."""
    arguments = tyro.cli(Arguments, description=__doc__)
    whole: dict[str, list[float]] = {name: [] for name in commands()}
    for turn in range(arguments.turns + 1):
        for name, command in in_turn(list(commands().items()), turn):
            whole[name].append(seconds(command))
    results = {name: summary(found[1:], whole[NOTHING][1:]) for name, found in whole.items()}
    for name in results:
        print(told(name, results[name]), flush=True)
    write(arguments.out, arguments.turns, RIVALS, results)


def commands() -> dict[str, list[str]]:
    """By name: a bare interpreter, our import and commands, and the imports of the rivals that are installed."""
    program = str(Path(sys.executable).with_name("sslzoo"))
    ours = {"sslzoo --help": [program, "--help"], "sslzoo list": [program, "list"]}
    return {
        NOTHING: [sys.executable, "-c", "pass"],
        "import sslzoo": [sys.executable, "-c", "import sslzoo"],
        **ours,
        **{f"import {name}": [sys.executable, "-c", f"import {name}"] for name in RIVALS if find_spec(name)},
    }


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def summary(found: list[float], nothing: list[float]) -> dict[str, Any]:
    """Seconds, whole and beyond the bare interpreter of the same turn: medians and quartiles."""
    beyond = [ours - bare for ours, bare in zip(found, nothing, strict=True)]
    return {"whole": spread(found), "beyond": spread(beyond)}


def spread(values: list[float]) -> dict[str, Any]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"seconds": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}


def judged(name: str, result: dict[str, Any]) -> tuple[float, str] | None:
    """The budget, and whether it is met: by what an import takes beyond the interpreter, by all of a command."""
    if name not in STARTUP:
        return None
    found = result["beyond" if name.startswith("import") else "whole"]["seconds"]
    return STARTUP[name], verdict(found, STARTUP[name], at_most=True)


def told(name: str, result: dict[str, Any]) -> str:
    return " | ".join(_cells(name, result))


def _cells(name: str, result: dict[str, Any]) -> Iterator[str]:
    yield f"{name:26}"
    for kind, found in result.items():
        low, high = found["quartiles"]
        yield f"{kind} {found['seconds']:.3f} s ({low:.3f} to {high:.3f})"
    if budget := judged(name, result):
        yield f"budget {budget[0]} s: {budget[1]}"


if __name__ == "__main__":
    main()
