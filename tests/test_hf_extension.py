"""``hf sslzoo …``: the real ``hf`` command finds sslzoo where its own convention says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

from sslzoo import __version__

SCRIPT = Path(__file__).parents[1] / "scripts" / "hf-sslzoo"
INSTALL = """
import sys
from pathlib import Path
from huggingface_hub.cli import extensions, hf
script = Path(sys.argv.pop())
# What GitHub would answer; everything else is the client's own.
extensions._github_repo_exists = lambda owner, repo_name: True
extensions._fetch_remote_binary = lambda owner, repo_name, short_name: script.read_bytes()
extensions._fetch_latest_commit_sha = lambda owner, repo_name: "0" * 40
extensions._try_fetch_remote_description = lambda owner, repo_name: None
hf.main()
"""


def hf_command() -> str:
    """The ``hf`` that pip installed with the client."""
    found = [file.locate() for file in distribution("huggingface_hub").files or [] if file.name in ("hf", "hf.exe")]
    return str(found[0])


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    home = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, **home, "PATH": path}


def run(environment: dict[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(os.name == "nt", reason="the client installs no shell scripts on Windows")
def test_hf_hands_its_words_to_sslzoo(environment: dict[str, str], tmp_path: Path) -> None:
    repository = "sslzoo/hf-sslzoo"
    installed = run(environment, sys.executable, "-c", INSTALL, "extensions", "install", repository, SCRIPT)
    assert installed.returncode == 0, installed.stderr
    assert "sslzoo/hf-sslzoo" in run(environment, hf_command(), "extensions", "list").stdout
    assert run(environment, hf_command(), "sslzoo", "--version").stdout == f"sslzoo {__version__}\n"
    wrong = run(environment, hf_command(), "sslzoo", "pul", "org/a b")
    assert (wrong.returncode, wrong.stderr) == (2, "sslzoo: no command 'pul'; did you mean 'pull'?\n")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "sh").symlink_to(str(shutil.which("sh")))
    without = run({**environment, "PATH": str(bare)}, hf_command(), "sslzoo", "list")
    assert without.returncode == 1 and "hf sslzoo: there is no sslzoo on the PATH; pip install sslzoo" in without.stderr


def test_the_package_has_the_console_script_of_a_python_extension() -> None:
    (script,) = entry_points(group="console_scripts", name="hf-sslzoo")
    assert script.value == "sslzoo.cli:main"
