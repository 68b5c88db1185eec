"""A report that is made again agrees, or it is said what differs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from published_run import trained, write_run

import sslzoo
from sslzoo.agreement import Agreement
from sslzoo.cli import main
from sslzoo.config import UsageError, UserError
from sslzoo.report import Report, read_report

FEW: dict[str, Any] = {"train_split": "train[:80]", "test_split": "test[:40]"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("again") / "run", trained())
    sslzoo.evaluate("knn", run, **FEW, k=7)
    return run


@pytest.fixture
def report(run: Path) -> Report:
    return read_report(run / "evaluations" / "knn.json")


def written(report: Report, folder: Path, **changes: Any) -> Path:
    path = folder / "report.json"
    path.write_text(json.dumps(json.loads(report.to_json()) | changes))
    return path


def test_a_report_of_a_run_is_repeated_from_nothing_but_the_report(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    agreement = sslzoo.evaluate_again(run / "evaluations" / "knn.json")
    assert agreement.exact and agreement.verdict == "agrees to the last digit"
    assert agreement.repeated.config["k"] == 7 and agreement.repeated.test["name"] == "cliparts[test[:40]]"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before, "the run is left as it is"


def test_the_command_says_whether_it_agrees(
    run: Path, report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--like", str(run / "evaluations" / "knn.json"), "--out", str(tmp_path)]) == 0
    assert "agrees to the last digit" in capsys.readouterr().out and (tmp_path / "knn.json").exists()
    path = written(report, tmp_path, metrics={name: value + 0.02 for name, value in report.metrics.items()})
    assert main(["evaluate", "--like", str(path), str(run), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["exact"] and "balanced_accuracy" in told["differences"][0]
    assert main(["evaluate", "--like", str(path), str(run), "--tolerance", "0.03"]) == 0
    assert "agrees within 0.03" in capsys.readouterr().out


def test_other_weights_and_other_data_do_not_agree(report: Report) -> None:
    assert not Agreement(report, report).differences
    assert "weights" in Agreement(report, replace(report, weights="0" * 64)).verdict
    test = report.test | {"fingerprint": "0" * 64}
    assert "test data" in Agreement(report, replace(report, test=test)).verdict
    assert Agreement(replace(report, weights=None), report).exact, "older reports do not tell the weights"


def test_a_number_that_is_no_share_is_compared_by_its_size(report: Report) -> None:
    ranks = [replace(report, metrics={"rank": rank}, numbers=["rank"]) for rank in (400.0, 401.0, 403.0)]
    assert Agreement(ranks[0], ranks[1]).verdict == "agrees within 0.005"
    assert Agreement(ranks[0], ranks[2]).differences == ["rank: 400.0000 was reported, and it is 403.0000 now"]
    lost = Agreement(ranks[0], replace(ranks[0], metrics={}))
    assert lost.differences == ["rank: only reported"] and not lost.exact


def test_what_cannot_be_repeated_is_one_line(report: Report, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="may be anywhere: name it"):
        sslzoo.evaluate_again(written(report, tmp_path))
    with pytest.raises(UserError, match=r"is of knn@99, and this sslzoo has knn@1"):
        sslzoo.evaluate_again(written(report, tmp_path, protocol="knn@99"))
    with pytest.raises(UsageError, match="holds no numbers to compare"):
        sslzoo.evaluate_again(written(report, tmp_path, metrics={}))
    with pytest.raises(UsageError, match="no evaluation 'acme'"):
        sslzoo.evaluate_again(written(report, tmp_path, evaluation="acme"))
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UserError, match=r"report\.json: this is not a report"):
        sslzoo.evaluate_again(tmp_path / "report.json")
    with pytest.raises(UserError, match=r"none\.json cannot be read"):
        sslzoo.evaluate_again(tmp_path / "none.json")


def test_a_report_of_an_untrained_encoder_needs_no_model(tmp_path: Path) -> None:
    sslzoo.evaluate("knn", "random:test_vit", out=tmp_path, baseline=False, **FEW)
    assert read_report(tmp_path / "knn.json").baseline is None
    agreement = sslzoo.evaluate_again(tmp_path / "knn.json")
    assert agreement.exact and agreement.repeated.baseline is None
