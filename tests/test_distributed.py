"""Two processes compute what one computes: real processes, started by accelerate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

# Plain SGD at rate 1 without decay: what the weights moved by is the sum of the gradients.
FLAGS = [
    *("--dataset", "cliparts[unlabeled[:48]]", "--validation", "cliparts[test[:64]]", "--encoder", "test_vit"),
    *(
        "--image-size",
        "32",
        "--epochs",
        "1",
        "--batch-size",
        "16",
        "--optimizer",
        "sgd",
        "--lr",
        "1",
        "--momentum",
        "0",
    ),
    *("--weight-decay", "0", "--schedule", "constant", "--precision", "fp32", "--workers", "0", "--log-every", "1"),
]


MONITOR = ["--monitor-features", "--monitor-knn", "cliparts[train[:60]]"]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ACCELERATE = ["accelerate.commands.launch", "--cpu", "--num_processes", "2"]


def pretrain(out: Path, launcher: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, *(["-m", *launcher] if launcher else [])]
    command = [*start, "-m", "sslzoo", "pretrain", "rotation", *FLAGS, "--out", str(out), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("distributed")
    found = {}
    for processes, launcher in ((1, []), (2, TORCHRUN)):
        found[processes] = folder / str(processes)
        done = pretrain(found[processes], launcher, "--illustrate", *MONITOR)
        assert done.returncode == 0, done.stderr
        assert json.loads((found[processes] / "run.json").read_text())["environment"]["processes"] == processes
    return found


def test_two_processes_have_the_gradient_of_one(runs: dict[int, Path]) -> None:
    one, two = (load_file(runs[processes] / "encoder" / "model.safetensors") for processes in (1, 2))
    moved = max(float((value - value.mean()).abs().max()) for value in one.values())
    assert moved > 0.01
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=2e-6, msg=name)


def test_two_processes_log_the_loss_of_the_whole_batch(runs: dict[int, Path]) -> None:
    lines = {p: [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for p, run in runs.items()}
    assert [line["step"] for line in lines[2]] == [1, 2, 3]
    for one, two in zip(lines[1], lines[2], strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["accuracy"] == pytest.approx(one["accuracy"], abs=1e-6)
    assert lines[2][-1]["validation"]["loss"] == pytest.approx(lines[1][-1]["validation"]["loss"], rel=1e-3)


def test_two_processes_measure_what_one_does(runs: dict[int, Path]) -> None:
    """That being measured changes no run is seen below, where one that is not has the same weights."""
    lines = {p: [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for p, run in runs.items()}
    assert lines[2][-1]["monitor"] == pytest.approx(lines[1][-1]["monitor"], rel=1e-2)
    assert lines[2][-1]["knn"] == pytest.approx(lines[1][-1]["knn"], abs=0.15), "one of a dozen may change sides"


def test_the_first_of_two_processes_draws(runs: dict[int, Path]) -> None:
    one, two = ((run / "figures" / "illustration.png").stat().st_size for run in (runs[1], runs[2]))
    assert two > 10_000 and abs(one - two) < 0.1 * one


@pytest.mark.usefixtures("stretch")
def test_two_players_and_one_optimizer_learn_alike_on_two_processes(tmp_path: Path) -> None:
    losses = []
    for launcher in ([], TORCHRUN):
        out = tmp_path / f"run{len(losses)}"
        start = [sys.executable, *(["-m", *launcher] if launcher else []), "-m", "sslzoo", "pretrain", "tiny-gan"]
        flags = ["--precision", "fp32", "--workers", "0", "--log-every", "1", "--out", str(out)]
        done = subprocess.run([*start, *flags], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0 and done.stdout == f"{out}\n", done.stderr
        losses.append([json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_accelerate_launch_trains_and_says_that_it_started_one_process(runs: dict[int, Path], tmp_path: Path) -> None:
    done = pretrain(tmp_path / "run", ACCELERATE)
    assert done.returncode == 0, done.stderr
    assert "accelerate launch --cpu starts one process" in done.stderr
    one, launched = (load_file(run / "encoder" / "model.safetensors") for run in (runs[1], tmp_path / "run"))
    assert all(torch.equal(one[name], launched[name]) for name in one)


def test_a_batch_that_cannot_be_divided_is_refused_in_one_line(tmp_path: Path) -> None:
    done = pretrain(tmp_path / "run", TORCHRUN, "--batch-size", "15")
    assert done.returncode != 0
    assert "sslzoo: " in done.stderr and "15" in done.stderr
