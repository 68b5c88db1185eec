"""Where the time of a step goes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import sslzoo
from sslzoo import profiling
from sslzoo.machine import Resolved
from sslzoo.profiling import IN_LOADER, IN_STEP, WARM_UP, Profile


def profile(workers: int = 1, threads: int = 2, batch_size: int = 64) -> Profile:
    resolved = Resolved(device="cpu", processes=1, precision="fp32", threads=threads, workers=workers)
    return Profile(resolved, batch_size, exact=True)


def warmed_up(**settings: int) -> Profile:
    begun = profile(**settings)
    begun.start(100)
    for _ in range(WARM_UP):
        with begun("forward"):
            time.sleep(0.001)
        begun.step()
    return begun


def test_a_runs_profile_adds_up_to_its_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"encoder": "test_resnet", "image_size": 32, "epochs": 4, "batch_size": 8, "lr": 0.01, "workers": 1}
    run = sslzoo.pretrain(
        *("simclr",), out=tmp_path / "run", dataset="cliparts[unlabeled[:40]]", profile=True, threads=1, **settings
    )
    found = json.loads((run / "profile.json").read_text())
    assert found["steps"] == 20 - WARM_UP and found["batch_size"] == 8
    assert set(found["parts"]) == {*IN_STEP, "other"} and set(found["loader"]) == set(IN_LOADER)
    assert sum(found["parts"].values()) == pytest.approx(found["step"], rel=1e-6)
    assert min(found["loader"].values()) > 0 and found["parts"]["forward"] > 0
    shown = capsys.readouterr()
    assert not shown.out and "where" in shown.err
    assert all(name in shown.err for name in [*IN_STEP.values(), *IN_LOADER.values()])


def test_nothing_is_told_unless_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"encoder": "test_resnet", "image_size": 32, "epochs": 1, "batch_size": 8, "lr": 0.01, "workers": 0}
    run = sslzoo.pretrain("rotation", out=tmp_path / "run", dataset="cliparts[unlabeled[:8]]", **settings)
    assert not (run / "profile.json").exists() and "forward" not in capsys.readouterr().err


def test_the_time_until_a_batch_arrives_is_waiting() -> None:
    def slow():
        for number in range(3):
            time.sleep(0.02)
            yield number

    begun = warmed_up()
    assert list(begun.waiting(slow())) == [0, 1, 2]
    assert 0.06 <= begun.watch.seconds["wait"] < 0.6


def test_of_a_short_run_the_second_half_counts() -> None:
    begun = profile()
    begun.start(4)
    for _ in range(4):
        begun.step()
    assert begun.result()["steps"] == 2


def test_what_came_before_the_warm_up_ended_does_not_count() -> None:
    begun = warmed_up()
    assert begun.steps == 0 and not begun.watch.seconds
    with begun("backward"):
        time.sleep(0.01)
    begun.step()
    assert list(begun.result()["parts"]) == ["backward", "other"] and 10 <= begun.result()["parts"]["backward"] < 100


@pytest.mark.parametrize(
    ("loader", "says"),
    [
        ({"decode": 90.0, "crop": 9.0}, "90 of them to read and decode; --cache"),
        ({"decode": 9.0, "crop": 90.0}, "90 of them to crop; use --workers 2"),
    ],
)
def test_a_loader_that_starves_the_model_is_told_with_its_slowest_part(loader: dict, says: str) -> None:
    found = {"step": 100.0, "parts": {"wait": 45.0}, "loader": loader, "workers": 1, "threads": 1}
    assert says in profiling._starved(found) and "waits for samples 45% of the time" in profiling._starved(found)
    assert not profiling._starved(found | {"parts": {"wait": 15.0}})


def test_more_busy_threads_than_cores_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "usable_cores", lambda: 4)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    found = {"step": 100.0, "loader": {"crop": 350.0}, "workers": 4, "threads": 4}
    assert "7.5 threads want to run on 4 cores" in profiling._crowded(found)
    assert not profiling._crowded(found | {"loader": {"crop": 50.0}})  # four loaders that are idle nearly always
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert "use --threads 1 --workers 1" in profiling._crowded(found)
