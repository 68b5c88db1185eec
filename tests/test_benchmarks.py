"""What the benchmarks found, as their README tells it."""

from __future__ import annotations

import re
import sys

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import budgets  # noqa: E402
import report  # noqa: E402
import side_by_side  # noqa: E402

MEASURED = report.found()
PROFILE = {"step": 100.0, "parts": {"wait": 20.0, "forward": 30.0, "backward": 46.0, "other": 4.0}, "loader": {}}


def test_the_readme_is_what_the_json_files_give() -> None:
    assert (ROOT / "benchmarks" / "README.md").read_text() == report.readme(MEASURED)


@pytest.mark.parametrize("benchmark", report.BENCHMARKS, ids=lambda one: one.name)
def test_every_benchmark_is_run_by_make_bench(benchmark: report.Benchmark) -> None:
    assert (ROOT / "benchmarks" / f"{benchmark.name}.py").exists()
    line = re.search(r"^BENCHMARKS := (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert line and sorted(line[1].split()) == sorted(one.name for one in report.BENCHMARKS)


@pytest.mark.parametrize("benchmark", report.BENCHMARKS, ids=lambda one: one.name)
def test_every_row_fills_the_columns_of_its_table(benchmark: report.Benchmark) -> None:
    measured = MEASURED.get(benchmark.name, {"results": EXAMPLES.get(benchmark.name, {})})
    rows = list(benchmark.rows(measured["results"]))
    assert rows
    assert {len(row) for row in rows} == {len(benchmark.columns)}
    list(benchmark.after(measured["results"]))


@pytest.mark.parametrize("name", MEASURED)
def test_every_file_says_with_what_it_was_measured(name: str) -> None:
    about = MEASURED[name]["about"]
    assert about["turns"] >= 2 or name == "suite", "the suite has no other side to take turns with"
    assert about["versions"].keys() >= {"sslzoo", "torch"}
    assert str(about["turns"]) in report.how(about)


def test_what_was_not_measured_yet_is_said_to_be_so() -> None:
    assert report.readme({}).count("Not measured yet.") == len(report.BENCHMARKS)


def test_every_budget_for_training_is_of_a_case_and_a_side_that_are_measured() -> None:
    measured = MEASURED.get("training", {"results": EXAMPLES["training"]})["results"]
    assert all(side in measured[case]["against"] for case, sides in budgets.TRAINING.items() for side in sides)


def test_a_verdict_says_by_how_much_a_budget_is_missed() -> None:
    assert budgets.verdict(2.0, 2.0) == budgets.verdict(2.5, 2.0) == "met"
    assert budgets.verdict(1.5, 2.0) == "missed by 25%"
    assert budgets.verdict(0.3, 0.3, at_most=True) == budgets.verdict(0.1, 0.3, at_most=True) == "met"
    assert budgets.verdict(0.6, 0.3, at_most=True) == "missed by 100%"


def test_a_profile_blames_its_largest_parts_first_and_leaves_small_ones_out() -> None:
    assert budgets.blamed(PROFILE) == "backward 46%, forward 30%, wait 20%"


def test_a_profile_that_waits_blames_the_slowest_part_of_the_loader() -> None:
    loader = {"decode": 10.0, "crop": 60.0, "augment": 30.0}
    assert budgets.blamed(PROFILE | {"loader": loader}).endswith(
        "a batch takes the loader 100 ms, most of them to crop"
    )


def test_a_ratio_is_of_the_same_turns_and_not_of_the_medians() -> None:
    ours, theirs = [1.0, 20.0, 3.0, 40.0, 5.0], [2.0, 10.0, 6.0, 20.0, 10.0]
    assert side_by_side.compared(ours, theirs) == {"ratio": 0.5, "quartiles": [0.5, 2.0]}


def test_the_spread_of_three_turns_is_their_extremes() -> None:
    assert side_by_side.compared([1.0, 2.0, 4.0], [1.0, 1.0, 1.0]) == {"ratio": 2.0, "quartiles": [1.0, 4.0]}


def test_both_sides_are_first_as_often() -> None:
    assert [list(side_by_side.in_turn("ab", turn))[0] for turn in range(4)] == ["b", "a", "b", "a"]


RATIO = side_by_side.compared([1.0, 2.0], [1.0, 1.0])
SECONDS = {"seconds": 0.1, "quartiles": [0.1, 0.2]}
EXAMPLES = {
    "training": {
        f"simclr {encoder}": {
            "samples_per_second": {"sslzoo": 2, "bare": 3, "lightly": 1},
            "against": {"bare": RATIO, "lightly": RATIO},
            "profile": {"sslzoo": PROFILE},
        }
        for encoder in ("resnet18", "test_resnet")
    },
    "suite": {"make test": {"tests": 3, "minutes": 13.0, "seconds": {"test_a": 9, "test_b": 1}}},
    "startup": {"import sslzoo": {"whole": SECONDS, "beyond": SECONDS}},
    "memory": {"simclr test_resnet": {"megabytes": {"sslzoo": 2, "lightly": 3}, "against": {"lightly": RATIO}}},
    "scaling": {
        "processes": {
            **{kind: {"1 process": 1.0, "2 processes": 2.0} for kind in ("milliseconds", "megabytes")},
            **{f"{kind} against 1 process": {"2 processes": RATIO} for kind in ("milliseconds", "megabytes")},
        }
    },
}
"""Of what was not measured yet."""
