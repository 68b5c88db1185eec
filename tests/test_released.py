"""Released encoders are what they say, and the script that makes them notices when one is not."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from published_run import REPORT

import sslzoo
from sslzoo.card import write_card
from sslzoo.config import UserError
from sslzoo.hub.layout import is_published
from sslzoo.registry import evaluations

NAME = "rotation_test_resnet_cliparts"
TINY = dict(encoder="test_resnet", image_size=32, epochs=1, batch_size=8, workers=0, threads=1)
SCORES = {"balanced_accuracy": 0.5, "accuracy": 0.625, "best_layer_balanced_accuracy": 0.75}

spec = importlib.util.spec_from_file_location("release", ROOT / "scripts" / "release.py")
assert spec and spec.loader
release = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release)


@pytest.mark.parametrize("folder", release.released(release.CARDS), ids=lambda folder: folder.name)
def test_a_released_encoder_is_what_todays_code_would_write(folder: Path) -> None:
    assert list(release.complaints(folder)) == []


def test_the_readme_shows_the_released_encoders() -> None:
    block = release.TABLE.search((ROOT / "README.md").read_text())
    assert block[0] == f"{block[1]}{release.table(release.CARDS)}\n{block[2]}", "python scripts/release.py refresh"


@pytest.mark.parametrize("builder", [SdistBuilder, WheelBuilder])
def test_no_package_holds_weights(builder: type) -> None:
    names = [file.distribution_path for file in builder(str(ROOT)).recurse_included_files()]
    assert any(name.endswith("sslzoo/api.py") for name in names)
    assert [name for name in names if name.endswith(".safetensors")] == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was not evaluated."""
    return sslzoo.pretrain(
        "rotation", out=tmp_path_factory.mktemp("runs") / "mine", dataset="cliparts[unlabeled[:16]]", **TINY
    )


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """The same with reports, as if it had been evaluated."""
    run = shutil.copytree(finished, tmp_path / "mine")
    (run / "evaluations").mkdir()
    for name, _ in release.OF_IMAGES:
        written = {"evaluation": name, "protocol": evaluations.load(name).info.protocol, "metrics": SCORES}
        untrained = {"model": "random:test_resnet", "metrics": {name: value / 2 for name, value in SCORES.items()}}
        (run / "evaluations" / f"{name}.json").write_text(json.dumps(REPORT | written | {"baseline": untrained}))
    return run


@pytest.fixture
def cards(run: Path, tmp_path: Path) -> Path:
    """A folder of released encoders, with one in it."""
    write_card(run, f"sslzoo/{NAME}")
    release.embed(run, tmp_path / "model_cards" / NAME)
    return tmp_path / "model_cards"


def test_a_finished_run_is_evaluated_verified_and_embedded(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, cards = shutil.copytree(finished, tmp_path / "mine"), tmp_path / "model_cards"
    release.add((run,), cards)
    folder = cards / NAME
    assert str(folder) in capsys.readouterr().out
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert all(map(is_published, names))
    assert names >= {
        "README.md",
        "config.json",
        "model.safetensors",
        "run.json",
        "log.jsonl",
        "figures/pretraining.png",
    }
    assert names >= {"evaluations/knn.json", "evaluations/linear.json"}
    card = (folder / "README.md").read_text()
    assert f"hf-hub:sslzoo/{NAME}" in card and "| knn@1 | cliparts[test] | balanced accuracy |" in card
    release.check(cards)
    assert "1 released encoders are in order" in capsys.readouterr().out
    before = (run / "evaluations" / "knn.json").stat().st_mtime_ns
    release.add((run,), cards)  # again, without another evaluation
    assert (run / "evaluations" / "knn.json").stat().st_mtime_ns == before
    assert [path.name for path in cards.iterdir()] == [NAME]


def test_what_was_pretrained_on_clips_and_sounds_is_evaluated_on_them(run: Path) -> None:
    record = release.record_of(run)
    pictures = [("knn", "cliparts"), ("linear", "cliparts")]
    actions, sounds = [("action", "world-actions"), ("action", "world")], [("audio", "world")]
    assert release.due(run) == pictures and release.lacking(run) == []
    edit(run / "run.json", method=record["method"] | {"modalities": ["clip", "audio"]})
    assert release.due(run) == pictures + actions and release.lacking(run) == actions
    (run / "sound_encoder").mkdir()
    assert release.due(run) == pictures + actions + sounds
    edit(run / "run.json", pretrain=record["pretrain"] | {"encoder": "test_r3d"})
    assert release.due(run) == actions + sounds, "an encoder of clips takes no pictures"


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2) + "\n")


def damage_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def damage_fingerprint(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["sslzoo"]["fingerprint"]["mean"][0] += 1
    (folder / "config.json").write_text(json.dumps(config))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an edited card": (
        lambda folder: (folder / "README.md").write_text("# Best of all"),
        "README.md is not what would",
    ),
    "no card": (lambda folder: (folder / "README.md").unlink(), "lacks README.md"),
    "a new score": (
        lambda folder: edit(folder / "evaluations" / "knn.json", metrics={"accuracy": 1.0}),
        "README.md is",
    ),
    "an old protocol": (
        lambda folder: edit(folder / "evaluations" / "knn.json", protocol="knn@0"),
        "knn on cliparts is missing or",
    ),
    "no baseline": (
        lambda folder: edit(folder / "evaluations" / "linear.json", baseline=None),
        "linear on cliparts is missing or",
    ),
    "no report": (
        lambda folder: (folder / "evaluations" / "knn.json").unlink(),
        "knn on cliparts is missing or outdated",
    ),
    "a file too many": (
        lambda folder: (folder / "heads.safetensors").write_text(""),
        "heads.safetensors should not be",
    ),
    "damaged weights": (damage_weights, "was damaged or exchanged"),
    "other features": (damage_fingerprint, "features are not those of the encoder that was saved"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors"),
    "no record": (lambda folder: (folder / "run.json").unlink(), "holds files but no run.json"),
    "an unfinished run": (lambda folder: edit(folder / "run.json", finished=False), "has not finished"),
    "a large figure": (lambda folder: (folder / "figures" / "b.png").write_bytes(bytes(4_000_000)), "are too many"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_the_check_notices(what: str, cards: Path) -> None:
    assert list(release.complaints(cards / NAME)) == []
    damage, complaint = DAMAGES[what]
    damage(cards / NAME)
    with pytest.raises(SystemExit) as exit:
        release.check(cards)
    assert f"{NAME}: " in str(exit.value.code) and complaint in str(exit.value.code)


def test_the_check_notices_a_wrong_name(cards: Path) -> None:
    (cards / NAME).rename(cards / "rotation_resnet50_imagenet")
    assert f"by its recipe its name would be {NAME}" in list(release.complaints(cards / "rotation_resnet50_imagenet"))


def test_weights_that_are_too_large_are_left_to_the_hub(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(release, "LIMIT", 1_000_000)
    cards, readme = tmp_path / "model_cards", tmp_path / "README.md"
    readme.write_text("")
    release.add((run,), cards)
    assert f"without weights: sslzoo push {run} sslzoo/{NAME}" in capsys.readouterr().out
    for _ in "added", "refreshed":
        assert not (cards / NAME / "model.safetensors").exists()
        assert list(release.complaints(cards / NAME)) == []
        release.refresh(cards, readme)
    shutil.copy(run / "encoder" / "model.safetensors", cards / NAME)
    assert "model.safetensors should not be there" in list(release.complaints(cards / NAME))


def test_refresh_renders_cards_and_table_anew(cards: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- released: by hand -->\n| old |\n<!-- /released -->\nafter\n")
    card = (cards / NAME / "README.md").read_text()
    (cards / NAME / "README.md").write_text("of an older version")
    release.refresh(cards, readme)
    assert (cards / NAME / "README.md").read_text() == card
    lines = readme.read_text().splitlines()
    assert lines[:2] == ["before", "<!-- released: by hand -->"] and lines[-2:] == ["<!-- /released -->", "after"]
    assert lines[-3].startswith(f"| {NAME} | rotation | test_resnet | cliparts[unlabeled[:16]] | 3×32×32 |")
    assert lines[-3].endswith("| 50 (25) | 50 (25) |")


def test_a_run_that_is_not_fit_leaves_the_released_encoders_alone(run: Path, cards: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in cards.rglob("*") if path.is_file()}
    unfinished, torn, other = (shutil.copytree(run, tmp_path / name) for name in ("unfinished", "torn", "other"))
    edit(unfinished / "run.json", finished=False)
    damage_weights(torn / "encoder")
    edit(other / "run.json", id="another")
    for bad, complaint in {
        unfinished: "has not finished",
        torn: "was damaged or exchanged",
        other: "is of another run",
        tmp_path / "nowhere": "is not a run",
    }.items():
        with pytest.raises(UserError, match=complaint):
            release.add((bad,), cards)
    with pytest.raises(UserError, match="would both be"):
        release.add((run, other), cards, replace=True)
    assert {path: path.read_bytes() for path in cards.rglob("*") if path.is_file()} == before
    release.add((other,), cards, replace=True)
    assert json.loads((cards / NAME / "run.json").read_text())["id"] == "another"


def test_an_interrupted_release_leaves_the_old_one_whole(
    run: Path, cards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in cards.rglob("*") if path.is_file()}
    copy, copied = shutil.copyfile, []

    def copy_or_stop(source: Path, target: Path) -> None:
        if len(copied) == 3:
            raise KeyboardInterrupt
        copied.append(copy(source, target))

    monkeypatch.setattr(shutil, "copyfile", copy_or_stop)
    with pytest.raises(KeyboardInterrupt):
        release.embed(run, cards / NAME)
    assert {path: path.read_bytes() for path in cards.rglob("*") if path.is_file()} == before


def test_a_rebuilt_encoder_is_the_same_or_it_is_said_how_it_differs(
    cards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release.rebuild((NAME,), cards)
    assert capsys.readouterr().out.endswith(f"{NAME}: equal bit for bit\n")
    record = json.loads((cards / NAME / "run.json").read_text())
    edit(cards / NAME / "run.json", pretrain=record["pretrain"] | {"seed": 1})
    with pytest.raises(SystemExit, match="1 of them differ"):
        release.rebuild((), cards, tmp_path / "again")
    said = capsys.readouterr().out
    assert "features of the synthetic input differ by up to" in said
    assert "knn balanced_accuracy 0.500 -> 0." in said and "linear accuracy 0.625 -> 0." in said
    assert (tmp_path / "again" / NAME / "encoder" / "model.safetensors").is_file()


def test_a_mistake_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["release.py", "add", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as exit:
        release.main()
    assert str(exit.value.code) == f"release.py: {tmp_path / 'nowhere'} is not a run: it has no run.json"
