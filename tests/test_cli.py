"""The command as a user meets it: what it prints, where, with which exit code, and what it says of bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import sslzoo
from PIL import Image
from plugin_texts import DATASET, EVALUATION, METHOD, Install, install_plugin

import sslzoo as api
from sslzoo.cli import listing, main
from sslzoo.survey import Plugin
from sslzoo.testing.loopback import LoopbackHub

SMALL = [
    *("--dataset", "cliparts[unlabeled[:16]]", "--encoder", "test_vit", "--image-size", "32", "--epochs", "1"),
    *("--batch-size", "8", "--workers", "0", "--lr", "0.01"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    api.pretrain("rotation", out=out, dataset="cliparts[unlabeled[:16]]", encoder="test_vit", image_size=32, epochs=1,
                 batch_size=8, workers=0)  # fmt: skip
    return out


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copied"))


def said(capsys: pytest.CaptureFixture[str], code: int, *words: str | Path) -> str:
    """Run the command in this process; it must fail with ``code`` and one line on stderr, which is returned."""
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("sslzoo: ")]
    assert len(lines) == 1 and captured.err.splitlines()[-1] == lines[0], captured.err
    return lines[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pretrian"], "no command 'pretrian'; did you mean 'pretrain'?"),
        ([], "no command given"),
        (["pretrain"], "usage: sslzoo pretrain METHOD"),
        (["pretrain", "rotatoin"], "no method 'rotatoin'; did you mean 'rotation'?"),
        (["pretrain", "rotation", "--epoch", "3"], "no flag '--epoch'; did you mean --epochs?"),
        (["pretrain", "rotation", "--min-scal", "3"], "no flag '--min-scal'; did you mean --min-scale?"),
        (["pretrain", "rotation", "cliparts"], "'cliparts' is one argument too many"),
        (["evaluate", "kn", "random:test_vit"], "no evaluation 'kn'; did you mean 'knn'?"),
        (["list", "--category", "contxt"], "no category 'contxt'; there are: generation, context"),
        (["list", "--category", "context", "--kind", "datasets"], "only methods have a category"),
        (["list", "--check", "--time-limit", "0"], "--time-limit is in seconds and above 0, not 0"),
        (["info", "zzz"], "no method 'zzz'; there are: "),
    ],
)
def test_wrong_words_are_answered_with_what_exists(
    capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    assert expected in said(capsys, 2, *words)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--encoder", "resnt18"], "has no encoder 'resnt18'; did you mean resnet18"),
        (["--encoder", "resnet18.a1_in1k"], "names pretrained weights"),
        (["--encoder-args", "patch_size"], "is not of the form name=value"),
        (["--encoder-args", "no_such=1"], "timm cannot build test_vit"),
        (["--dataset", "clipart"], "no data set 'clipart'; did you mean 'cliparts'?"),
        (["--dataset", "cliparts[trian]"], "has no split 'trian': did you mean 'train'? it has unlabeled, train, test"),
        (["--dataset", "folder:/no/such/folder"], "/no/such/folder"),
        (["--batch-size", "32"], "--batch-size"),
        (["--optimizer", "adamq"], "timm has no optimizer 'adamq'"),
        (["--image-size", "0"], "has no pixels"),
    ],
)
def test_wrong_values_are_answered_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: list[str], expected: str
) -> None:
    assert expected in said(capsys, 2, "pretrain", "rotation", *SMALL, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists(), "a refused command leaves nothing behind"


def pictures(folder: Path, good: int, broken: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(good):
        Image.fromarray(rng.integers(0, 256, (36, 40, 3), dtype=np.uint8)).save(folder / f"good{i:03}.png")
    for i in range(broken):
        (folder / f"broken{i:03}.png").write_bytes((folder / "good000.png").read_bytes()[:200])
    return folder


FEW = ["--encoder", "test_vit", "--image-size", "32", "--epochs", "1", "--batch-size", "20", "--workers", "0"]


def test_an_empty_folder_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = said(
        capsys, 2, "pretrain", "rotation", "--dataset", f"folder:{tmp_path / 'empty'}", *FEW, "--out", tmp_path / "run"
    )
    assert "empty" in line and "no image" in line


def test_half_a_percent_of_broken_pictures_is_skipped_and_told(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", good=199, broken=1)
    done = sslzoo("pretrain", "rotation", "--dataset", f"folder:{folder}", *FEW, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "broken000.png" in done.stderr
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["unreadable"] == 1
    assert str(tmp_path) not in (tmp_path / "run" / "run.json").read_text()


def test_five_percent_of_broken_pictures_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", good=190, broken=10)
    line = said(capsys, 1, "pretrain", "rotation", "--dataset", f"folder:{folder}", *FEW, "--out", tmp_path / "run")
    assert "of 200" in line and "broken0" in line


def test_an_unknown_column_is_answered_with_the_columns_there_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = next(Path(api.__file__).parent.glob("datasets/cliparts/test*.parquet"))
    data = ["--dataset", str(path), "--image-column", "imge"]
    line = said(capsys, 2, "pretrain", "rotation", *data, *FEW, "--out", tmp_path / "run")
    assert "'imge'" in line and "image" in line and "label" in line


def test_a_configuration_edited_between_starts_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = [*SMALL, "--out", str(tmp_path / "run")]
    assert main(["pretrain", "rotation", *flags]) == 0
    capsys.readouterr()
    line = said(capsys, 1, "pretrain", "rotation", *flags, "--lr", "0.5", "--epochs", "3")
    assert "epochs: 1 -> 3; lr: 0.01 -> 0.5" in line


def test_a_checkpoint_of_another_run_is_refused(
    capsys: pytest.CaptureFixture[str], copied: Path, tmp_path: Path
) -> None:
    record = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(record | {"id": "another", "finished": False}))
    assert "holds a checkpoint of another run" in said(capsys, 1, "pretrain", "rotation", "--out", copied)


def test_a_truncated_safetensors_is_refused(capsys: pytest.CaptureFixture[str], copied: Path) -> None:
    path = copied / "encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert "model.safetensors" in said(capsys, 1, "evaluate", "knn", copied)
    assert main(["verify", str(copied)]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_a_disk_that_fills_up_during_a_checkpoint_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    code = (
        "import resource, sys; from sslzoo.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ["pretrain", "rotation", *SMALL, "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("sslzoo: the checkpoint of step 2 could not be written") and "Make room" in last
    assert "Traceback" not in done.stderr
    assert sslzoo(*words).returncode == 0


def test_a_run_is_pushed_pulled_and_verified_by_its_name_on_the_hub(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LoopbackHub() as hub:
        for name, value in hub.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        pushed = sslzoo("push", copied, "tester/rotation", "--tag", "v1", "--gated", "manual", "--heads")
        assert pushed.returncode == 0, pushed.stderr
        assert pushed.stdout.startswith(f"{hub.endpoint}/tester/rotation/commit/")
        assert "hf-hub:tester/rotation" in hub.repo("tester/rotation").files("main")["README.md"].decode()
        assert (hub.repo("tester/rotation").gated, [*hub.repo("tester/rotation").tags]) == ("manual", ["v1"])
        pulled = sslzoo("pull", "tester/rotation@v1", "--out", tmp_path / "pulled")
        assert pulled.stdout == f"{tmp_path / 'pulled'}\n", pulled.stderr
        assert (tmp_path / "pulled" / "heads.safetensors").is_file()
        assert sslzoo("verify", "hf-hub:tester/rotation").returncode == 0
        missing = sslzoo("pull", "tester/nothing")
        assert missing.returncode == 1 and missing.stderr.splitlines()[-1].startswith("sslzoo: ")


def test_data_goes_to_stdout_and_talk_to_stderr(tmp_path: Path) -> None:
    done = sslzoo("pretrain", "rotation", *SMALL, "--out", tmp_path / "run")
    assert done.stdout == f"{tmp_path / 'run'}\n"
    assert "epoch 1/1" in done.stderr


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["info", "rotation"]])
def test_a_reader_that_has_enough_is_no_trouble(words: list[str]) -> None:
    """As in ``sslzoo list | head -1``."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "sslzoo", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_only_what_a_command_imports_is_spared_from_the_search_for_garbage() -> None:
    code = (
        "import gc, sys; from sslzoo.cli import main\n"
        "assert main(['list']) == 0 and gc.get_freeze_count() == 0, 'another program calls it'\n"
        "sys.argv[1:] = ['list']\n"
        "assert main() == 0 and gc.get_freeze_count() > 10_000 and gc.isenabled()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_evaluate_prints_json_when_asked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--train-split", "train[:200]", "--test-split", "test[:100]"]
    assert main(["evaluate", "knn", str(run), "--json", "--k", "5", *flags]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["protocol"] == "knn@1" and report["config"]["k"] == 5
    assert report["baseline"]["metrics"].keys() == report["metrics"].keys()
    assert (run / "evaluations" / "knn.json").exists()


def test_evaluate_says_where_figures_went_and_wants_a_place_for_them(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "kernels", str(run), "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "kernels@1" in shown.out and "trained" not in shown.out, "there is no number for a table"
    assert f"figure: {tmp_path / 'kernels.png'}\n" in shown.err and (tmp_path / "kernels.png").exists()
    refusal = said(capsys, 2, "evaluate", "kernels", "random:test_vit")
    assert "kernels only draws, and random:test_vit is no run to keep its figures: name a folder by --out" in refusal


def test_info_and_list_know_the_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "rotation", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["defaults"]["batch_size"] == 192
    assert main(["info", "rotation"]) == 0
    assert "1803.07728" in capsys.readouterr().out
    assert main(["list", "--json", "--category", "context"]) == 0
    assert "rotation" in {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert main(["list", "--check"]) == 0


def test_list_check_names_every_broken_plugin_and_lists_the_others(
    capsys: pytest.CaptureFixture[str], install: Install
) -> None:
    newer = DATASET.replace("'S'", "'S', contract=2")
    install_plugin(install, "methods", "missing", "import a_package_that_does_not_exist")
    install_plugin(install, "methods", "misnamed", METHOD)
    install_plugin(install, "methods", "endless", "import time\ntime.sleep(3600)")
    install_plugin(install, "evaluations", "knn", EVALUATION)
    install_plugin(install, "datasets", "newer", newer)
    assert main(["list", "--check", "--time-limit", "8"]) == 1
    captured = capsys.readouterr()
    checks = {line.split()[0]: line.split()[-1] for line in captured.out.splitlines()[1:]}
    assert checks["rotation"] == "ok"
    assert {checks[name] for name in ("missing", "misnamed", "endless")} == {"BROKEN"}
    assert "its info cannot be read" in next(line for line in captured.out.splitlines() if "endless" in line)
    for line, said in zip(
        captured.err.splitlines(),
        [
            "endless_ssl:Acme (from endless-ssl) hangs on import: after 8 s it is at ",
            "misnamed_ssl:Acme (from misnamed-ssl) calls itself 'acme', not 'misnamed'",
            "missing_ssl:Acme (from missing-ssl) does not import: ModuleNotFoundError: No module named",
            "evaluation 'knn' is declared twice: knn_ssl:Acme (from knn-ssl) and sslzoo.evaluations.knn:KNN (from ss",
            "newer_ssl:Acme (from newer-ssl) is written for contract 2 and this sslzoo",
        ],
        strict=True,
    ):
        assert line.startswith(f"broken: {said}")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("methods", ["pretrain", "acme"]),
        ("evaluations", ["evaluate", "acme", "random:test_vit"]),
        ("datasets", ["pretrain", "rotation", "--dataset", "acme"]),
    ],
)
def test_a_broken_plugin_is_named_on_use(
    capsys: pytest.CaptureFixture[str], install: Install, kind: str, words: list[str]
) -> None:
    install_plugin(install, kind, "acme", "raise SystemExit('not today')")
    assert "acme_ssl:Acme (from acme-ssl) does not import: SystemExit: not today" in said(capsys, 1, *words)


def test_list_check_fails_for_a_broken_plugin_of_another_kind_than_is_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "survey", lambda plugins, seconds: {Plugin("evaluations", "knn"): "knn is ill"})
    assert main(["list", "--check", "--json", "--kind", "datasets"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "broken: knn is ill\n"
    assert {row["error"] for row in json.loads(captured.out)} == {None}
    assert main(["list", "--check", "--json", "--kind", "evaluations"]) == 1
    errors = {row["name"]: row["error"] for row in json.loads(capsys.readouterr().out)}
    assert errors["knn"] == "knn is ill" and errors["linear"] is None


def test_list_shows_each_kind_with_what_matters_of_it(capsys: pytest.CaptureFixture[str], install: Install) -> None:
    install_plugin(install, "evaluations", "acme", EVALUATION.replace("'S'", "'a | b [/c]'"))
    install_plugin(install, "datasets", "acme-newer", DATASET.replace("'S'", "'S', contract=2"))
    assert main(["list", "--kind", "evaluations"]) == 0
    assert "acme 3 purity image a | b [/c]" in " ".join(capsys.readouterr().out.split())
    assert main(["list", "--kind", "evaluations", "--markdown"]) == 0
    assert "| `acme` | 3 | purity | image | a &#124; b [/c] |" in capsys.readouterr().out
    assert main(["list", "--kind", "datasets"]) == 0
    out = capsys.readouterr().out
    assert "unlabeled, train, test" in out and "is written for contract 2" in out
    assert main(["list", "--kind", "datasets", "--json"]) == 0
    cliparts = next(row for row in json.loads(capsys.readouterr().out) if row["name"] == "cliparts")
    assert cliparts["package"] == "sslzoo" and cliparts["splits"][0] == "unlabeled" and "error" not in cliparts


@pytest.mark.parametrize("kind", ["methods", "evaluations"])
def test_the_readme_shows_what_is_installed(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--kind", kind, "--markdown"]) == 0
    table = capsys.readouterr().out.strip()
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    assert table in readme, f"put the output of `sslzoo list --kind {kind} --markdown` into README.md"
