"""A killed and resumed run is the same run, bit for bit: real processes, really killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import sslzoo

# 60 pictures in batches of 8: 7 steps an epoch, 14 in all.
FLAGS = [
    *("--dataset", "cliparts[unlabeled[:60]]", "--validation", "cliparts[test[:16]]", "--encoder", "test_vit"),
    *("--encoder-args", "proj_drop_rate=0.1", "drop_path_rate=0.1", "--image-size", "32", "--epochs", "2"),
    *("--batch-size", "8", "--accumulate", "2", "--lr", "0.01", "--ema", "0.9", "--clip-grad", "1", "--log-every", "1"),
    *("--workers", "0", "--threads", "1"),
]


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "sslzoo", "pretrain", "rotation", *FLAGS, "--out", str(out), *more]


def scores(run: Path) -> list[dict]:
    """What was logged, without speeds."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "samples_per_second"} for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    assert scores(one) == scores(other)
    for name in ("encoder/model.safetensors", "heads.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    states = [sorted((run / "state").glob("step-*"))[-1] for run in (one, other)]
    names = [state.name for state in states]
    assert names[0] == names[1] == "step-00000014"
    tensors = [(state / "tensors.safetensors").read_bytes() for state in states]
    assert tensors[0] == tensors[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    subprocess.run(command(out), check=True, capture_output=True)
    return out


def kill_when(out: Path, reached: Callable[[], bool], *more: str) -> None:
    """Start the run and kill -9 it at the moment ``reached`` turns true."""
    process = subprocess.Popen(command(out, *more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while not reached():
            assert process.poll() is None, f"ended before it was killed: {process.communicate()[1].decode()}"
            time.sleep(0.0005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


def steps_logged(run: Path) -> int:
    return (run / "log.jsonl").read_text().count("\n") if (run / "log.jsonl").exists() else 0


def test_a_run_killed_at_a_random_step_goes_on_as_if_nothing_had_happened(uninterrupted: Path, tmp_path: Path) -> None:
    out, chosen = tmp_path / "run", random.Random().randint(1, 13)
    print(f"killed after step {chosen}")
    kill_when(out, lambda: steps_logged(out) >= chosen, "--save-every", "3")
    subprocess.run(command(out, "--save-every", "3"), check=True, capture_output=True)
    assert_same_run(uninterrupted, out)


def test_killed_inside_an_epoch_it_goes_on_with_another_number_of_workers(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    kill_when(out, lambda: steps_logged(out) >= 10, "--save-every", "2")
    subprocess.run(command(out, "--save-every", "2", "--workers", "2"), check=True, capture_output=True)
    assert_same_run(uninterrupted, out)


def test_killed_while_it_writes_a_checkpoint_it_goes_on_from_the_one_before(
    uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    state = out / "state"
    for _ in range(20):
        kill_when(out, lambda: steps_logged(out) >= 4 and any(state.glob(".step-*.partial")), "--save-every", "1")
        if any(state.glob(".step-*.partial")):
            break
    assert any(state.glob(".step-*.partial")), "never caught it writing"
    subprocess.run(command(out, "--save-every", "1"), check=True, capture_output=True)
    assert_same_run(uninterrupted, out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_writes_a_checkpoint_and_says_how_to_go_on(
    uninterrupted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(out, "--workers", "2"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while steps_logged(out) < 3:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.001)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == 1
    assert "run the same command again to go on" in said.splitlines()[-1] and "Traceback" not in said
    assert list((out / "state").glob("step-*"))
    finished = sslzoo("pretrain", "rotation", "--out", out)  # the flags are known to the run
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == str(out)
    assert_same_run(uninterrupted, out)


def test_a_finished_run_is_left_as_it_is(uninterrupted: Path) -> None:
    before = (uninterrupted / "run.json").stat().st_mtime_ns
    assert sslzoo("pretrain", "rotation", "--out", uninterrupted).returncode == 0
    assert (uninterrupted / "run.json").stat().st_mtime_ns == before
