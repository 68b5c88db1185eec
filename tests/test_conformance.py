"""The conformance kit passes what is healthy, and catches each way to break a contract by its name."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import broken_plugins
import pytest
from rich.console import Console

from sslzoo.api import open_dataset
from sslzoo.cli import main
from sslzoo.config import UsageError, cache_folder
from sslzoo.registry import methods
from sslzoo.testing import check_dataset, check_evaluation, check_method
from sslzoo.testing.conformance import kit
from sslzoo.testing.conformance.children import Job, JobError
from sslzoo.testing.conformance.promises import PROMISES
from sslzoo.testing.conformance.subject import Few, Subject

METHODS = {
    "UnflaggableConfig": ("config-flags", "the flag of 'activation' does not take its default"),
    "RepeatedFlag": ("config-flags", "repeats flags of every method: lr"),
    "UnknownSetting": ("config-flags", "has no setting 'min_scael'"),
    "ComputedInfo": ("literal-info", "does not tell the same name"),
    "UnpicklableViews": ("picklable-views", "lambda"),
    "TorchRandomViews": ("keyed-views", "global generator of torch"),
    "NumpyRandomViews": ("keyed-views", "global generator of numpy"),
    "CountingViews": ("keyed-views", "between two calls with the same keys"),
    "WorkerViews": ("keyed-views", "with two workers"),
    "MixingViews": ("separate-samples", "alone in its batch"),
    "IndexViews": ("separate-samples", "batch['target'] depends on the sample's index"),
    "LabelViews": ("blind-to-labels", "batch['target'] follows the human label"),
    "LabelNeedingViews": ("blind-to-labels", "ask each sample for its 'label'"),
    "InfiniteLoss": ("loss", "'loss' is nan at step 1"),
    "LossPerSample": ("loss", "a tensor of shape (8,), not a scalar"),
    "DetachedEncoder": ("gradients", "does not reach the encoder"),
    "UnusedHead": ("gradients", "forgotten.weight, forgotten.bias"),
    "TaughtTeacher": ("teacher", "a copy of the encoder gets gradients"),
    "StillTeacher": ("teacher", "never moves"),
    "EvaluationMoves": ("eval-mode", "changes calls"),
    "DrawsInForward": ("eval-mode", "the loss of one batch is"),
    "IgnoresViews": ("sees-views", "whatever the pictures show"),
    "MinimisedByAConstant": ("no-collapse", "with all features equal the loss is 0"),
    "WrappedEncoder": ("round-trip", "Sequential"),
    "ChangedEncoder": ("round-trip", "features and timm's differ"),
    "ForgetfulMethod": ("resume", "at step 5 loss was"),
    "ModuleMemory": ("resume", "at step 5 loss was"),
    "LocalStatistics": ("two-processes", "the gradient of"),
    "SummedLoss": ("two-processes", "is 0.5 times that of one process"),
    "LocalQueue": ("two-processes", "the buffer queue is not the same"),
    "Printing": ("quiet", "prints 'the loss is' (broken_plugins.py:"),
    "FileWriting": ("no-files", "losses.txt"),
    "NativeFileWriting": ("no-files", "leaves head.pt"),
    "ThreadSetting": ("no-global-state", "calls torch.set_num_threads (broken_plugins.py:"),
    "NumpyDrawing": ("no-global-state", "numpy's global generator"),
    "EnvironmentSetting": ("no-global-state", "os.putenv (broken_plugins.py:"),
    "Downloading": ("no-network", "socket.getaddrinfo (broken_plugins.py:"),
    "AllPairs": ("step-cost", "8 times as many images"),
    "PixelLoop": ("step-cost", "times as long as its matrix products"),
    "Fatal": ("loss", "ends the process, with exit code 3"),
    "Raising": ("loss", "raises ValueError: no such mode (broken_plugins.py:"),
}
DATASETS = {
    "AnySplit": ("splits", "does not exist is opened"),
    "WrongType": ("samples", "the image of sample 0 of train is a ndarray"),
    "LabelledSamples": ("labels-apart", "'label'"),
    "WrongLabels": ("labels", "run to 3, with 3 class names"),
    "CountedLabels": ("labels", "the labels of train, several per sample, are others than 1, 0 and -1"),
    "BoxOutside": ("annotations", "a box is empty or not in the image of 16 x 16 in sample 0 of train"),
    "MaskOfColors": ("annotations", "the mask holds 200, with 2 mask names"),
    "OtherEachTime": ("repeatable", "is another when it is read again"),
    "OtherEachProcess": ("repeatable", "the fingerprint of train is another in another process"),
    "OneFingerprint": ("fingerprint", "test and train have one fingerprint"),
    "OpenFile": ("picklable", "pickling train raises TypeError"),
    "TestedOnTraining": ("disjoint", "of test is in train too"),
}
EVALUATIONS = {
    "Percent": ("result", "not in [0, 1]"),
    "OtherMetric": ("result", "metrics lack 'accuracy'"),
    "Misnaming": ("figures", "draws 'pairs', which could be another evaluation's: call it nearest_pairs"),
    "Tuning": ("encoder-untouched", "changes "),
    "LeavesEval": ("encoder-untouched", "leaves the encoder in eval()"),
    "Guessing": ("repeatable", "another the second time"),
    "Peeking": ("test-unseen", "when test labels change"),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_broken_method_is_caught_by_name(name: str) -> None:
    promise, reason = METHODS[name]
    (check,) = check_method(getattr(broken_plugins, name), only=[promise]).checks
    assert check.ok is False and reason in check.reason and check.mend


@pytest.mark.parametrize("name", DATASETS)
def test_a_broken_data_set_is_caught_by_name(name: str) -> None:
    promise, reason = DATASETS[name]
    (check,) = check_dataset(getattr(broken_plugins, name), only=[promise]).checks
    assert check.ok is False and reason in check.reason and check.mend


@pytest.mark.parametrize("name", EVALUATIONS)
def test_a_broken_evaluation_is_caught_by_name(name: str) -> None:
    promise, reason = EVALUATIONS[name]
    (check,) = check_evaluation(getattr(broken_plugins, name), only=[promise]).checks
    assert check.ok is False and reason in check.reason and check.mend


def test_every_promise_is_seen_broken_here() -> None:
    seen = {"method": METHODS, "dataset": DATASETS, "evaluation": EVALUATIONS}
    shared = {"literal-info", "config-flags", "quiet", "no-files", "no-global-state", "no-network"}
    for contract, promises in PROMISES.items():
        caught = {promise for promise, _ in seen[contract].values()}
        assert promises.keys() - caught <= (set() if contract == "method" else shared), contract


def test_what_is_healthy_keeps_every_promise() -> None:
    for found in (
        check_method(broken_plugins.Healthy),
        check_evaluation(broken_plugins.Nearest),
        check_dataset(broken_plugins.Squares),
    ):
        found.raise_for_failures()
        assert found.passed


def test_failures_are_told_with_reason_and_remedy() -> None:
    found = check_method(broken_plugins.Printing, only=["quiet", "no-files"])
    with pytest.raises(
        AssertionError, match=r"healthy breaks 1 promises\nquiet: prints 'the loss is'.*\n.*to mend it:"
    ):
        found.raise_for_failures()
    told = io.StringIO()
    Console(width=100, file=told).print(found)
    assert all(word in told.getvalue() for word in ("BROKEN", "kept", "prints 'the loss is'", "to mend"))
    plain = json.loads(found.to_json())
    assert plain["passed"] is False and [check["ok"] for check in plain["checks"]] == [False, True]


def test_what_comes_after_a_failure_is_not_called_kept() -> None:
    found = {check.name: check.ok for check in check_method(broken_plugins.Raising, only=["loss", "gradients"]).checks}
    assert found == {"loss": False, "gradients": None}


def test_a_job_that_hangs_is_cut_off() -> None:
    began = time.monotonic()
    with pytest.raises(JobError, match="stopped after 1 s"):
        Job(time.sleep, 60).result(seconds=1)
    assert time.monotonic() - began < 30


def test_wrong_words_are_refused() -> None:
    with pytest.raises(UsageError, match="no promise 'kindness'; there are: literal-info"):
        check_method("rotation", only=["kindness"])
    with pytest.raises(UsageError, match="rotation has no setting 'angle'; there are: min_scale"):
        check_method("rotation", angle=90)

    class Local(broken_plugins.Healthy):
        pass

    with pytest.raises(UsageError, match="must stand at the top of an importable module"):
        check_method(Local)


def test_the_command_prints_a_table_and_tells_by_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "rotation", "--only", "loss", "quiet", "--min-scale", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "loss" in out and "kept" in out and "BROKEN" not in out
    assert main(["check", "cliparts", "--only", "picklable", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checks"][0]["ok"] is True
    assert main(["check", "rotatoin"]) == 2
    assert "did you mean 'rotation'" in capsys.readouterr().err
    assert main(["check"]) == 2


@pytest.mark.parametrize(
    ("method", "dataset"),
    [("cross_pixel", "world[train[:3]]"), ("opn", "world-actions[train[:3]]"), ("rotation", "cliparts")],
)
def test_a_method_is_checked_on_the_data_of_its_recipe_of_which_no_more_are_rendered_than_it_takes(
    method: str, dataset: str
) -> None:
    assert kit._default_dataset(methods.load(method)) == dataset


def test_clips_are_rendered_before_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []

    class Rendering(list):
        def read(self, index: int) -> None:
            rendered.append(index)
            (cache_folder() / "world").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(kit, "open_dataset", lambda name: Rendering(range(30)))
    subject = Subject.of(methods.load("cross_pixel"), settings={}, dataset="world[train[:30]]", encoder="test_resnet")
    cache = kit._cache(tmp_path / "cache", subject)
    assert rendered == list(range(24)) and [entry.name for entry in cache.iterdir()] == ["world"]
    assert (cache / "world").resolve() == (cache_folder() / "world").resolve()
    images = Subject.of(methods.load("rotation"), settings={}, dataset="cliparts", encoder="test_resnet")
    assert not list(kit._cache(tmp_path / "other", images).iterdir())


def test_a_method_is_checked_on_the_beginning_of_the_clips_it_is_for_again_and_again() -> None:
    assert kit._default_dataset(methods.load("synthetic_multitask")) == "pairs:world[train[:3]]+cliparts"
    assert kit._default_dataset(methods.load("moving_objects")) == "world[train[:3]]"
    assert kit._default_dataset(methods.load("rotation")) == "cliparts"
    few = Few(open_dataset("cliparts[test[:3]]"))
    assert len(few) == 24
    assert few.read(0)["image"].tobytes() == few.read(21)["image"].tobytes() != few.read(8)["image"].tobytes()
