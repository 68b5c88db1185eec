"""A package as an outsider has it: found when it is installed, and as good as our own."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TESTS

import sslzoo
from sslzoo.api import open_dataset
from sslzoo.cli import main
from sslzoo.encoders import create_encoder
from sslzoo.registry import evaluations, methods
from sslzoo.testing import check_dataset, check_evaluation, check_method

EXAMPLE = TESTS / "example_plugin"
SMALL: dict[str, Any] = {"dataset": "gratings[train[:48]]", "encoder": "test_resnet", "image_size": 32}


@pytest.fixture(autouse=True)
def example(install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The package, installed for one test."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    install(project["name"], project["entry-points"])
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLE), os.environ["PYTHONPATH"]]))


@pytest.mark.parametrize(
    ("kind", "name"), [("methods", "nnclr"), ("datasets", "gratings"), ("evaluations", "nearest-mean")]
)
def test_each_plugin_is_listed_with_its_package(capsys: pytest.CaptureFixture[str], kind: str, name: str) -> None:
    assert main(["list", "--kind", kind, "--json"]) == 0
    (row,) = (row for row in json.loads(capsys.readouterr().out) if row["name"] == name)
    assert row["package"] == "sslzoo-example" and row["contract"] == 1 and row["summary"]


def test_each_plugin_keeps_its_contract() -> None:
    check_method("nnclr").raise_for_failures()
    check_dataset("gratings").raise_for_failures()
    check_evaluation("nearest-mean", dataset="gratings").raise_for_failures()


def test_the_three_work_together(tmp_path: Path) -> None:
    run = sslzoo.pretrain("nnclr", recipe="small", out=tmp_path / "run", **SMALL, epochs=1, batch_size=16, workers=0)
    record = json.loads((run / "run.json").read_text())
    assert record["method"]["name"] == "nnclr" and record["steps"] == 3
    report = sslzoo.evaluate("nearest-mean", run, "gratings")
    assert report.protocol == "nearest-mean@1" and report.baseline is not None
    assert not [check for check in sslzoo.verify(run) if check.ok is False]


def test_the_loss_is_the_papers() -> None:
    from sslzoo_example.nnclr import contrast, nearest

    rng = np.random.default_rng(0)
    z, p, queue = (row / np.linalg.norm(row, axis=1, keepdims=True) for row in rng.normal(size=(3, 5, 8)))
    found = contrast(nearest(torch.tensor(z), torch.tensor(queue)), torch.tensor(p), temperature=0.1)
    by_hand = []
    for i in range(5):  # equation 3, one picture at a time
        neighbour = min(queue, key=lambda row: np.linalg.norm(z[i] - row))
        likeness = np.exp([neighbour @ row / 0.1 for row in p])
        by_hand.append(-np.log(likeness[i] / likeness.sum()))
    assert float(found) == pytest.approx(np.mean(by_hand))


def test_the_queue_holds_the_newest_first_views() -> None:
    kind: Any = methods.load("nnclr")
    method = kind(create_encoder("test_resnet", 32, seed=0), kind.Config(queue_length=6, projection_dim=4))
    batch, before = {"views": list(torch.rand(2, 2, 3, 32, 32))}, method.queue.rows.clone()
    method.eval()(batch)
    method.on_step_end(None)
    assert torch.equal(method.queue.rows, before)
    method.train()(batch)
    method.on_step_end(None)
    projections = F.normalize(method.projector(method.encoder(torch.cat(batch["views"]))), dim=1)
    torch.testing.assert_close(method.queue.rows[:2], projections[:2])
    assert torch.equal(method.queue.rows[2:], before[2:])


def test_a_gratings_label_is_its_direction() -> None:
    source = open_dataset("gratings", "test")
    for index in range(12):
        grey = np.asarray(source.read(index)["image"]).mean(2)
        down, across = np.gradient(grey)
        steepness = np.array([[(across**2).sum(), (across * down).sum()], [(across * down).sum(), (down**2).sum()]])
        x, y = np.linalg.eigh(steepness)[1][:, 1]  # along which the picture changes most
        label = round(np.degrees(np.arctan2(y, x)) / 30) % 6
        assert label == int(source.labels()[index])


def test_the_nearest_mean_is_that_of_a_loop() -> None:
    from sslzoo_example.nearest_mean import nearest_mean

    generator = torch.Generator().manual_seed(0)
    rows, queries = torch.randn(20, 3, generator=generator), torch.randn(9, 3, generator=generator)
    labels = torch.arange(20) % 3 + 4  # not all numbers are taken
    means = {label: rows[labels == label].mean(0) for label in (4, 5, 6)}
    by_hand = [min(means, key=lambda label: float((query - means[label]).norm())) for query in queries]
    assert nearest_mean(rows, labels, queries).tolist() == by_hand
    assert evaluations.load("nearest-mean").info.metric == "balanced_accuracy"
