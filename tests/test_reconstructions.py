"""What a whole method draws, found again in its run, beside what the same method draws untrained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sslzoo_plugins.context.rotation import Rotation, RotationConfig
from sslzoo_plugins.generation.colorization import Colorization
from tiny_source import TinySource
from torch import Tensor, nn

import sslzoo
from sslzoo.api import load_method
from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluations.reconstructions import Reconstructions, ReconstructionsConfig, beside, held_out
from sslzoo.figures import WIDTH
from sslzoo.handover import load_heads, save_heads
from sslzoo.method import PretextMethod
from sslzoo.pretraining import Training

SOURCE = TinySource(12, "tiny[test]", size=32)
FLAGS: dict[str, Any] = {
    "dataset": "cliparts[unlabeled[:32]]",
    "encoder": "test_resnet",
    "image_size": 32,
    "epochs": 1,
    "batch_size": 16,
    "workers": 0,
    "recipe": "small",
    "precision": "fp32",
}


def rotation(seed: int) -> Rotation:
    torch.manual_seed(seed)
    return Rotation(create_encoder("test_resnet", 32, seed=seed), RotationConfig()).eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sslzoo.pretrain("colorization", out=tmp_path_factory.mktemp("run") / "colours", **FLAGS)


@pytest.mark.parametrize("name", ["colorization", "deepcluster", "instance_discrimination", "dino"])
def test_a_method_is_found_again_in_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    trained: list[dict[str, Tensor]] = []
    finish = Training.finish

    def remembering(training: Training) -> None:
        finish(training)
        trained.append({name: value.clone() for name, value in training.method.state_dict().items()})

    monkeypatch.setattr(Training, "finish", remembering)
    folder = sslzoo.pretrain(name, out=tmp_path / "run", **FLAGS)
    method = load_method("reconstructions", folder, sslzoo.load_encoder(folder))
    state = method.state_dict()
    assert state.keys() == trained[0].keys() and not method.training
    different = [key for key, value in trained[0].items() if not torch.equal(state[key], value)]
    if name == "dino":  # the teacher is published, and stands in for the student
        assert all(key.startswith("encoder.") for key in different)
        assert all(torch.equal(state[key], state[key.replace("encoder.", "teacher.0.", 1)]) for key in different)
    else:
        assert not different


def test_a_run_gets_a_figure_beside_that_of_the_same_method_untrained(run: Path) -> None:
    report = sslzoo.evaluate("reconstructions", run, "cliparts[test[:20]]", images=4)
    assert report.metrics == {} and report.train is None and report.test["name"] == "cliparts[test[:20]]"
    assert report.details["rows"] == ["lightness", "coloured as predicted", "original"]
    assert report.baseline is not None and report.baseline["details"]["rows"] == report.details["rows"]
    texts = [text.get_text() for text in report.figures["reconstructions"].texts]
    assert texts == [
        f"colorization: {Colorization.info.summary}",
        "on cliparts[test[:20]]",
        "lightness",
        "coloured as predicted, trained",
        "coloured as predicted, untrained",
        "original",
    ]
    with Image.open(run / "figures" / "reconstructions.png") as page:
        assert page.width == WIDTH
    card = (run / "encoder" / "README.md").read_text()
    summary = Reconstructions.info.summary
    assert f"![reconstructions (reconstructions@1 on cliparts[test[:20]]): {summary}]" in card.replace("\\", "")


def test_what_is_no_whole_run_is_refused_in_a_line(run: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(run, tmp_path / "bare")
    (bare / "heads.safetensors").unlink()
    for model in (bare, bare / "encoder", "random:test_resnet"):
        with pytest.raises(UsageError, match=r"^reconstructions needs a whole method, and .* is no run with its heads"):
            sslzoo.evaluate("reconstructions", model, out=tmp_path)
    foreign = shutil.copytree(run, tmp_path / "foreign")
    save_heads(rotation(0), foreign / "heads.safetensors")
    with pytest.raises(UserError, match=r"heads\.safetensors does not fit colorization as it is installed \(.*missing"):
        sslzoo.evaluate("reconstructions", foreign, out=tmp_path)


def test_heads_of_another_size_do_not_fit(tmp_path: Path) -> None:
    save_heads(rotation(0), tmp_path / "heads.safetensors")
    other = Rotation(create_encoder("test_resnet", 32, seed=0), RotationConfig())
    other.head = nn.Linear(other.feature_dim, 5)
    with pytest.raises(UserError, match="2 of the wrong shape: head.weight"):
        load_heads(other, rotation(0).encoder, tmp_path / "heads.safetensors")


def test_rows_that_differ_are_told_apart_and_others_drawn_once() -> None:
    picture, guess = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    rows, caption = beside({"trained": {"in": picture, "out": guess}, "untrained": {"in": picture, "out": -guess}})
    assert list(rows) == ["in", "out, trained", "out, untrained"] and caption == ""
    rows, caption = beside({"trained": {"in": picture}, "untrained": {"in": picture.clone()}})
    assert list(rows) == ["in"] and "draws what it is given" in caption
    rows, _ = beside({"trained": {"cluster 3": picture}, "untrained": {"cluster 0": picture}})
    assert list(rows) == ["cluster 3, trained", "cluster 0, untrained"]
    assert list(beside({"trained": {"in": picture}})[0]) == ["in"]


def test_the_batch_is_the_same_every_time_and_others_stand_in_for_the_unreadable() -> None:
    method = rotation(0)
    first, again = (held_out(method, SOURCE, 4) for _ in range(2))
    assert torch.equal(first["views"][0], again["views"][0])
    chosen = first["index"].tolist()
    assert sorted(index % 3 for index in chosen) in ([0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 2]), "of each class"
    broken = held_out(method, TinySource(12, size=32, broken=(chosen[1],)), 4)
    assert broken["index"].tolist()[1] == (chosen[1] + 1) % 12 and len(broken["views"][0]) == 4


def test_a_method_that_cannot_be_drawn_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = Reconstructions(ReconstructionsConfig(images=2))

    def run(method: nn.Module) -> None:
        evaluation.run(method, SOURCE, SOURCE)

    with pytest.raises(UsageError, match="drawn by a method, and this is a ResNet"):
        run(create_encoder("test_resnet", 32, seed=0))
    with pytest.raises(UsageError, match="a row has 1 to 8 images, not 9"):
        Reconstructions(ReconstructionsConfig(images=9)).run(rotation(0), SOURCE, SOURCE)
    method = rotation(0)
    monkeypatch.setattr(Rotation, "illustrate", lambda self, batch: {"out": torch.full((2, 3, 4, 4), torch.nan)})
    with pytest.raises(UserError, match=r"'out' of tiny\[test\] is not finite"):
        run(method)
    monkeypatch.setattr(Rotation, "illustrate", PretextMethod.illustrate)
    with pytest.raises(UsageError, match="^rotation has nothing to draw"):
        run(method)
