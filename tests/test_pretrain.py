"""The loop, run whole on small things."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from safetensors.torch import load_file

import sslzoo
from sslzoo import handover
from sslzoo.config import UserError
from sslzoo.registry import methods

SMALL = {
    "dataset": "cliparts[unlabeled[:40]]",
    "encoder": "test_resnet",
    "image_size": 32,
    "epochs": 2,
    "batch_size": 8,
    "lr": 0.01,
    "workers": 0,
    "log_every": 1,
}
STRETCH = ["clip_direction", "sight_and_sound", "mean_teacher", "recluster", "tiny-gan"]
TINY = {
    "dataset": "moving-shapes[train[:48]]",
    "image_size": 32,
    "epochs": 2,
    "batch_size": 8,
    "lr": 2e-4,
    "workers": 0,
    "log_every": 1,
}


def log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "encoder" / "model.safetensors")


def test_a_run_leaves_its_whole_folder_behind(tmp_path: Path) -> None:
    run = sslzoo.pretrain("rotation", out=tmp_path / "run", validation="cliparts[test[:10]]", **SMALL)
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and "state" not in path.parts}
    assert names == {
        *("run.json", "log.jsonl", "heads.safetensors", "figures/pretraining.png"),
        *("encoder/config.json", "encoder/model.safetensors", "encoder/README.md"),
    }
    record = json.loads((run / "run.json").read_text())
    assert record["finished"] and record["steps"] == 10 and record["dataset"]["samples"] == 40
    assert [line["step"] for line in log(run)] == list(range(1, 11))
    assert {"loss", "accuracy", "feature_std", "lr"} <= log(run)[0].keys()
    assert 0 <= log(run)[-1]["validation"]["accuracy"] <= 1
    assert set(load_file(run / "heads.safetensors")) == {"head.weight", "head.bias"}


def test_the_same_seed_gives_the_same_run_and_another_does_not(tmp_path: Path) -> None:
    runs = [sslzoo.pretrain("rotation", out=tmp_path / str(i), seed=seed, **SMALL) for i, seed in enumerate([1, 1, 2])]
    first, again, other = map(weights, runs)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.0.weight"], other["conv1.0.weight"])


def test_accumulated_micro_batches_are_one_batch(tmp_path: Path) -> None:
    flags = SMALL | {"encoder": "test_vit", "precision": "fp32", "momentum": 0.0, "schedule": "constant", "epochs": 1}
    whole = sslzoo.pretrain("rotation", out=tmp_path / "whole", **flags)
    parts = sslzoo.pretrain("rotation", out=tmp_path / "parts", accumulate=4, **flags)
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, rtol=1e-4, atol=1e-6)
    assert [line["step"] for line in log(parts)] == [line["step"] for line in log(whole)]


def test_an_average_of_the_encoder_is_published_when_asked_for(tmp_path: Path) -> None:
    plain = sslzoo.pretrain("rotation", out=tmp_path / "plain", **SMALL)
    averaged = sslzoo.pretrain("rotation", out=tmp_path / "averaged", ema=0.999, **SMALL)
    assert not torch.equal(weights(plain)["conv1.0.weight"], weights(averaged)["conv1.0.weight"])
    assert log(plain)[-1]["loss"] == log(averaged)[-1]["loss"]


@pytest.mark.parametrize("flags", [{"precision": "bf16"}, {"channels": 1}, {"channels": 4}, {"channels_last": False}])
def test_other_precisions_channels_and_layouts_train(tmp_path: Path, flags: dict) -> None:
    run = sslzoo.pretrain("rotation", out=tmp_path / "run", **(SMALL | {"epochs": 1} | flags))
    assert math.isfinite(log(run)[-1]["loss"])
    assert sslzoo.load_encoder(run)(torch.zeros(1, flags.get("channels", 3), 32, 32)).shape == (1, 96)


def test_a_loss_that_stops_being_finite_is_reported_with_step_and_cause(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"loss stopped being finite at step \d+; usual causes: a learning rate too high"
    ):
        sslzoo.pretrain("rotation", out=tmp_path / "run", **(SMALL | {"lr": 1e30}))
    assert not (tmp_path / "run" / "encoder").exists()


def test_trackers_get_what_the_log_gets(tmp_path: Path) -> None:
    run = sslzoo.pretrain("rotation", out=tmp_path / "run", tracker="tensorboard", **(SMALL | {"epochs": 1}))
    assert list(run.rglob("events.out.tfevents.*"))


def test_a_tracker_that_is_not_installed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslzoo.machine.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install wandb"):
        sslzoo.pretrain("rotation", out=tmp_path / "run", tracker="wandb", **SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("stretch")
@pytest.mark.parametrize("name", STRETCH)
def test_the_contract_carries_other_kinds_of_method(tmp_path: Path, name: str) -> None:
    run = sslzoo.pretrain(name, out=tmp_path / "run", **TINY)
    losses = [line["loss"] for line in log(run)]
    assert len(losses) == 12 and all(map(math.isfinite, losses))
    encoder = sslzoo.load_encoder(run)
    assert encoder(torch.zeros(2, 3, 32, 32)).shape == (
        2,
        methods.load(name)(encoder, methods.load(name).Config()).feature_dim,
    )
    failed = [check for check in sslzoo.verify(run) if check.ok is False]
    assert not failed


@pytest.mark.usefixtures("stretch")
@pytest.mark.parametrize("name", STRETCH)
def test_other_kinds_of_method_resume_inside_an_epoch(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = TINY | {"save_every": 1}
    whole = sslzoo.pretrain(name, out=tmp_path / "whole", **flags)
    method, steps = methods.load(name), 0
    original = method.on_step_end

    def power_cut(self: object, run: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 9:
            raise ConnectionAbortedError
        original(self, run)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(ConnectionAbortedError):
        patch.setattr(method, "on_step_end", power_cut)
        sslzoo.pretrain(name, out=tmp_path / "cut", **flags)
    resumed = sslzoo.pretrain(name, out=tmp_path / "cut", **flags)
    assert all(torch.equal(weights(resumed)[key], value) for key, value in weights(whole).items())
    assert [line["loss"] for line in log(resumed)] == [line["loss"] for line in log(whole)]


@pytest.mark.usefixtures("stretch")
def test_a_teacher_is_what_is_published_where_the_method_says_so(tmp_path: Path) -> None:
    run = sslzoo.pretrain("mean_teacher", out=tmp_path / "run", encoder="test_vit", **TINY)
    heads = load_file(run / "heads.safetensors")
    assert torch.equal(heads["teacher.pos_embed"], weights(run)["pos_embed"])


def test_a_run_is_finished_when_the_disk_has_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, write = os.fsync, handover.write_record
    synced: list[str] = []
    before: list[str] = []

    def noted(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).relative_to(tmp_path).as_posix())
        sync(handle)

    def finish(*args: Any) -> None:
        before.extend(synced)
        write(*args)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(handover, "write_record", finish)
    sslzoo.pretrain("rotation", out=tmp_path / "run", **TINY)
    assert {"run", "run/encoder", "run/encoder/model.safetensors", "run/encoder/config.json"} <= set(before)


def test_a_stream_of_local_shards_trains_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)  # else 5 s after each pass over shards
    table = datasets.Dataset.from_parquet(str(Path(sslzoo.__file__).parent / "datasets/cliparts/test.parquet"))
    shards = tmp_path / "shards"
    shards.mkdir()
    for shard in range(2):
        table.shard(2, shard).select(range(20)).to_parquet(shards / f"{shard}.parquet")
    flags = SMALL | {"dataset": str(shards), "streaming": True, "samples_per_epoch": 40, "save_every": 3}
    whole = sslzoo.pretrain("rotation", out=tmp_path / "whole", illustrate=True, **flags)
    assert (whole / "figures" / "illustration.png").exists()
    assert json.loads((whole / "run.json").read_text())["dataset"]["samples"] == 40
    cut = tmp_path / "cut"
    shutil.copytree(whole, cut)
    for path in (cut / "state").glob("step-*10"):
        shutil.rmtree(path)
    record = json.loads((cut / "run.json").read_text())
    (cut / "run.json").write_text(json.dumps(record | {"finished": False}))
    sslzoo.pretrain("rotation", out=cut, **flags)
    assert [line["loss"] for line in log(cut)] == [line["loss"] for line in log(whole)]
    assert all(torch.equal(weights(cut)[name], value) for name, value in weights(whole).items())


def test_what_comes_with_a_package_is_not_streamed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave out --streaming"):
        sslzoo.pretrain("rotation", out=tmp_path / "run", **(SMALL | {"dataset": "cliparts", "streaming": True}))


def test_features_that_collapse_are_reported_and_end_the_run_if_asked(tmp_path: Path) -> None:
    flags = SMALL | {"encoder_args": ("zero_init_last=False",), "lr": 10.0, "weight_decay": 0.1, "epochs": 20}
    with pytest.raises(
        UserError, match=r"complete collapse since step \d+: .* one feature \(feature_std .*\); usual causes: "
    ):
        sslzoo.pretrain("rotation", out=tmp_path / "run", stop_on="collapse", **flags)


@pytest.mark.slow
def test_a_compiled_method_trains(tmp_path: Path) -> None:
    run = sslzoo.pretrain("rotation", out=tmp_path / "run", compile=True, **(SMALL | {"epochs": 1}))
    plain = sslzoo.pretrain("rotation", out=tmp_path / "plain", **(SMALL | {"epochs": 1}))
    assert log(run)[0]["loss"] == pytest.approx(log(plain)[0]["loss"], rel=0.01)
