"""The score of each layer, as a picture."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from published_run import REPORT, write_run

import sslzoo
from sslzoo.card import draw_layers, render_card
from sslzoo.card.layer_curve import layer_figure


def layers(*values: float) -> dict[str, Any]:
    return {"layers": {f"stage{place}": {"accuracy": value, "dim": 8} for place, value in enumerate(values)}}


@pytest.fixture
def report() -> dict[str, Any]:
    made = copy.deepcopy(REPORT) | {"evaluation": "linear", "protocol": "linear@1", "selected": {"layer": "stage1"}}
    made["details"] = layers(0.3, 0.5, 0.4)
    made["baseline"]["details"] = layers(0.3, 0.2, 0.1)
    return made


def curves(report: dict[str, Any]) -> dict[str, list[float]]:
    figure = layer_figure(report)
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == list(report["details"]["layers"])
    assert "accuracy" in axes.get_ylabel() and "cliparts[test]" in axes.get_title(loc="left")
    return {str(line.get_label()): [round(float(y), 6) for y in line.get_ydata()] for line in axes.lines}  # type: ignore[union-attr]


def test_trained_and_untrained_stand_beside_each_other(report: dict[str, Any]) -> None:
    assert curves(report) == {
        "this encoder": [30, 50, 40],
        "untrained": [30, 20, 10],
        "best on validation data": [50],
    }


def test_what_a_report_does_not_tell_is_not_drawn(report: dict[str, Any]) -> None:
    assert curves(report | {"baseline": None, "selected": {}}) == {"this encoder": [30, 50, 40]}
    report["baseline"]["details"] = layers(0.3, 0.2)  # of another encoder
    assert "untrained" not in curves(report)
    assert layer_figure(report | {"details": {}}) is None
    assert layer_figure(report | {"details": layers(0.3)}) is None
    assert layer_figure(report | {"metrics": {"rank": 3.0}}) is None, "no layer has that metric"


def test_names_are_not_taken_for_formulas(report: dict[str, Any], tmp_path: Path) -> None:
    report["details"]["layers"] = {f"$\\frac{{{place}$ <b>": {"accuracy": place / 9} for place in range(3)}
    report["test"] = {"name": "$x^{$[test]"}
    assert draw_layers(report, "linear", tmp_path) is not None


def test_the_card_shows_it_among_the_results(report: dict[str, Any], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    path = draw_layers(report, "linear", run)
    assert path == run / "figures" / "linear_layers.png"
    assert matplotlib.image.imread(path).shape[:2] == (340, 900)
    first = path.read_bytes()
    draw_layers(report, "linear", run)
    assert path.read_bytes() == first
    text = render_card(run)
    results = text[text.index("## Results") : text.index("## Intended use")]
    assert "](figures/linear_layers.png)" in results and "linear layers: the score of each layer" in results
    assert draw_layers(REPORT, "knn", run) is None


def test_evaluating_a_run_draws_it_and_puts_it_into_the_card(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    settings: dict[str, Any] = {"train_split": "train[:200]", "test_split": "test[:50]", "strengths": (0.1,)}
    sslzoo.evaluate("linear", run, "cliparts", **settings)
    assert (run / "figures" / "linear_layers.png").is_file()
    assert "](figures/linear_layers.png)" in (run / "encoder" / "README.md").read_text()
    assert layer_figure(json.loads((run / "evaluations" / "linear.json").read_text())) is not None
