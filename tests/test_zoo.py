"""The table of all methods at one small budget."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest
from conftest import ROOT

spec = importlib.util.spec_from_file_location("benchmarks_zoo", ROOT / "benchmarks" / "zoo.py")
assert spec and spec.loader
zoo = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # its dataclass asks for it there
spec.loader.exec_module(zoo)
ENTRIES = json.loads((ROOT / "benchmarks" / "zoo.json").read_text())


def test_the_table_is_that_of_its_entries() -> None:
    assert (ROOT / "benchmarks" / "zoo.md").read_text() == zoo.table(ENTRIES)


@pytest.mark.parametrize("name", zoo.covered())
def test_every_method_has_its_row(name: str) -> None:
    assert f"{name}-0" in ENTRIES
    assert f"| `{name}` |" in zoo.table(ENTRIES)


def made(knn: list[float], key: str = "0123456789") -> list[dict]:
    """Entries of three seeds."""
    scores = [dict.fromkeys(zoo.SCORES, value) for value in knn]
    return [{"key": key, "commit": "abcdef0123", "scores": found} for found in scores]


def test_a_method_beats_the_untrained_encoder_by_more_than_two_standard_deviations_of_either() -> None:
    untrained = made([0.25, 0.26, 0.24])  # a deviation of 0.01
    assert zoo._beats(made([0.28, 0.28, 0.28]), untrained, "knn")
    assert not zoo._beats(made([0.26, 0.27, 0.27]), untrained, "knn")
    assert not zoo._beats(made([0.22, 0.28, 0.34]), untrained, "knn")  # its own is 0.06
    assert not zoo._beats(made([0.28]), untrained, "knn")
