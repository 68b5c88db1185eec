"""The list of released encoders, from the metadata of their cards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, ModelCard, ModelCardData
from published_run import RECORD, write_run

from sslzoo.card import render_card, write_card
from sslzoo.cli import main, models
from sslzoo.hub.index import Score, released_here, released_on_hub
from sslzoo.hub.push import push
from sslzoo.testing.loopback import LoopbackHub


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As sslzoo writes it."""
    return render_card(write_run(tmp_path_factory.mktemp("run") / "run"), "tester/rotation")


@pytest.fixture
def cards(card: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``model_cards/`` with three encoders."""
    folder = tmp_path / "model_cards"
    byol = {"method": "byol", "encoder": "resnet18", "dataset": "org/flowers:small[train]", "parameters": 11_000_000}
    jigsaw = {"method": "jigsaw", "parameters": 5}
    for name, text in {
        "a_rotation": card,
        "b_byol": changed(card, byol, knn=60.2),
        "c_jigsaw": changed(card, jigsaw, knn=None),
    }.items():
        write(folder, name, text)
    monkeypatch.setattr(models, "CARDS", folder)
    return folder


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "README.md").write_text(text)


def changed(card: str, ours: dict[str, Any], knn: float | None) -> str:
    data: ModelCardData = ModelCard(card).data
    data["sslzoo"] |= ours
    if knn is None:
        data.eval_results = None
        data.model_name = None
    else:
        assert data.eval_results
        data.eval_results[0].metric_value = knn
    return f"---\n{data.to_yaml()}\n---\n\n# A card\n"


def test_an_encoder_is_listed_as_its_card_tells_it(cards: Path) -> None:
    found = {model.name: model for model in released_here(cards)}
    assert [*found] == ["a_rotation", "b_byol", "c_jigsaw"]
    rotation = found["a_rotation"]
    assert (rotation.method, rotation.category, rotation.family) == ("rotation", "context", "geometric-transformation")
    assert (rotation.encoder, rotation.dataset) == ("test_resnet", RECORD["dataset"]["name"])
    assert rotation.input_size == (3, 32, 32) and rotation.trouble is None
    assert (
        rotation.parameters and rotation.bytes and 4 * rotation.parameters < rotation.bytes < 4.2 * rotation.parameters
    )
    assert rotation.scores == (Score("knn@1", "cliparts", "test", "accuracy", 46.3, 36.1),)
    assert found["c_jigsaw"].scores == () and found["c_jigsaw"].trouble is None


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Names, in the order of ``--json``."""
    assert main(["list", "--models", "--json", *words]) == 0
    return [model["name"] for model in json.loads(capsys.readouterr().out)]


def test_the_list_is_filtered_and_sorted(cards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys) == ["a_rotation", "b_byol", "c_jigsaw"]
    assert listed(capsys, "--sort", "knn") == ["b_byol", "a_rotation", "c_jigsaw"]
    assert listed(capsys, "--sort", "parameters") == ["c_jigsaw", "a_rotation", "b_byol"]
    assert listed(capsys, "--sort", "method") == ["b_byol", "c_jigsaw", "a_rotation"]
    assert listed(capsys, "--method", "byol") == ["b_byol"]
    assert listed(capsys, "--encoder", "test_resnet") == ["a_rotation", "c_jigsaw"]
    assert listed(capsys, "--category", "generation") == []
    for dataset in ("org/flowers", "org/flowers:small[train]"):
        assert listed(capsys, "--trained-on", dataset) == ["b_byol"]


def test_the_table_shows_sizes_and_scores_beside_the_untrained(cards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--models", "--sort", "knn"]) == 0
    heading, byol, rotation, jigsaw, *caption = capsys.readouterr().out.splitlines()
    columns = ["model", "method", "encoder", "trained on", "input", "parameters", "MB", "knn@1 on cliparts"]
    assert heading.split() == " ".join(columns).split()
    assert byol.split()[:3] == ["b_byol", "byol", "resnet18"] and byol.split()[-3:] == ["1.5", "60.2", "(36.1)"]
    assert "3×32×32" in rotation and "46.3 (36.1)" in rotation and "11,000,000" in byol
    assert jigsaw.split()[-1] == "1.5" and "random weights" in caption[0]
    assert main(["list", "--models", "--markdown", "--method", "rotation"]) == 0
    assert "| a_rotation | rotation | test_resnet | cliparts[unlabeled] | 3×32×32 |" in capsys.readouterr().out


def test_scores_of_different_protocols_are_not_sorted_together(
    cards: Path, card: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(cards, "d_other", card.replace("knn@1", "knn@2"))
    assert main(["list", "--models", "--sort", "knn"]) == 2
    assert "--sort knn is ambiguous; there are: name, " in capsys.readouterr().err
    assert listed(capsys, "--sort", "knn@2 on cliparts")[0] == "d_other"
    assert main(["list", "--models", "--sort", "size"]) == 2
    assert "--sort size is unknown" in capsys.readouterr().err


MALFORMED = {
    "no front matter": "# A card\n",
    "not YAML": "---\na: [\n---\n",
    "no mapping": "---\n- a\n---\n",
    "another's": "---\ntags: [sslzoo]\n---\n",
    "not even a mapping of ours": "---\nsslzoo: yes\n---\n",
    "binary": "---\n\0\n---\n",
}


def test_a_malformed_card_is_named_and_breaks_nothing(
    cards: Path, card: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in MALFORMED.items():
        write(cards, name, text)
    write(cards, "no text", "")
    (cards / "no text" / "README.md").write_bytes(b"---\na: \xff\n---\n")
    write(cards, "no numbers", "---\nsslzoo: {parameters: many, bytes: [1], input_size: [a], method: 1}\n---\n")
    write(cards, "no results", "---\nsslzoo: {method: rotation}\nmodel-index: [{name: a, results: [{task: 1}]}]\n---\n")
    write(cards, "z\x1b[31mred", card)
    assert main(["list", "--models"]) == 0
    out, err = capsys.readouterr()
    troubled = {*MALFORMED, "no text", "no results"}
    assert {line.partition(": ")[0] for line in err.splitlines()} == troubled
    assert len(out.splitlines()) == 1 + 3 + len(troubled) + 2 + 1
    assert "\x1b" not in out + err and "46.3 (36.1)" in out


def test_a_whole_organisation_takes_one_request(hub: LoopbackHub, card: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_card(run, "zoo/pushed")
    push(run, "zoo/pushed", endpoint=hub.endpoint, token=hub.token)
    for name, text in {
        "zoo/plain": card.replace("- sslzoo\n", ""),
        "zoo/foreign": "---\ntags: [sslzoo]\n---\n",
        "zoo/hostile": card.replace("    task:\n", "    source: x\n    task:\n"),
        "zoo/self": "---\ntags: [sslzoo]\nself: 1\nignore_metadata_errors: 2\n---\n",
        "other/theirs": card,
    }.items():
        hub_repo(hub, name).write({"README.md": text.encode()})
    before = len(hub.requests)
    found = {model.name: model for model in released_on_hub("zoo", endpoint=hub.endpoint, token=hub.token)}
    assert [(request.method, request.status) for request in hub.requests[before:]] == [("GET", 200)]
    assert [*found] == ["zoo/foreign", "zoo/hostile", "zoo/pushed", "zoo/self"]
    assert found["zoo/pushed"].scores == (Score("knn@1", "cliparts", "test", "accuracy", 46.3, 36.1),)
    assert found["zoo/pushed"].parameters and found["zoo/pushed"].trouble is None
    assert found["zoo/foreign"].trouble and found["zoo/self"].trouble


def hub_repo(hub: LoopbackHub, name: str) -> Any:
    HfApi(endpoint=hub.endpoint, token=hub.token).create_repo(name)
    return hub.repo(name)


def test_more_than_a_page_is_listed_whole(card: str) -> None:
    with LoopbackHub(page_size=2) as hub:
        for number in range(5):
            hub_repo(hub, f"zoo/m{number}").write({"README.md": card.encode()})
        found = released_on_hub("zoo", endpoint=hub.endpoint, token=hub.token)
    assert [model.name for model in found] == [f"zoo/m{number}" for number in range(5)]


def test_what_cannot_be_listed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "CARDS", tmp_path / "model_cards")
    for words, code, text in (
        (["--models"], 1, "there is no folder model_cards/ beside this sslzoo"),
        (["--hub", "zoo"], 2, "--hub is for encoders; add --models"),
        (["--sort", "knn"], 2, "--sort is for encoders; add --models"),
        (["--models", "--check"], 2, "--models lists encoders"),
        (["--models", "--kind", "datasets"], 2, "--models lists encoders"),
    ):
        assert main(["list", *words]) == code
        assert capsys.readouterr().err.startswith(f"sslzoo: {text}")


def test_listing_plugins_imports_no_client() -> None:
    code = "import sys; from sslzoo.cli import main; main(['list', '--json']); "
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'huggingface_hub', 'yaml')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
