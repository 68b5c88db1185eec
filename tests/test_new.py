"""What ``sslzoo new`` writes is a whole package, and works."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

import sslzoo
from sslzoo.cli import main
from sslzoo.config import UserError
from sslzoo.registry import methods
from sslzoo.scaffold import KINDS, Kind, write_package

NAMES = ("t", "my_task", "a_rather_long_name_for_a_pretext_task_xl")
TINY = {"dataset": "moving-shapes[train[:16]]", "image_size": 32, "epochs": 1, "batch_size": 8, "workers": 0}


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Run ``sslzoo new``, which must fail in one line; returns the line."""
    assert main(["new", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_has_all_its_files_under_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    out = tmp_path / "mine"
    assert main(["new", "my-task", "--out", str(out), "--kind", kind]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert f"pip install -e {out}" in captured.err and "sslzoo pretrain my_task" in captured.err
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {
        *("pyproject.toml", "README.md", ".gitignore", ".github/workflows/test.yml"),
        *("sslzoo_my_task/__init__.py", "sslzoo_my_task/my_task.py", "tests/test_my_task.py"),
    }
    project = tomllib.loads((out / "pyproject.toml").read_text())["project"]
    assert project["name"] == "sslzoo-my-task"
    assert project["dependencies"] == [f"sslzoo>={sslzoo.__version__}"]
    assert project["entry-points"] == {"sslzoo.methods": {"my_task": "sslzoo_my_task.my_task:MyTask"}}
    assert 'check_method("my_task").raise_for_failures()' in (out / "tests" / "test_my_task.py").read_text()


def test_it_is_written_beside_where_one_is_if_no_folder_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my_task"]) == 0
    assert capsys.readouterr().out == "sslzoo-my-task\n"
    assert (tmp_path / "sslzoo-my-task" / "sslzoo_my_task" / "my_task.py").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *((name, "write lower-case words joined by _ or -") for name in ("MyTask", "1st", "my__task", "a_", "../x")),
        *((name, "write lower-case words joined by _ or -") for name in ("", "my task", "tâche", "a" * 41)),
        *((name, "is a word of Python's own") for name in ("class", "none")),
        *(
            (name, f"would hide another {name.title().replace('_', '')}")
            for name in ("tensor", "f", "perhaps_on_its_side")
        ),
        ("rotation", "there is a method 'rotation' already, from sslzoo: choose another name"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_the_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    assert said in refused(capsys, name, "--out", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_name_that_another_package_has_is_refused_with_that_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], install: Callable[..., Path]
) -> None:
    install("acme-ssl", {"sslzoo.methods": {"my-task": "acme_ssl:Acme"}})
    assert "there is a method 'my-task' already, from acme-ssl" in refused(
        capsys, "my_task", "--out", tmp_path / "mine"
    )


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "README.md").write_text("mine")
    assert "is there already and not empty" in refused(capsys, "my_task", "--out", tmp_path / "full")
    assert "is there already and not empty" in refused(capsys, "my_task", "--out", tmp_path / "full" / "README.md")
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "README.md"]
    assert (tmp_path / "full" / "README.md").read_text() == "mine"
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\): name another folder"):
        write_package("my_task", tmp_path / "full" / "README.md" / "mine")
    (tmp_path / "empty").mkdir()
    assert write_package("my_task", tmp_path / "empty") == tmp_path / "empty"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_method_is_listed_pretrains_evaluates_and_verifies(
    tmp_path: Path, install_new: Callable[..., Path], kind: Kind
) -> None:
    name = f"some_{kind}_task"  # a name per kind, as a module is imported once
    install_new(name, kind)
    (listed,) = (info for info in sslzoo.list_methods() if info.name == name)
    assert listed == methods.load(name).info and listed.summary == KINDS[kind]
    run = sslzoo.pretrain(name, out=tmp_path / "run", **TINY)
    assert json.loads((run / "run.json").read_text())["steps"] == 2
    report = sslzoo.evaluate("knn", run, "moving-shapes", train_split="train[:24]", test_split="test[:12]")
    assert 0 <= report.metrics["accuracy"] <= 1 and report.baseline is not None
    assert not [check for check in sslzoo.verify(run) if check.ok is False]


def test_new_packages_pass_their_own_tests_unchanged(install_new: Callable[..., Path]) -> None:
    folders = [install_new(f"some_{kind}_task", kind) for kind in KINDS]
    words = ["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run([sys.executable, *words], cwd=folders[0].parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "8 passed" in done.stdout, done.stdout


def write_all(folder: Path) -> list[str]:
    """Packages of each kind with short and long names; returns their folders."""
    return [str(write_package(name, folder / f"{kind}-{name}", kind)) for kind in get_args(Kind) for name in NAMES]


@pytest.mark.skipif(find_spec("ruff") is None, reason="a tool of developers")
@pytest.mark.parametrize("words", [["check"], ["format", "--check"]])
def test_what_is_written_needs_no_tidying(tmp_path: Path, words: list[str]) -> None:
    packages = write_all(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *words, "--no-cache", *packages], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mypy") is None, reason="a tool of developers")
def test_what_is_written_has_sound_types(tmp_path: Path) -> None:
    write_all(tmp_path)
    for kind in KINDS:
        shutil.copytree(tmp_path / f"{kind}-my_task", tmp_path / "one", dirs_exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "."],
            cwd=tmp_path / "one", capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
