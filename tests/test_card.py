"""The card says what the run's files say, and what it says to do works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResultEntry, ModelCard, parse_eval_result_entries
from published_run import RECORD, REPORT, trained, trained_to_hear, write_run

from sslzoo.card import SOURCE, difference, render_card, write_card
from sslzoo.config import UsageError, UserError
from sslzoo.hub.layout import move_encoder_into_run, published_files
from sslzoo.hub.push import push
from sslzoo.testing.loopback import LoopbackHub

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "rotation_test_resnet")


def report(run: Path, name: str, **changes: Any) -> None:
    (run / "evaluations" / f"{name}.json").write_text(json.dumps(REPORT | changes))


def record(run: Path, **changes: Any) -> None:
    (run / "run.json").write_text(json.dumps(RECORD | changes))


def test_the_card_tells_the_task_the_recipe_the_data_and_the_results(run: Path) -> None:
    text = render_card(run, "tester/x")
    assert RECORD["method"]["summary"] in text
    assert "| Family | geometric transformation |" in text
    assert (
        "[Unsupervised Representation Learning by Predicting Image Rotations](https://arxiv.org/abs/1803.07728)" in text
    )
    assert f"```bash\n{RECORD['command']}\n```" in text
    assert "| Samples | 4,400 |" in text and "| Licence | CC0-1.0 |" in text and "`0123abcd`" in text
    assert "850 steps in 1 h 30 min on cpu with 2 processes in bf16. Versions: torch 2.15, timm 1.0.31." in text
    assert "| knn@1 | cliparts[test] | accuracy | 46.3 % | 36.1 % |" in text
    assert "- **knn@1**: fitted on cliparts[train]; k 20, temperature 0.07\n" in text
    assert "![loss](figures/loss.png)" in text
    assert "## Intended use and limits" in text
    assert "It was scored on cliparts[test] and nowhere else." in text
    assert "```bibtex\n@misc{gidaris2018unsupervised,\n" in text
    assert re.search(r"model with [\d,]+ parameters \(1\.5 MB\)", text)
    digest = json.loads((run / "encoder" / "config.json").read_text())["sslzoo"]["weights_sha256"]
    assert digest in text


def test_the_metadata_is_what_the_hub_filters_by(run: Path) -> None:
    data = ModelCard(render_card(run, "tester/x")).data
    assert data.library_name == "timm"
    assert data.pipeline_tag == "image-feature-extraction"
    assert data.license == "apache-2.0"
    assert {"sslzoo", "rotation", "context", "geometric-transformation", "timm", "transformers"} <= set(data.tags or [])
    assert data.datasets is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/flowers", ["org/flowers"]),
        ("org/flowers[train]", ["org/flowers"]),
        ("folder:flowers", None),
        ("shard.parquet", None),
        ("data/shard.parquet", None),
        ("cliparts[unlabeled]", None),
        ("org/flowers:small[train[:10%]]", ["org/flowers"]),
    ],
)
def test_only_data_sets_of_the_hub_are_linked(run: Path, name: str, expected: list[str] | None) -> None:
    record(run, dataset=RECORD["dataset"] | {"name": name})
    assert ModelCard(render_card(run)).data.datasets == expected


def test_results_on_the_same_data_keep_their_protocols_apart(run: Path) -> None:
    report(
        run, "linear", protocol="linear@2", metrics={"accuracy": 0.5, "top5": 0.9}, baseline=None, config={"folds": 5}
    )
    flowers = {part: REPORT[part] | {"name": f"org/flowers[{part}]"} for part in ("train", "test")}
    report(run, "knn-org-flowers", protocol="knn@1", **flowers, metrics={"accuracy": 1.0})
    card = ModelCard(render_card(run, "tester/x"))
    results = {(result.dataset_type, result.metric_name): result for result in card.data.eval_results or []}
    assert {key: result.metric_value for key, result in results.items()} == {
        ("cliparts", "accuracy (knn@1)"): 46.3,
        ("cliparts", "accuracy (linear@2)"): 50.0,
        ("cliparts", "top5 (linear@2)"): 90.0,
        ("org/flowers", "accuracy (knn@1)"): 100.0,
    }
    knn, linear = results["cliparts", "accuracy (knn@1)"], results["cliparts", "accuracy (linear@2)"]
    assert (knn.dataset_name, knn.dataset_split, knn.dataset_revision) == ("cliparts", "test", "bb")
    assert knn.metric_args == {
        "protocol": "knn@1",
        "train": "cliparts[train]",
        "k": 20,
        "temperature": 0.07,
        "untrained_encoder": 36.1,
    }
    assert linear.metric_args == {"protocol": "linear@2", "train": "cliparts[train]", "folds": 5}
    assert "| linear@2 | cliparts[test] | top5 | 90.0 % | – |" in card.content
    for data in ("cliparts[train]", "org/flowers[train]"):
        assert card.content.count(f"- **knn@1**: fitted on {data}; ") == 1


def test_results_on_data_of_the_hub_are_published_in_its_own_format(run: Path) -> None:
    test = REPORT["test"] | {"name": "org/flowers:small[test]"}
    found = {"metrics": {"accuracy": 0.5, "rank": 37.25}, "numbers": ["rank"]}
    report(run, "linear", protocol="linear@2", test=test, config={"folds": 5}, **found)
    write_card(run, "tester/x")
    assert [path.name for path in (run / ".eval_results").iterdir()] == ["sslzoo-linear.yaml"], (
        "cliparts is no data set of the Hub"
    )
    assert parse_eval_result_entries(yaml.safe_load((run / ".eval_results" / "sslzoo-linear.yaml").read_text())) == [
        EvalResultEntry(
            "org/flowers",
            "small",
            50.0,
            notes="linear@2: accuracy on test; fitted on cliparts[train]; folds 5; the untrained encoder has 36.1",
        ),
        EvalResultEntry(
            "org/flowers", "small", 37.25, notes="linear@2: rank on test; fitted on cliparts[train]; folds 5"
        ),
    ]
    assert ".eval_results/sslzoo-linear.yaml" in published_files(run)
    (run / ".eval_results" / "theirs.yaml").write_text("[]")
    (run / "evaluations" / "linear.json").unlink()
    write_card(run, "tester/x")
    assert [path.name for path in (run / ".eval_results").iterdir()] == ["theirs.yaml"]
    assert not any("theirs" in name for name in published_files(run))


def test_the_limits_are_those_of_this_encoder(run: Path) -> None:
    text = render_card(run)
    assert "it saw 4,400 samples (ImageNet-1k has 291 times as many) and has " in text
    assert "It was trained at 32 × 32 pixels and 3 channels" in text and "no better than random" not in text
    record(run, dataset=RECORD["dataset"] | {"samples": 1_281_167})
    report(run, "knn", metrics={"accuracy": 0.3})
    text = render_card(run)
    assert "samples (ImageNet" not in text and "parameters (a ResNet-50 has" in text
    assert "By knn@1 it is no better than random weights: accuracy 30.0 % against 36.1 %." in text


def test_what_the_method_draws_is_shown_with_the_task(run: Path) -> None:
    for name in ("pretraining", "illustration", "my_other"):
        (run / "figures" / f"{name}.png").write_bytes((run / "figures" / "loss.png").read_bytes())
    text = render_card(run)
    places = [text.index(f"figures/{name}.png") for name in ("illustration", "pretraining", "my_other")]
    task, recipe = text.index("## The pretext task"), text.index("## Recipe")
    assert task < places[0] < places[1] < recipe < places[2]


def test_a_card_is_rendered_alike_from_a_run_and_from_a_repository(run: Path, tmp_path: Path) -> None:
    test = REPORT["test"] | {"name": "org/flowers[test]"}
    report(run, "linear", protocol="linear@2", test=test)
    write_card(run, "tester/x")
    repository = tmp_path / "repository"
    for name, path in published_files(run).items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes(path.read_bytes())
    assert difference(repository, "tester/x") == "" == difference(run, "tester/x")
    assert '-encoder = sslzoo.load_encoder("hf-hub:tester/x")' in difference(repository, "tester/y").splitlines()
    (repository / ".eval_results" / "sslzoo-linear.yaml").unlink()
    (repository / ".eval_results" / "sslzoo-old.yaml").write_text("- old\n")
    found = difference(repository, "tester/x").splitlines()
    assert "+++ .eval_results/sslzoo-linear.yaml (fresh)" in found and "-- old" in found
    assert write_card(repository, "tester/x") == repository / "README.md"
    assert difference(repository, "tester/x") == ""
    move_encoder_into_run(repository)
    assert difference(repository, "tester/x") == ""


def test_a_card_names_no_impossible_repository(tmp_path: Path) -> None:
    run = write_run(tmp_path / 'my "best" run--7 ')
    assert 'hf-hub:ORG/my-best-run-7"' in render_card(run)
    for name in ('a/b"c', "a/b/c", "a--b/c"):
        with pytest.raises(UsageError, match="cannot name a model"):
            render_card(run, name)


def test_what_is_no_share_is_not_a_percentage(run: Path) -> None:
    found = {"rank": 37.25, "exponent": 0.9}
    shown = {"protocol": "rank@1", "metrics": found, "numbers": list(found), "baseline": None}
    report(run, "rank", **shown, selected={"layer": "layer3"})
    text = render_card(run)
    assert "| rank@1 | cliparts[test] | rank | 37.25 | – |" in text
    assert "| rank@1 | cliparts[test] | exponent | 0.9 | – |" in text
    assert "chosen without the test data: layer layer3" in text


def test_an_evaluation_that_fits_nothing_or_only_draws_has_its_place(run: Path) -> None:
    report(run, "kernels", protocol="kernels@1", train=None, metrics={}, baseline=None, config={"most": 64})
    report(run, "rank", protocol="rank@1", train=None, metrics={"share": 0.5}, baseline=None)
    text = render_card(run)
    assert "- **kernels@1**: most 64" in text and "| kernels@1 |" not in text
    assert "| rank@1 | cliparts[test] | share | 50.0 % | – |" in text
    names = {result.metric_name for result in ModelCard(text).data.eval_results or ()}
    assert "share (rank@1)" in names and not any("kernels" in name for name in names)


def test_a_figure_is_captioned_by_the_report_it_belongs_to(run: Path) -> None:
    report(run, "maps", protocol="maps@1", train=None, metrics={}, baseline=None, summary="Where it *looks*.")
    report(run, "maps_of_heads", protocol="maps_of_heads@2", train=None, metrics={}, baseline=None)
    world = {"protocol": "maps@1", "train": None, "test": REPORT["test"] | {"name": "world[test]"}, "metrics": {}}
    report(run, "maps-world", **world, baseline=None)
    for name in ("maps", "maps_last", "maps-world_last", "maps_of_heads", "mapsome"):
        (run / "figures" / f"{name}.png").write_bytes(b"")
    text = render_card(run)
    assert "![maps (maps@1 on cliparts[test]): Where it \\*looks\\*.](figures/maps.png)" in text
    assert "![maps last (maps@1 on cliparts[test]): Where it \\*looks\\*.](figures/maps_last.png)" in text
    assert "![maps world last (maps@1 on world[test])](figures/maps-world_last.png)" in text
    assert "![maps of heads (maps_of_heads@2 on cliparts[test])](figures/maps_of_heads.png)" in text, "an older report"
    assert "![mapsome](figures/mapsome.png)" in text


def test_a_run_without_evaluations_and_figures_has_a_card_too(run: Path) -> None:
    (run / "evaluations" / "knn.json").unlink()
    (run / "figures" / "loss.png").unlink()
    text = render_card(run)
    assert "It has not been evaluated." in text and "![" not in text
    assert ModelCard(text).data.eval_results is None


def test_a_bar_record_is_enough(run: Path) -> None:
    method = {key: value for key, value in RECORD["method"].items() if key != "paper"}
    lean = {
        **RECORD,
        "method": method,
        "dataset": {"name": "folder:a|b", "fingerprint": "", "license": None, "samples": None},
    }
    for key in ("environment", "seconds", "steps", "command", "format", "id"):
        del lean[key]
    (run / "run.json").write_text(json.dumps(lean))
    text = render_card(run)
    assert "| Licence | not stated |" in text and "| Samples | not known |" in text and "folder:a\\|b" in text
    assert "| Paper |" not in text and "## Citation" not in text and "```bash" not in text
    assert "\nNot recorded.\n" in text
    (run / "run.json").write_text(
        json.dumps({"method": {"name": "mine"}, "dataset": {"name": "folder:a"}, "pretrain": {}, "finished": True})
    )
    assert "by the method **mine** on folder:a." in render_card(run)


def test_the_card_tells_the_normalisation_of_any_channels(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", trained("test_vit", 32, 4, ("patch_size=4",)))
    text = render_card(run)
    assert "normalised with mean [0.5, 0.5, 0.5, 0.5] and standard" in text
    assert "create_transform" not in text and "torch.zeros(1, 4, 32, 32)" in text


def test_the_card_is_written_beside_the_weights_and_is_the_same_again(run: Path) -> None:
    path = write_card(run)
    first = path.read_text()
    assert path == run / "encoder" / "README.md"
    assert "hf-hub:ORG/rotation_test_resnet" in first and str(run) not in first
    assert write_card(run).read_text() == first
    assert sorted(path.name for path in path.parent.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_a_run_that_cannot_be_read_is_one_line(run: Path) -> None:
    (run / "evaluations" / "knn.json").write_text("{")
    with pytest.raises(UserError, match=r"knn\.json cannot be read"):
        render_card(run)
    (run / "evaluations" / "knn.json").write_text(json.dumps(REPORT | {"metrics": {"accuracy": "high"}}))
    with pytest.raises(UserError, match=r"knn\.json holds no metrics"):
        render_card(run)
    (run / "evaluations" / "knn.json").write_text(json.dumps(REPORT | {"test": {"fingerprint": "aa"}}))
    with pytest.raises(UserError, match=r"knn\.json does not name its test data"):
        render_card(run)
    (run / "evaluations" / "knn.json").unlink()
    for changes in ({"method": RECORD["method"] | {"paper": {"title": "?"}}}, {"environment": []}, {"pretrain": []}):
        record(run, **changes)
        with pytest.raises(UserError, match=r"run\.json has a \w+ that sslzoo did not write"):
            render_card(run)
    for lacking in ([], {"method": {}}, {"method": [], "dataset": {}, "pretrain": {}}):
        (run / "run.json").write_text(json.dumps(lacking))
        with pytest.raises(UserError, match=r"run\.json (lacks|does not name its) "):
            write_card(run)
    (run / "run.json").unlink()
    with pytest.raises(UserError, match=r"run\.json cannot be read"):
        write_card(run)


def test_the_card_has_the_shape_of_markdown(run: Path) -> None:
    report(run, "linear", protocol="linear@2")
    text = render_card(run, "tester/x")
    assert "\n\n\n" not in text and "{{" not in text and "{%" not in text and not re.search(r"[ \t]\n", text)
    assert text.endswith("\n")
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        rows = block.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1, block
        assert set(rows[1]) <= set("|-: ")


def test_the_card_of_a_run_that_hears_tells_what_its_second_encoder_takes(tmp_path: Path) -> None:
    text = " ".join(render_card(write_run(tmp_path / "run", sounds=trained_to_hear()), "tester/x").split())
    assert "images of 1 × 64 × 101 (channels, mel bands with the lowest first, ticks)" in text
    assert "normalised with mean [-1.5] and standard deviation [1.7], and gives 96 features" in text
    assert "1 s of mono sound in [-1, 1], 16,000 numbers at 16,000 Hz" in text
    assert "a tick each 160 numbers, of the magnitudes in a Hann window of 400" in text
    digest = json.loads((tmp_path / "run" / "sound_encoder" / "config.json").read_text())["sslzoo"]["weights_sha256"]
    assert digest in text
    (tmp_path / "run" / "sound_encoder" / "config.json").write_text('{"architecture": "x", "pretrained_cfg": {}}')
    with pytest.raises(UserError, match="is not what sslzoo saved"):
        render_card(tmp_path / "run")


def test_every_snippet_of_the_card_runs(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    run = write_run(tmp_path / "run", sounds=trained_to_hear())
    text = write_card(run, "tester/x").read_text()
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(snippets) == 7
    script = "\n".join(
        f"{snippet}\nassert features.shape == (1, 96)\nprint(features.sum().item())" for snippet in snippets
    )
    script = script.replace(f'"{SOURCE}"', repr(str(ROOT))).replace("trust_repo=True", 'source="local"')
    with LoopbackHub() as hub:
        environment = {
            **os.environ,
            **hub.environment(tmp_path / "home"),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }
        send = "from pathlib import Path; from sslzoo.hub.push import push; push(Path('run'), 'tester/x')"
        for code in (send, script):
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
    seen, heard = done.stdout.split()[:4], done.stdout.split()[4:]
    assert len(set(seen)) == 1  # the same features through every door
    assert len(set(heard[1:])) == 1 and heard[0] != heard[1]  # silence is not an image of zeros


def test_the_hub_accepts_the_metadata(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    report(run, "linear", protocol="linear@2")
    write_card(run, "tester/x")
    with LoopbackHub() as hub:
        push(run, "tester/x", endpoint=hub.endpoint, token=hub.token)
        (check,) = [request for request in hub.requests if "validate-yaml" in request.path]
        assert check.status == 200
