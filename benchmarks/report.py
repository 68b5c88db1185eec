"""``benchmarks/README.md``: tables of what the benchmarks found, from their JSON files.

python benchmarks/report.py
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from budgets import EVALUATIONS, HUB, STARTUP, SUITE, TRAINING, VIEWS, blamed, verdict

FOLDER = Path(__file__).parent
Results = dict[str, Any]
Row = tuple[str, ...]


@dataclass(frozen=True)
class Benchmark:
    """A table: of which file, what it says, and how its rows come from the file's results."""

    name: str
    title: str
    text: str
    columns: Row
    rows: Callable[[Results], Iterator[Row]]
    after: Callable[[Results], Iterator[str]] = lambda _: iter(())
    """Lines below the table."""


def main() -> None:
    """Write the tables."""
    (FOLDER / "README.md").write_text(readme(found()))


def found() -> dict[str, dict[str, Any]]:
    """What the JSON files hold, by benchmark; those not measured yet are left out."""
    files = {one.name: FOLDER / f"{one.name}.json" for one in BENCHMARKS}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def readme(measured: dict[str, dict[str, Any]]) -> str:
    """All of it."""
    sections = ["\n".join(section(one, measured.get(one.name))) for one in BENCHMARKS]
    return HEAD + "\n" + "\n".join(sections)


def section(one: Benchmark, measured: dict[str, Any] | None) -> Iterator[str]:
    """One benchmark's part."""
    yield f"## {one.title}\n"
    yield f"{one.text} ([`{one.name}.py`]({one.name}.py))\n"
    if measured is None:
        yield "Not measured yet.\n"
        return
    yield from table([one.columns, *one.rows(measured["results"])])
    if lines := list(one.after(measured["results"])):
        yield ""
        yield from (f"- {line}" for line in lines)
    yield f"\n{how(measured['about'])} All of it: [`{one.name}.json`]({one.name}.json).\n"


def table(rows: Iterable[Row]) -> Iterator[str]:
    head, *others = rows
    yield from (f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *others))


def how(about: dict[str, Any]) -> str:
    """With what it was measured, as far as the file says."""
    cores = about.get("cores")
    parts = [
        f"{about['turns']} turns of each side" if about["turns"] > 1 else "Once",
        about.get("date", ""),
        f"{cores} core{'s' if cores > 1 else ''} ({about['processor']})" if cores else "",
        f"{about['threads']} thread{'s' if about['threads'] > 1 else ''}" if "threads" in about else "",
        *(f"{package} {version}" for package, version in about["versions"].items()),
    ]
    return ", ".join(part for part in parts if part) + "."


def spread(result: dict[str, Any]) -> Row:
    """Two cells: the median ratio, and its quartiles."""
    low, high = result["quartiles"]
    return f"{result['ratio']:.2f}", f"{low:.2f} to {high:.2f}"


def judged(ratio: float, budget: float | None, at_most: bool = False) -> Row:
    """Two cells: the budget, and whether it is met."""
    if budget is None:
        return "", ""
    return f"{'≤' if at_most else '≥'} {budget}", verdict(ratio, budget, at_most)


def training_rows(results: Results) -> Iterator[Row]:
    for case, result in results.items():
        speeds = result["samples_per_second"]
        for side, ratio in result["against"].items():
            judgement = judged(ratio["ratio"], TRAINING.get(case, {}).get(side))
            yield case, side, f"{speeds['sslzoo']}", f"{speeds[side]}", *spread(ratio), *judgement


def training_profiles(results: Results) -> Iterator[str]:
    """Where the time of our steps went, and first of all of those that miss a budget."""
    for case, result in results.items():
        for side, profile in result["profile"].items():
            yield f"{case}, {side}: a step of {profile['step']:.0f} ms is {blamed(profile)}"


def functions_of(rows: Callable[[Results], Iterator[Row]]) -> Callable[[Results], Iterator[str]]:
    """Of each row that misses its budget, the functions that our side's time went to, with what they call."""

    def lines(results: Results) -> Iterator[str]:
        for (name, result), row in zip(results.items(), rows(results), strict=True):
            if "missed" in row[-1]:
                parts = (f"`{function}` {share:.0%}" for function, share in list(result["profile"].items())[:5])
                yield f"{name.replace('_', ' ')}: sslzoo's time goes to {', '.join(parts)}"

    return lines


def views_rows(results: Results) -> Iterator[Row]:
    for name, result in results.items():
        size, form, rival = name.split(", ")
        budget = VIEWS[int(size.split()[0])] if (form, rival) == ("decoded", "lightly") else None
        speeds, ratio = result["samples_per_second"], result["processor"]
        judgement = judged(ratio["ratio"], budget)
        yield size, form, rival, f"{speeds['sslzoo']}", f"{speeds[rival]}", *spread(ratio), *judgement


def evaluations_rows(results: Results) -> Iterator[Row]:
    for name, result in results.items():
        wall, scores = result["wall"], result["scores"]
        seconds = (f"{wall[side]:.3f}" for side in ("sslzoo", "scikit-learn"))
        apart = max(abs(a - b) for a, b in zip(scores["sslzoo"], scores["scikit-learn"], strict=True))
        yield name, *seconds, *spread(wall), f"{apart:.4f}", *judged(wall["ratio"], EVALUATIONS)


def startup_rows(results: Results) -> Iterator[Row]:
    for name, result in results.items():
        judgement: Row = ("", "")
        if budget := STARTUP.get(name):
            counted = "beyond" if name.startswith("import") else "whole"
            seconds = result[counted]["seconds"]
            judgement = f"{counted} ≤ {budget} s", verdict(seconds, budget, at_most=True)
        cells = (
            f"{kind['seconds']:.3f} ({kind['quartiles'][0]:.3f} to {kind['quartiles'][1]:.3f})"
            for kind in (result["whole"], result["beyond"])
        )
        yield f"`{name}`", *cells, *judgement


def hub_rows(results: Results) -> Iterator[Row]:
    for name, result in results.items():
        wall = result["wall"]
        milliseconds = (f"{1e3 * wall[side]:.1f}" for side in ("sslzoo", "bare"))
        operation, _, encoder = name.partition(" ")
        judgement = judged(wall["ratio"], None if "load" in name else HUB, at_most=True)
        yield operation.replace("_", " "), encoder, *milliseconds, *spread(wall), *judgement


def memory_rows(results: Results) -> Iterator[Row]:
    for case, result in results.items():
        for side, ratio in result["against"].items():
            megabytes = (f"{result['megabytes'][one]}" for one in ("sslzoo", side))
            yield case, side, *megabytes, *spread(ratio)


def scaling_rows(results: Results) -> Iterator[Row]:
    for name, result in results.items():
        first, *others = result["milliseconds"]
        yield name, first, *(f"{result[kind][first]:.4g}" for kind in ("milliseconds", "megabytes")), "", ""
        for side in others:
            numbers = [f"{result[kind][side]:.4g}" for kind in ("milliseconds", "megabytes")]
            times = (spread(result[f"{kind} against {first}"][side]) for kind in ("milliseconds", "megabytes"))
            yield name, side, *numbers, *(f"{ratio} ({low_high})" for ratio, low_high in times)


def suite_rows(results: Results) -> Iterator[Row]:
    for name, result in results.items():
        yield f"`{name}`", f"{result['tests']}", f"{result['minutes']}", *judged(result["minutes"], SUITE, at_most=True)


def suite_files(results: Results) -> Iterator[str]:
    """Which files of tests take longest."""
    for result in results.values():
        whole = sum(result["seconds"].values())
        longest = list(result["seconds"].items())[:8]
        yield "of the time go to " + ", ".join(f"`{name}` {spent / whole:.0%}" for name, spent in longest)


HEAD = """# Benchmarks

Written by `make bench`, which runs all of them: what sslzoo costs beside other libraries and beside the bare limit.
Both sides of a comparison do the same work and are measured by turns in one run, so a ratio is the median over turns
that follow each other, and its spread is the quartiles (of three turns or less, the extremes). A budget is what the
project promises. Machines are shared and other programs may have run beside: ratios mean more than seconds. What the
methods learn is another question: [zoo.md](zoo.md), which `make zoo` writes.
"""

BENCHMARKS = (
    Benchmark(
        "training",
        "Training",
        "Samples per second of pretraining at 64 px, 64 samples a step. `bare` is forward, backward and step on a "
        "batch that is ready in memory, in the same precision: nobody can be faster.",
        ("case", "beside", "sslzoo", "other", "times as fast", "spread", "budget", ""),
        training_rows,
        training_profiles,
    ),
    Benchmark(
        "views",
        "Views",
        "Samples per second and core of SimCLR's two views, of decoded pictures and with decoding.",
        ("views", "pictures", "beside", "sslzoo", "other", "times as fast", "spread", "budget", ""),
        views_rows,
        functions_of(views_rows),
    ),
    Benchmark(
        "evaluations",
        "Evaluations",
        "Seconds of k-NN and of linear probes of all layers, on the same features as scikit-learn; and how far the two "
        "sides' balanced accuracies are apart at most.",
        ("evaluation", "sslzoo", "scikit-learn", "times as fast", "spread", "scores apart", "budget", ""),
        evaluations_rows,
        functions_of(evaluations_rows),
    ),
    Benchmark(
        "startup",
        "Startup",
        "Seconds until an import or a command is done, whole and beyond a Python that does nothing.",
        ("command", "whole", "beyond", "budget", ""),
        startup_rows,
    ),
    Benchmark(
        "hub",
        "Hub",
        "Milliseconds of what is published and fetched, on a loopback hub, beside the same through timm and "
        "huggingface_hub alone, without checksum, fingerprint and strict keys.",
        ("operation", "encoder", "sslzoo", "bare", "times as long", "spread", "budget", ""),
        hub_rows,
        functions_of(hub_rows),
    ),
    Benchmark(
        "memory",
        "Memory",
        "Megabytes that the processes of a run have at most, as proportional set size, at the work of `training.py`.",
        ("case", "beside", "sslzoo", "other", "times as much", "spread"),
        memory_rows,
    ),
    Benchmark(
        "scaling",
        "Scaling",
        "Milliseconds per sample and megabytes of `sslzoo pretrain simclr` on one, four and sixteen times the data, "
        "which are to stay the same, and on two processes that share the cores at the same global batch.",
        ("what", "side", "ms per sample", "MB", "times the time", "times the memory"),
        scaling_rows,
    ),
    Benchmark(
        "suite",
        "Tests",
        "Minutes of the project's own tests on two processes, without those marked slow.",
        ("command", "tests", "minutes", "budget", ""),
        suite_rows,
        suite_files,
    ),
)


if __name__ == "__main__":
    main()
