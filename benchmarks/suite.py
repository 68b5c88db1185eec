"""How long ``make test`` takes, beside its budget, and which files of tests take it.

    python benchmarks/suite.py

The tests run once, as ``make test`` runs them: on two processes, without the slow ones. ``suite.json`` keeps the
minutes, and for each file of tests the seconds of its tests, which two processes share.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tyro
from budgets import SUITE, verdict
from side_by_side import write

ROOT = Path(__file__).parents[1]
INSTALLED = ".venv/installed-dev"
"""What ``make test`` would see to before: it is this interpreter's environment that the tests run in."""


@dataclass(frozen=True)
class Arguments:
    """Run the tests, print how long they took and write it as JSON."""

    out: Path | None = Path(__file__).with_suffix(".json")


def main() -> None:
    """Measure, print, write."""
    arguments = tyro.cli(Arguments, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        pytest = f"{sys.executable} -m pytest -q --junitxml={report}"
        began = time.perf_counter()
        if subprocess.run(["make", "--old-file", INSTALLED, "test", f"PYTEST={pytest}"], cwd=ROOT).returncode:
            raise SystemExit("tests fail, so how long they take means nothing: mend them first")
        minutes = (time.perf_counter() - began) / 60
        cases = list(ElementTree.parse(report).iter("testcase"))
    seconds: Counter[str] = Counter()
    for case in cases:
        seconds[case.attrib["classname"].split(".")[1]] += float(case.attrib["time"])
    found = {"minutes": round(minutes, 1), "tests": len(cases)}
    print(f"{len(cases)} tests in {minutes:.1f} minutes | budget {SUITE}: {verdict(minutes, SUITE, at_most=True)}")
    files = {name: round(spent) for name, spent in seconds.most_common()}
    write(arguments.out, 1, ("pytest", "pytest-xdist"), {"make test": found | {"seconds": files}})


if __name__ == "__main__":
    main()
