"""What several test files share: installing plugins without pip, and running the command as a user does."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from sslzoo.scaffold import Kind, distribution_name, write_package
from sslzoo.testing.loopback import LoopbackHub

# Read by the Hub client when it is first imported: no test may leave this machine or the user's cache.
os.environ.update(HF_HUB_OFFLINE="0", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
_home = tempfile.TemporaryDirectory(prefix="sslzoo-tests-")
os.environ["HF_HOME"] = _home.name
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nothing listens there
os.environ.pop("HF_TOKEN", None)
# Small networks gain nothing from a second thread, and tests that run side by side would fight for the cores.
os.environ["OMP_NUM_THREADS"] = "1"

TESTS = Path(__file__).parent
ROOT = TESTS.parent

STRETCH = {
    "sslzoo.methods": {
        "recluster": "stretch_plugins.recluster:Recluster",
        "tiny-gan": "stretch_plugins.tiny_gan:TinyGAN",
    },
}
NEW: dict[str, Kind] = {"clip_direction": "clip", "sight_and_sound": "pair", "mean_teacher": "teacher"}
"""Methods that ``sslzoo new`` writes, by name, with the kind they are of."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported now stays to the end: to look for garbage in it takes as long as to import it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def write_distribution(folder: Path, name: str, entry_points: dict[str, dict[str, str]]) -> Path:
    """What pip leaves of an installed package: a .dist-info with entry points."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, entries in entry_points.items():
        lines += [f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install a package of given name and entry points for one test, in this process and its children."""

    def install_distribution(name: str, entry_points: dict[str, dict[str, str]]) -> Path:
        folder = write_distribution(tmp_path / "site" / name, name, entry_points)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        forget_installed()
        return folder

    yield install_distribution
    forget_installed()


@pytest.fixture
def install_new(install: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Write a package with a method of given name and kind, as ``sslzoo new`` does, and install it for one test."""

    def write_and_install(name: str, kind: Kind) -> Path:
        folder = write_package(name, tmp_path / "site" / distribution_name(name), kind)
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        return install(project["name"], project["entry-points"])

    return write_and_install


def forget_installed() -> None:
    """Have the registries look again at what is installed."""
    from sslzoo import registry

    for known in (registry.methods, registry.evaluations, registry.datasets):
        known.__dict__.pop("_declared", None)


@pytest.fixture
def stretch(install: Callable[..., Path], install_new: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugins of ``stretch_plugins`` and those that are written anew, installed for one test."""
    for name, kind in NEW.items():
        install_new(name, kind)
    install("stretch-plugins", STRETCH)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ["PYTHONPATH"]]))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test caches features in a folder of its own."""
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub on this machine, for clients in this process that are given its endpoint."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with LoopbackHub() as running:
        yield running


def sslzoo(
    *words: str | Path, env: dict[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-W", "error::ResourceWarning", "-m", "sslzoo", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})}, check=False
    )
