"""The tables of all methods at one small budget."""

from __future__ import annotations

import sys

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import zoo  # noqa: E402
import zoo_table  # noqa: E402
from zoo_tracks import TRACKS, Track  # noqa: E402

from sslzoo.registry import methods  # noqa: E402

ENTRIES = zoo.read_entries()
TABLES = (ROOT / "benchmarks" / "zoo.md").read_text()
COVERED = [(track, name) for track in TRACKS for name in track.methods()]


def test_the_tables_are_those_of_their_entries() -> None:
    assert zoo_table.tables(ENTRIES) == TABLES


@pytest.mark.parametrize(("track", "name"), COVERED, ids=[name for _, name in COVERED])
def test_every_method_has_its_row_or_is_told_to_have_none_yet(track: Track, name: str) -> None:
    assert (f"| `{name}` |" in TABLES) == (f"{name}-0" in ENTRIES[track.name])
    assert f"`{name}`" in TABLES


def test_every_method_with_a_small_recipe_is_of_one_track() -> None:
    small = [name for name in methods.names() if "small" in methods.load(name).recipes]
    assert sorted(name for _, name in COVERED) == small


def made(knn: list[float], key: str = "0123456789") -> zoo_table.Entries:
    """Entries of three seeds."""
    return [{"key": key, "commit": "abcdef0123", "scores": {"knn": value}} for value in knn]


def test_a_method_beats_the_untrained_encoder_by_more_than_two_standard_deviations_of_either() -> None:
    untrained = made([0.25, 0.26, 0.24])  # a deviation of 0.01
    assert zoo_table.beats(made([0.28, 0.28, 0.28]), untrained, "knn")
    assert not zoo_table.beats(made([0.26, 0.27, 0.27]), untrained, "knn")
    assert not zoo_table.beats(made([0.22, 0.28, 0.34]), untrained, "knn")  # its own is 0.06
    assert not zoo_table.beats(made([0.28]), untrained, "knn")
    assert not zoo_table.beats(made([0.28, 0.28, 0.28]), untrained, "linear"), "neither has that score"
