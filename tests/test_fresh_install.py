"""In a virtual environment that holds nothing but what pip puts there: the guide, and a package with plugins."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from safetensors.torch import load_file
from test_example_plugin import EXAMPLE
from test_guide import GUIDE
from walkthrough import INSTALL, Walk, clean_environment

from sslzoo.testing.loopback import LoopbackHub

pytestmark = pytest.mark.slow

RECIPE = ("--recipe", "small", "--dataset", "gratings", "--encoder", "test_resnet", "--image-size", "48")

SAVE = """
import sslzoo, torch
from safetensors.torch import save_file
images = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
encoder = sslzoo.load_encoder("run")
save_file({"images": images, "features": encoder(images).detach()}, "before.safetensors")
"""

LOAD = """
import importlib.util, sys, timm, torch
from safetensors.torch import load_file, save_file
checkout, = sys.argv[1:]
assert not any(map(importlib.util.find_spec, ("sslzoo", "sslzoo_plugins", "sslzoo_example")))
images = load_file("before.safetensors")["images"]
encoders = {
    "timm from a folder": timm.create_model("local-dir:run/encoder", pretrained=True),
    "timm from the Hub": timm.create_model("hf-hub:tester/gratings", pretrained=True),
    "torch.hub from a folder": torch.hub.load(checkout, "encoder", "run", source="local"),
    "torch.hub from the Hub": torch.hub.load(checkout, "encoder", "hf-hub:tester/gratings", source="local"),
}
save_file({door: encoder.eval()(images).detach() for door, encoder in encoders.items()}, "after.safetensors")
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Someone who has followed the guide until sslzoo is installed: some gigabytes, removed at the end."""
    folder = tmp_path_factory.mktemp("fresh")
    try:
        with LoopbackHub() as hub:
            walk = Walk(GUIDE, folder, clean_environment() | hub.environment(folder / "home"), ROOT)
            walk.until(INSTALL)
            yield walk
    finally:
        shutil.rmtree(folder)


def run(reader: Walk, folder: Path, *words: str | Path) -> str:
    """Run a command of the fresh environment in a folder."""
    command = [reader.folder / ".venv" / "bin" / words[0], *words[1:]]
    done = subprocess.run(
        command, cwd=folder, env=reader.environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_an_outsiders_encoder_outlives_its_plugin_and_sslzoo(reader: Walk, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
    run(reader, tmp_path, "pip", "install", "./package")
    for kind, name in {"methods": "nnclr", "datasets": "gratings", "evaluations": "nearest-mean"}.items():
        listed = run(reader, tmp_path, "sslzoo", "list", "--kind", kind, "--check")
        assert f"{name} " in listed and "sslzoo-example" in listed and "BROKEN" not in listed
        assert "BROKEN" not in run(reader, tmp_path, "sslzoo", "check", name)
    run(reader, tmp_path, "sslzoo", "pretrain", "nnclr", *RECIPE, "--epochs", "3", "--out", "run")
    assert "nearest-mean@1" in run(
        reader, tmp_path, "sslzoo", "evaluate", "nearest-mean", "run", "--dataset", "gratings"
    )
    run(reader, tmp_path, "sslzoo", "verify", "run")
    run(reader, tmp_path, "sslzoo", "push", "run", "tester/gratings")
    run(reader, tmp_path, "python", "-c", SAVE)
    run(reader, tmp_path, "pip", "uninstall", "--yes", "sslzoo-example", "sslzoo")
    try:
        run(reader, tmp_path, "python", "-c", LOAD, ROOT)
    finally:
        run(reader, tmp_path, "pip", "install", ROOT)
    expected = load_file(tmp_path / "before.safetensors")["features"]
    found = load_file(tmp_path / "after.safetensors")
    assert len(found) == 4 and [door for door, features in found.items() if not features.equal(expected)] == []


def test_everything_in_the_guide_works_as_it_says(reader: Walk) -> None:
    reader.rest()
