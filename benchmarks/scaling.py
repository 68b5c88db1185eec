"""How pretraining goes on larger data and on two processes: time per sample and memory beside those of the smallest.

    python benchmarks/scaling.py

SimCLR with test_resnet by ``sslzoo pretrain`` as it comes, on small files (96 px PNG), one epoch, with decoded pictures
kept and not. Data of one, four and sixteen times the size take turns: time per sample and memory are to stay the same.
The first steps, which warm up, do not count. Then the smallest data once more by one process and by two of torchrun
that share the cores out, at the same global batch. Memory is the most that all processes had at once, as proportional
set size. ``scaling.json`` keeps all of it.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import tyro
from photographs import write_photographs
from process_tree import peak_memory
from side_by_side import compared, in_turn, write

SIZES = (1, 4, 16)
"""Times the smallest data."""
CACHES = {"no cache": 0.0, "cache": 4.0}
"""Gigabytes for decoded pictures."""
BATCH, SIDE = 64, 96
"""Samples of a step, and pixels of the files."""
WARM_UP = 4
"""Steps that do not count."""
RECIPE = {
    "encoder": "test_resnet",
    "image-size": 64,
    "batch-size": BATCH,
    "epochs": 1,
    "optimizer": "sgd",
    "lr": 0.06,
    "base-batch-size": 0,
    "warmup-epochs": 0,
    "log-every": 1,
}

Found = dict[str, list[float]]
"""Of each turn: milliseconds for a sample, and megabytes."""


@dataclass(frozen=True)
class Arguments:
    """Measure all sizes and processes, print a table and write it as JSON."""

    turns: int = 3
    """Of each size."""
    batches: int = 12
    """Of 64 photographs in the smallest data."""
    out: Path | None = Path(__file__).with_suffix(".json")


def main() -> None:
    """Measure, print, write."""
    arguments = tyro.cli(Arguments, description=__doc__)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = data_of_sizes(Path(folder), arguments.batches * BATCH)
        for cache, gigabytes in CACHES.items():
            found = {f"x{size}": empty() for size in SIZES}
            for turn in range(arguments.turns):
                for size in in_turn(SIZES, turn):
                    measure(found[f"x{size}"], data[size], gigabytes, processes=1)
            results[f"data, {cache}"] = tell(f"data, {cache}", found)
        found = {"1 process": empty(), "2 processes": empty()}
        for turn in range(arguments.turns):
            for name, processes in in_turn([("1 process", 1), ("2 processes", 2)], turn):
                measure(found[name], data[SIZES[0]], 0.0, processes)
        results["processes"] = tell("processes", found)
    write(arguments.out, arguments.turns, ("timm", "accelerate"), results, batches=arguments.batches)


def data_of_sizes(folder: Path, samples: int) -> dict[int, Path]:
    """Folders of one to sixteen times as many pictures; the smaller ones have links to files of the largest."""
    largest = write_photographs(folder / f"x{SIZES[-1]}", samples * SIZES[-1], SIDE)
    for size in SIZES[:-1]:
        (folder / f"x{size}" / "all").mkdir(parents=True)
        for file in sorted((largest / "all").iterdir())[: samples * size]:
            os.link(file, folder / f"x{size}" / "all" / file.name)
    return {size: folder / f"x{size}" for size in SIZES}


def empty() -> Found:
    return {"milliseconds": [], "megabytes": []}


def measure(found: Found, data: Path, cache: float, processes: int) -> None:
    """One run, added to what was found."""
    with tempfile.TemporaryDirectory() as folder:
        flags = RECIPE | {"dataset": f"folder:{data}", "cache": cache, "out": f"{folder}/run"}
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *(launcher if processes > 1 else []), "-m", "sslzoo", "pretrain", "simclr"]
        command += [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        found["megabytes"].append(peak_memory(command, environment(folder, processes)))
        found["milliseconds"].append(milliseconds(Path(folder) / "run" / "log.jsonl"))


def environment(folder: str, processes: int) -> dict[str, str]:
    """A cache of its own; and threads, if there are several processes, as torchrun would give each only one."""
    threads = {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // processes))} if processes > 1 else {}
    return os.environ | {"SSLZOO_CACHE": f"{folder}/cache"} | threads


def milliseconds(log: Path) -> float:
    """For a sample, after the first steps."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    pairs = [(before, line) for before, line in pairwise(lines) if before["step"] >= WARM_UP]
    spent = sum((line["step"] - before["step"]) / line["samples_per_second"] for before, line in pairs)
    return 1e3 * spent / (lines[-1]["step"] - pairs[0][0]["step"])


def tell(name: str, found: dict[str, Found]) -> dict[str, Any]:
    """Medians, and ratios to the first of the same turn; printed."""
    first, *others = found
    result: dict[str, Any] = {}
    for kind in ("milliseconds", "megabytes"):
        result[kind] = {side: round(statistics.median(turns[kind]), 3) for side, turns in found.items()}
        ratios = {side: compared(found[side][kind], found[first][kind]) for side in others}
        result[f"{kind} against {first}"] = ratios
    print(name, *(f"{kind}: {value}" for kind, value in result.items()), sep="\n  ", flush=True)
    return result


if __name__ == "__main__":
    main()
