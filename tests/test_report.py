"""One evaluation beside the untrained encoder, and the report of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from rich.console import Console
from tiny_source import TinySource
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Source
from sslzoo.encoders import create_encoder, spec_of
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.action import Action, ActionConfig
from sslzoo.evaluations.finetune import Finetune, FinetuneConfig
from sslzoo.evaluations.knn import KNN, KNNConfig
from sslzoo.evaluations.linear import Linear, LinearConfig
from sslzoo.evaluations.segmentation import Segmentation, SegmentationConfig
from sslzoo.report import Report, evaluate, render, save_figures, save_report

TRAIN, TEST = TinySource(60), TinySource(30, "tiny[test]", seed=1)
FAST = LinearConfig(strengths=(0.01, 1.0))


def encoder_of(seed: int = 5) -> nn.Module:
    return create_encoder("test_resnet", 32, seed=seed).eval()


def shown(report: Report) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(render(report))
    return capture.get()


@pytest.fixture(scope="module")
def knn_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        return evaluate(KNN(KNNConfig(k=5)), encoder_of(), TRAIN, TEST, model="my-run")


@pytest.fixture(scope="module")
def linear_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        return evaluate(Linear(FAST), encoder_of(), TRAIN, TEST, model="my-run")


def test_a_report_says_what_was_done_to_what(knn_report: Report) -> None:
    assert (knn_report.format, knn_report.evaluation, knn_report.protocol) == (1, "knn", "knn@1")
    assert knn_report.model == "my-run" and knn_report.config == {"k": 5, "temperature": 0.07}
    assert knn_report.train == {"name": "tiny[train]", "fingerprint": TRAIN.fingerprint, "samples": 60, "readable": 60}
    assert knn_report.test["name"] == "tiny[test]" and knn_report.test["samples"] == 30
    assert knn_report.versions.keys() == {"sslzoo", "torch", "timm"} and knn_report.seconds >= 0
    assert KNN.info.metric in knn_report.metrics and knn_report.summary == KNN.info.summary


def test_unreadable_samples_are_counted_in_the_report() -> None:
    train = TinySource(120, broken=(7,))
    report = evaluate(KNN(KNNConfig(k=5)), encoder_of(), train, TEST, model="m", baseline=False)
    assert report.train["samples"] == 120 and report.train["readable"] == 119


def test_the_baseline_is_the_same_architecture_with_the_random_weights_of_seed_0(knn_report: Report) -> None:
    assert knn_report.baseline is not None
    assert knn_report.baseline["model"] == "random:test_resnet seed 0"
    assert knn_report.baseline["metrics"].keys() == knn_report.metrics.keys()
    seen: list[dict[str, Tensor]] = []

    class Spy(KNN):  # type: ignore[misc]
        def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
            seen.append(encoder.state_dict())
            return Result({"balanced_accuracy": len(seen) / 10})

    torch.manual_seed(3)
    report = evaluate(Spy(KNNConfig()), encoder_of(), TRAIN, TEST, model="m")
    assert report.metrics == {"balanced_accuracy": 0.1} and report.train["readable"] is None
    assert report.baseline is not None and report.baseline["metrics"] == {"balanced_accuracy": 0.2}
    for weights, expected in zip(seen, (encoder_of(), encoder_of(seed=0)), strict=True):
        assert all(torch.equal(value, weights[name]) for name, value in expected.state_dict().items())
    assert evaluate(Spy(KNNConfig()), encoder_of(), TRAIN, TEST, model="m", baseline=False).baseline is None


def test_evaluating_leaves_the_encoder_and_the_random_numbers_alone() -> None:
    encoder = encoder_of().train()
    state, weights = torch.random.get_rng_state(), {name: value.clone() for name, value in encoder.state_dict().items()}
    evaluate(KNN(KNNConfig(k=5)), encoder, TRAIN, TEST, model="m")
    assert torch.equal(torch.random.get_rng_state(), state) and encoder.training
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())


def test_the_same_evaluation_gives_the_same_report(knn_report: Report, linear_report: Report) -> None:
    for evaluation, report in ((KNN(KNNConfig(k=5)), knn_report), (Linear(FAST), linear_report)):
        again = json.loads(evaluate(evaluation, encoder_of(), TRAIN, TEST, model="my-run").to_json())
        assert {**again, "seconds": 0} == {**json.loads(report.to_json()), "seconds": 0}


def test_a_report_survives_json(knn_report: Report, linear_report: Report) -> None:
    for report in (knn_report, linear_report):
        assert Report.from_json(report.to_json()) == report
    assert linear_report.config["strengths"] == [0.01, 1.0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 2}'])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="evaluate again"):
        Report.from_json(text)


def on(report: Report, data: str) -> Report:
    return replace(report, test=report.test | {"name": data})


def test_a_report_is_saved_under_the_name_of_its_evaluation_and_data(knn_report: Report, tmp_path: Path) -> None:
    path = save_report(knn_report, tmp_path / "run" / "evaluations")
    assert path == tmp_path / "run" / "evaluations" / "knn-tiny.json"
    assert Report.from_json(path.read_text()) == knn_report
    assert save_report(knn_report, path.parent) == path and [path] == list(path.parent.iterdir())


def test_reports_on_several_data_sets_stand_side_by_side(knn_report: Report, tmp_path: Path) -> None:
    names = {
        "cliparts[test]": "knn",
        "cliparts-scenes[test]": "knn-cliparts-scenes",
        "org/name:config[train[:10%]]": "knn-org-name-config",
        "folder:/home/me/my flowers[test]": "knn-folder-my-flowers",
    }
    for data, name in names.items():
        assert save_report(on(knn_report, data), tmp_path) == tmp_path / f"{name}.json"
    assert len(list(tmp_path.iterdir())) == len(names)


def test_reports_of_settings_that_ask_another_question_stand_side_by_side(knn_report: Report, tmp_path: Path) -> None:
    for evaluation, protocol, name in [
        (Finetune(FinetuneConfig(epochs=3)), "finetune@2", "finetune"),
        (Finetune(FinetuneConfig(percent=10.0, epochs=3)), "finetune@2 percent=10", "finetune-percent-10"),
        (Finetune(FinetuneConfig(percent=0.5)), "finetune@2 percent=0.5", "finetune-percent-0.5"),
        (Action(ActionConfig(windows=3)), "action@1", "action"),
        (Action(ActionConfig(finetune=True)), "action@1 finetune", "action-finetune"),
    ]:
        assert evaluation.protocol == protocol
        report = replace(on(knn_report, "cliparts[test]"), evaluation=evaluation.info.name, protocol=protocol)
        assert save_report(report, tmp_path) == tmp_path / f"{name}.json"
    assert len(list(tmp_path.iterdir())) == 5


def test_a_report_that_cannot_be_saved_is_an_error_of_one_line(knn_report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        save_report(knn_report, tmp_path / "file")


def test_the_same_data_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="are the same data"):
        evaluate(KNN(KNNConfig()), encoder_of(), TRAIN, TinySource(60, "tiny[other name]"), model="m")


def test_the_table_compares_trained_with_untrained(knn_report: Report) -> None:
    values: dict[str, Any] = {"balanced_accuracy": 0.5, "accuracy": 0.25}
    baseline = {"model": "random", "metrics": {"balanced_accuracy": 0.4, "accuracy": 0.3}, "details": {}}
    changed = Report(**{**vars(knn_report), "metrics": values, "baseline": baseline})
    text = shown(changed)
    assert "knn@1: my-run" in text and "fitted on tiny[train], scored on tiny[test]" in text
    [row] = [line for line in text.splitlines() if "balanced accuracy" in line]
    assert [cell.strip() for cell in row.strip("│ ").split("│")][1:] == ["50.0 %", "40.0 %", "+10.0"]
    assert "-5.0" in text
    alone = shown(Report(**{**vars(changed), "baseline": None}))
    assert "50.0 %" in alone and "–" in alone


def test_the_table_of_a_linear_probe_has_a_row_for_each_layer(linear_report: Report) -> None:
    text = shown(linear_report)
    for name in ("stage0: 32 features", "stage3: 192 features", "final: 96 features"):
        assert name in text
    assert f"best layer on validation data: {linear_report.selected['layer']}" in " ".join(text.split())


def test_images_too_small_for_the_encoder_are_an_error_that_says_so() -> None:
    encoder = create_encoder("test_convnext", 16, seed=0)
    message = r"^test_convnext cannot take images of 16 x 16 px: .*; use a larger image size$"
    with pytest.raises(UserError, match=message):
        evaluate(KNN(KNNConfig(k=5)), encoder, TRAIN, TEST, model="m")
    assert encoder.training


def test_an_encoder_of_clips_is_refused_by_what_is_for_images() -> None:
    encoder = create_encoder("test_r3d", image_size=32, frames=4, seed=1)
    with pytest.raises(UsageError, match="segmentation is for encoders of images, and test_r3d takes clips; .* action"):
        evaluate(Segmentation(SegmentationConfig()), encoder, TRAIN, TEST, model="m")


def test_other_channels_and_architecture_arguments_have_a_baseline_too() -> None:
    encoder = create_encoder("test_vit", 32, 1, ["patch_size=8"], seed=5).eval()
    report = evaluate(KNN(KNNConfig(k=5)), encoder, TRAIN, TEST, model="m")
    assert report.baseline is not None and report.baseline["model"] == "random:test_vit seed 0"
    assert spec_of(encoder).model_args["patch_size"] == 8


class Brightness(Evaluation):
    """Fits nothing; its number is no share, and it draws what it saw."""

    info = EvaluationInfo(
        name="brightness",
        version=1,
        metric="share",
        modalities=("image",),
        summary="How bright it is.",
        fits=False,
        numbers=("level",),
    )
    Config = KNNConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        assert train is test
        bright = float(next(encoder.parameters()).detach().abs().sum())
        return Result({"share": 0.5, "level": bright}, visuals={"level": torch.tensor(bright)})

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        figure = Figure()
        figure.add_subplot().bar(list(results), [float(found.visuals["level"]) for found in results.values()])
        return {"brightness": figure}


def test_an_evaluation_that_fits_nothing_looks_at_one_split() -> None:
    report = evaluate(Brightness(KNNConfig()), encoder_of(), TEST, TEST, model="my-run")
    assert report.train is None and report.test["name"] == "tiny[test]"
    assert Report.from_json(report.to_json()) == report
    assert "computed on tiny[test]" in shown(report) and "fitted" not in shown(report)


def test_a_number_that_is_no_share_is_not_shown_in_percent() -> None:
    report = evaluate(Brightness(KNNConfig()), encoder_of(), TEST, TEST, model="my-run")
    line = next(line for line in shown(report).splitlines() if "level" in line)
    assert f"{report.metrics['level']:.4g}" in line and "%" not in line
    assert "50.0 %" in shown(report)


def test_figures_of_both_encoders_lie_beside_the_report(tmp_path: Path) -> None:
    report = evaluate(Brightness(KNNConfig()), encoder_of(), TEST, TEST, model="my-run")
    assert save_figures(report, tmp_path / "figures") == [tmp_path / "figures" / "brightness-tiny.png"]
    assert [tick.get_text() for tick in report.figures["brightness-tiny"].axes[0].get_xticklabels()] == [
        "trained",
        "untrained",
    ]
    assert (tmp_path / "figures" / "brightness-tiny.png").stat().st_size > 1000
    assert "figures" not in json.loads(report.to_json())
