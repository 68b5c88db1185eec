"""What is measured of a run while it goes, and what is made of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from collapsing_methods import RECIPE, NoConfig, NoStopGradient, OneNumber
from conftest import ROOT
from safetensors.torch import load_file
from sslzoo_plugins.context.rotation import Rotation
from tiny_source import TinySource
from torch import Tensor, nn

import sslzoo
from sslzoo.api import open_dataset
from sslzoo.checkpoint import load_checkpoint
from sslzoo.cli import main
from sslzoo.config import PretrainConfig, UsageError, UserError
from sslzoo.data.stream import Stream
from sslzoo.doctor import Doctor, Watch
from sslzoo.doctor.diagnosis import CAUSES, FEW_DIRECTIONS, ONE_FEATURE
from sslzoo.doctor.monitor import Examination, OnlineKNN, Spread
from sslzoo.encoders import create_encoder, spec_of
from sslzoo.evaluations.holdout import holdout
from sslzoo.evaluations.knn import vote
from sslzoo.evaluations.labelled import balanced_accuracy
from sslzoo.features import extract
from sslzoo.method import PretextMethod
from sslzoo.pretraining import pretrain
from sslzoo.taxonomy import FAMILIES

SMALL: dict[str, Any] = {
    "dataset": "cliparts[unlabeled[:40]]",
    "validation": "cliparts[test[:64]]",
    "encoder": "test_resnet",
    "image_size": 32,
    "epochs": 2,
    "batch_size": 8,
    "lr": 0.01,
    "workers": 0,
    "log_every": 2,
}
MONITORED = SMALL | {"monitor_features": True, "monitor_knn": "cliparts[train[:60]]"}


def lines_of(run: Path) -> list[dict[str, Any]]:
    """What was logged, without speeds."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "samples_per_second"} for line in lines]


def line(step: int, std: float = 0.7, rank: float = 20.0, rankme: float = 40.0) -> dict[str, Any]:
    return {"step": step, "feature_std": std, "monitor": {"effective_rank": rank, "rankme": rankme, "feature_std": 0.5}}


# Losses that are not finite.


def test_the_first_step_that_is_not_finite_is_remembered_with_its_name() -> None:
    watch = Watch()
    for step, value in enumerate([1.0, 2.0, float("nan"), 1.0, float("inf")]):
        watch.see(step, {"loss": torch.tensor(1.0), "generator_loss": torch.tensor(value)})
    trouble = watch.trouble(Accelerator(cpu=True))
    assert trouble is not None and trouble.text.startswith("generator_loss stopped being finite at step 2;")
    assert trouble.stops("non-finite") and trouble.stops("collapse") and not trouble.stops("never")


def test_finite_losses_are_no_trouble() -> None:
    watch = Watch()
    assert watch.trouble(Accelerator(cpu=True)) is None
    watch.see(1, {"loss": torch.tensor(1.0)})
    assert watch.trouble(Accelerator(cpu=True)) is None


# Features that collapse.


def test_a_collapse_is_told_with_the_step_it_began_and_the_familys_causes() -> None:
    doctor = Doctor("clustering", 512)
    assert doctor.examine(line(10)) is None
    assert doctor.examine(line(20, rank=2.8, rankme=3.5)) is None, "it may pass"
    assert doctor.examine(line(30, rank=2.8, rankme=3.5)) is None
    trouble = doctor.examine(line(40, rank=1.3, rankme=2.0))
    assert trouble is not None and trouble.kind == "dimensional collapse"
    assert trouble.text.startswith("dimensional collapse since step 20: effective rank 1.3 of 512 (RankMe 2); usual")
    assert "clusters that run empty" in trouble.text and "--lr" in trouble.text
    assert trouble.stops("collapse") and not trouble.stops("non-finite")


def test_a_collapse_that_passed_begins_anew() -> None:
    doctor = Doctor("clustering", 512)
    stds = {10: 0.001, 20: 0.001, 25: 0.7, 30: 0.001, 40: 0.001}
    assert all(doctor.examine(line(step, std)) is None for step, std in stds.items())
    trouble = doctor.examine(line(50, std=0.001))
    assert trouble is not None and trouble.kind == "complete collapse" and "since step 30" in trouble.text


def test_lines_between_two_examinations_do_not_end_what_these_show() -> None:
    between = [{"step": step, "feature_std": 0.7} for step in (110, 120, 190)]
    doctor = Doctor("clustering", 512, [line(100, rank=2.0, rankme=3.0)])
    assert [doctor.examine(each) for each in between] == [None] * 3, "it is told when it is seen again"
    trouble = doctor.examine(line(200, rank=2.0, rankme=3.0))
    assert trouble is not None and "dimensional collapse since step 100" in trouble.text


def test_a_run_that_goes_on_knows_since_when() -> None:
    trouble = Doctor("jigsaw", 96, [line(10), line(20, std=0.002), line(30, std=0.001)]).examine(line(40, std=0.0))
    assert trouble is not None and trouble.text.startswith("complete collapse since step 20: ")


@pytest.mark.parametrize(
    "healthy",
    [
        {},
        {"feature_std": float("nan")},
        line(5, rank=1.5, rankme=12.0),  # one strong direction above many weak ones
        line(5, rank=8.0, rankme=2.0),  # a large mean
    ],
)
def test_what_is_not_measured_or_unsure_is_no_collapse(healthy: dict[str, Any]) -> None:
    assert Doctor("jigsaw", 96, [healthy | {"step": 0}]).examine(healthy | {"step": 50}) is None


def test_an_encoder_whose_batches_are_not_seen_is_known_by_its_examination() -> None:
    seen = {"step": 7, "monitor": {"effective_rank": 9.0, "rankme": 30.0, "feature_std": 0.004}}
    trouble = Doctor("inpainting", 64, [seen]).examine(seen | {"step": 27})
    assert trouble is not None and trouble.kind == "complete collapse" and "feature_std 0.004" in trouble.text


def test_causes_are_told_by_families_of_the_taxonomy() -> None:
    assert CAUSES.keys() <= {family for families in FAMILIES.values() for family in families}
    trouble = Doctor("multiple", 96, [line(1, std=0.0)]).examine(line(21, std=0.0))
    assert trouble is not None and "a loss that constants minimise" in trouble.text


# What is measured.


def test_spread_is_one_on_the_sphere_and_zero_for_equal_features() -> None:
    encoder = nn.Identity()
    spread = Spread(encoder)
    assert spread() == {}
    encoder(torch.randn(4096, 64, generator=torch.Generator().manual_seed(0)))
    assert float(spread()["feature_std"]) == pytest.approx(1.0, abs=0.02)
    encoder(torch.ones(16, 64) + 1e-6 * torch.randn(16, 64))
    assert float(spread()["feature_std"]) < 0.01


def test_spread_is_of_training_batches() -> None:
    encoder = nn.Identity()
    spread = Spread(encoder)
    encoder.eval()(torch.randn(16, 64))
    assert spread() == {}


def examined(encoder: nn.Module, source: TinySource) -> dict[str, float]:
    return Examination(source, spec_of(encoder).input, Accelerator(cpu=True))(encoder)


def test_an_examination_measures_the_features_of_evaluation_crops_and_leaves_the_encoder_alone() -> None:
    encoder, source = create_encoder("test_resnet", 32, seed=0).train(), TinySource(70, broken=(3,))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    state = torch.random.get_rng_state()
    found = examined(encoder, source)
    assert torch.equal(torch.random.get_rng_state(), state) and encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    kept = TinySource(70)
    features = extract(encoder, kept).final[[index for index in range(70) if index != 3]].double()
    shares = torch.linalg.svdvals(features - features.mean(0)).square()
    shares = shares / shares.sum()
    assert found["effective_rank"] == pytest.approx(float(torch.special.entr(shares).sum().exp()), rel=1e-3)
    assert 0 < found["feature_std"] < 1 < found["rankme"] and found["uniformity"] < 0


def test_features_that_are_not_finite_are_not_measured() -> None:
    encoder = create_encoder("test_resnet", 32, seed=0)
    nn.init.constant_(next(encoder.parameters()), torch.nan)
    assert examined(encoder, TinySource(64)) == {}
    assert OnlineKNN(TinySource(10), Accelerator(cpu=True), workers=0)(encoder) == {}


def test_the_online_score_is_the_vote_of_the_larger_part_on_the_rest() -> None:
    encoder, source = create_encoder("test_resnet", 32, seed=0), TinySource(60)
    found = extract(encoder, source)
    labels = source.labels()
    held = holdout(labels, found.index, 0.2)
    predicted = vote(found.final[~held], labels[~held], found.final[held], 20, 0.07)
    scored = OnlineKNN(source, Accelerator(cpu=True), workers=0)(encoder)
    assert scored == {"knn": balanced_accuracy(predicted, labels[held])} and scored["knn"] > 0.9


class Labelled(TinySource):
    """With labels of one's choice."""

    def __init__(self, labels: list[int]) -> None:
        super().__init__(len(labels))
        self.given = labels

    def labels(self) -> Tensor:
        return torch.tensor(self.given)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 1, 1], "needs two classes and two samples of one"),
        ([0, 1, 2], "needs two classes and two samples of one"),
        ([0, 0, -1], "1 of 3 samples .* no known label"),
    ],
)
def test_labels_that_do_not_suit_are_refused_before_training(labels: list[int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OnlineKNN(Labelled(labels), Accelerator(cpu=True), workers=0)


# The run.


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        "plain": sslzoo.pretrain("rotation", out=folder / "plain", **SMALL),
        "monitored": sslzoo.pretrain("rotation", out=folder / "monitored", save_every=3, **MONITORED),
        "workers": sslzoo.pretrain("rotation", out=folder / "workers", **(MONITORED | {"workers": 2})),
    }


def test_a_monitored_run_is_the_same_run(runs: dict[str, Path]) -> None:
    plain, monitored = (load_checkpoint(runs[name] / "state") for name in ("plain", "monitored"))
    assert plain is not None and monitored is not None
    for part in ("method", "optimizer"):
        torch.testing.assert_close(plain[part], monitored[part], rtol=0, atol=0)
    weights = [load_file(runs[name] / "encoder" / "model.safetensors") for name in ("plain", "monitored")]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    for one, other in zip(lines_of(runs["plain"]), lines_of(runs["monitored"]), strict=True):
        assert one == {name: value for name, value in other.items() if name not in ("monitor", "knn")}


def test_the_ends_of_epochs_have_an_examination_and_a_score(runs: dict[str, Path]) -> None:
    lines = lines_of(runs["monitored"])
    assert [found["step"] for found in lines] == [2, 4, 5, 6, 8, 10]
    assert [found["step"] for found in lines if "knn" in found] == [5, 10]
    assert [found["step"] for found in lines if "monitor" in found] == [5, 10]
    assert all(0 <= found["knn"] <= 1 for found in lines if "knn" in found)
    assert lines[-1]["monitor"].keys() == {"effective_rank", "rankme", "feature_std", "uniformity"}


def test_inside_an_epoch_every_tenth_logged_step_has_an_examination(tmp_path: Path) -> None:
    settings = SMALL | {"dataset": "cliparts[unlabeled[:90]]", "batch_size": 4, "epochs": 1, "log_every": 1}
    run = sslzoo.pretrain("rotation", out=tmp_path / "run", **(settings | {"monitor_features": True}))
    assert [found["step"] for found in lines_of(run) if "monitor" in found] == [10, 20, 22]


def test_the_last_examination_and_score_are_those_of_the_published_encoder(runs: dict[str, Path]) -> None:
    encoder, accelerator = sslzoo.load_encoder(runs["monitored"]), Accelerator(cpu=True)
    last = lines_of(runs["monitored"])[-1]
    again = Examination(open_dataset("cliparts[test[:64]]"), spec_of(encoder).input, accelerator)(encoder)
    assert last["monitor"] == pytest.approx(again, rel=1e-3)
    assert last["knn"] == OnlineKNN(open_dataset("cliparts[train[:60]]"), accelerator, workers=0)(encoder)["knn"]


def test_workers_do_not_change_what_is_measured(runs: dict[str, Path]) -> None:
    assert lines_of(runs["workers"]) == lines_of(runs["monitored"])


def test_a_run_goes_on_with_or_without_being_monitored(runs: dict[str, Path], tmp_path: Path) -> None:
    for name, settings in (("on", MONITORED), ("off", SMALL)):
        cut = Path(shutil.copytree(runs["monitored"], tmp_path / name))
        shutil.rmtree(cut / "state" / "step-00000010")
        record = json.loads((cut / "run.json").read_text())
        (cut / "run.json").write_text(json.dumps(record | {"finished": False}))
        sslzoo.pretrain("rotation", out=cut, **settings)
        weights = [load_file(run / "encoder" / "model.safetensors") for run in (runs["monitored"], cut)]
        assert all(torch.equal(weights[0][key], value) for key, value in weights[1].items())
        expected = lines_of(runs["monitored"])
        assert lines_of(cut)[:5] == expected[:5]
        if name == "on":
            assert lines_of(cut) == expected
        else:
            assert lines_of(cut)[5].keys() == expected[5].keys() - {"monitor", "knn"}


def test_the_command_of_a_run_names_what_it_was_scored_on(runs: dict[str, Path]) -> None:
    command = json.loads((runs["monitored"] / "run.json").read_text())["command"]
    assert "--monitor-knn 'cliparts[train[:60]]'" in command and command.endswith(" --monitor-features")


def test_labels_never_reach_the_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    forward = Rotation.forward
    monkeypatch.setattr(Rotation, "forward", lambda self, batch: seen.update(batch) or forward(self, batch))
    sslzoo.pretrain("rotation", out=tmp_path / "run", **(MONITORED | {"epochs": 1}))
    assert "views" in seen and not {name for name in seen if "label" in name}


def test_a_stream_without_held_out_images_cannot_be_examined() -> None:
    stream = Stream.__new__(Stream)
    stream.name = "shards"
    with pytest.raises(UsageError, match="shards is a stream: .*--validation"):
        Examination(stream, spec_of(create_encoder("test_resnet", 32)).input, Accelerator(cpu=True))


def test_a_few_images_cannot_be_examined() -> None:
    spec = spec_of(create_encoder("test_resnet", 32)).input
    with pytest.raises(UsageError, match=r"needs 64 images, and tiny\[train\] has 63"):
        Examination(TinySource(64, broken=(5,)), spec, Accelerator(cpu=True))


def test_the_flag_is_also_called_monitor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset", "cliparts[unlabeled[:63]]", "--encoder", "test_resnet", "--image-size", "32"]
    assert main(["pretrain", "rotation", "--monitor", *words, "--out", str(tmp_path / "run")]) == 2
    assert "--monitor-features needs 64 images" in capsys.readouterr().err


def test_data_without_labels_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no labels"):
        sslzoo.pretrain("rotation", out=tmp_path / "run", **(SMALL | {"monitor_knn": "cliparts[unlabeled[:40]]"}))
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
def test_no_released_encoder_is_called_collapsed() -> None:
    """Nor are untrained ones: what the thresholds were chosen by."""
    source, accelerator = open_dataset("cliparts"), Accelerator(cpu=True)
    names = [str(folder) for folder in sorted((ROOT / "model_cards").iterdir())]
    assert len(names) >= 24
    examinations: dict[Any, Examination] = {}
    for name in [*names, "random:test_resnet", "random:test_vit"]:
        encoder = sslzoo.load_encoder(name)
        spec = spec_of(encoder).input
        if spec not in examinations:
            examinations[spec] = Examination(source, spec, accelerator)
        found = examinations[spec](encoder)
        lines = [{"step": step, "feature_std": found["feature_std"], "monitor": found} for step in (0, 100)]
        assert Doctor("multiple", 96, lines[:1]).examine(lines[1]) is None, name
        assert found["rankme"] > 2 * FEW_DIRECTIONS and found["feature_std"] > 20 * ONE_FEATURE, name


# Collapsed on purpose.


def collapse(method: type[PretextMethod], out: Path, **changes: Any) -> Path:
    config: PretrainConfig = replace(RECIPE, **changes)
    return pretrain(method, NoConfig(), config, open_dataset("cliparts[unlabeled[:96]]"), out)


def test_siamese_views_without_stop_gradient_collapse_and_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"collapse since step \d+: .*no stop-gradient or predictor \(siamese\)"):
        collapse(NoStopGradient, tmp_path / "run", lr=0.01, epochs=40, log_every=6, stop_on="collapse")
    assert not (tmp_path / "run" / "encoder").exists()


def test_features_on_a_line_are_a_dimensional_collapse_that_is_only_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = collapse(OneNumber, tmp_path / "run", encoder="test_vit", lr=0.001, epochs=6, log_every=6)
    assert (run / "encoder").exists()
    said = capsys.readouterr().err
    assert "warning: dimensional collapse since step 6: effective rank 1" in said
    assert "a decoder that does without the encoder" in said
    assert lines_of(run)[-1]["feature_std"] > 0.01, "not all are one feature"


def test_a_healthy_run_is_not_accused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SMALL | {"recipe": "small", "epochs": 3, "monitor_features": True, "stop_on": "collapse", "log_every": 1}
    sslzoo.pretrain("simsiam", out=tmp_path / "run", **settings)
    assert "warning" not in capsys.readouterr().err
