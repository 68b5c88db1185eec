"""The memory that pretraining with SimCLR takes, beside lightly's example loop and the bare limit.

    make .venv-rivals/installed && .venv-rivals/bin/python benchmarks/memory.py

The sides are those of ``training.py``, at the same work: each turn is one of its turns, and sides take turns. What
counts is the most that the training process and its loader's workers had at once, as proportional set size, from start
to end: imports, first steps and what is written at the end included. ``memory.json`` keeps all of it.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from photographs import write_photographs
from process_tree import peak_memory
from side_by_side import compared, in_turn, write
from training import environment, words
from training_cases import BATCH, SIDE

SIDES = ("bare", "lightly", "lightly bf16", "sslzoo")


@dataclass(frozen=True)
class Arguments:
    """Measure all sides, print a table and write it as JSON."""

    cases: tuple[str, ...] = ("simclr test_resnet", "simclr resnet18")
    """Of ``training.py``."""
    turns: int = 3
    """Of each side."""
    batches: int = 6
    """Of 64 photographs that there are; a turn passes over them two or three times."""
    out: Path | None = Path(__file__).with_suffix(".json")


def main() -> None:
    """Measure, print, write."""
    arguments = tyro.cli(Arguments, description=__doc__)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        photographs = write_photographs(Path(folder), BATCH * arguments.batches, SIDE)
        for case in arguments.cases:
            found: dict[str, list[float]] = {side: [] for side in SIDES}
            for turn in range(arguments.turns):
                for side in in_turn(SIDES, turn):
                    command = words(side, case, photographs, arguments.batches)
                    found[side].append(peak_memory(command, environment()))
            results[case] = summary(found)
            print(case, results[case], flush=True)
    write(arguments.out, arguments.turns, ("timm", "lightly"), results, batches=arguments.batches)


def summary(found: dict[str, list[float]]) -> dict[str, Any]:
    """Megabytes, and how many times as much sslzoo had in the same turn."""
    return {
        "megabytes": {side: round(statistics.median(values)) for side, values in found.items()},
        "against": {side: compared(found["sslzoo"], found[side]) for side in found if side != "sslzoo"},
    }


if __name__ == "__main__":
    main()
