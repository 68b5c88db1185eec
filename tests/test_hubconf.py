"""torch.hub loads from a clean clone, with nothing installed but torch, timm, huggingface_hub and safetensors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from published_run import PROVENANCE, trained, write_run
from safetensors.torch import load_file, save_file

from sslzoo.hub.folder import save_encoder
from sslzoo.testing.loopback import LoopbackHub

ROOT = Path(__file__).parents[1]
NOT_NEEDED = (
    "accelerate",
    "datasets",
    "tyro",
    "rich",
    "jinja2",
    "matplotlib",
    "transformers",
    "sslzoo_plugins",
    "sklearn",
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What torch.hub unpacks, without anything that git does not hold."""
    clone = tmp_path_factory.mktemp("hub") / "sslzoo_sslzoo_main"
    shutil.copytree(ROOT / "sslzoo", clone / "sslzoo", ignore=shutil.ignore_patterns("__pycache__", "*.parquet"))
    shutil.copy(ROOT / "hubconf.py", clone)
    return clone


def python(script: str, folder: Path, **more: str) -> str:
    """Run a script where only the packages of the environment can be imported."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    absent = f"import sys\nfor name in {NOT_NEEDED}: sys.modules[name] = None\n"
    # An installed sslzoo, even an editable one, must not stand in for the clone's.
    absent += "sys.meta_path[:] = [finder for finder in sys.meta_path if '__editable__' not in repr(finder)]\n"
    absent += f"sys.path[:] = [path for path in sys.path if path not in ({str(ROOT)!r}, {str(ROOT / 'plugins')!r})]\n"
    command = [sys.executable, "-W", "error", "-c", absent + script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_clean_clone_loads_every_kind_of_encoder(clone: Path, tmp_path: Path) -> None:
    encoder = trained("test_convnext", 48)
    save_encoder(encoder, tmp_path / "folder", PROVENANCE)
    write_run(tmp_path / "run", encoder)
    images = torch.randn(2, 3, 48, 48)
    save_file({"images": images}, tmp_path / "images.safetensors")
    script = f"""
import torch, sys
from safetensors.torch import load_file, save_file
before = set(sys.modules)
loaded = {{
    name: torch.hub.load({str(clone)!r}, "encoder", name, source="local")
    for name in ("run", "folder", "run/encoder", "random:test_vit@32")
}}
import sslzoo
assert sslzoo.__file__.startswith({str(clone)!r}), sslzoo.__file__
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
assert new.isdisjoint({{"hubconf", "utils", "models", "tests", "plugins", "scripts", "benchmarks"}}), new
assert {str(clone)!r} not in sys.path
loaded.pop("random:test_vit@32")
images = load_file("images.safetensors")["images"].clone()
save_file({{name.replace("/", "."): model(images).detach() for name, model in loaded.items()}}, "features.safetensors")
"""
    python(script, tmp_path)
    with torch.no_grad():
        expected = encoder(images)
    features = load_file(tmp_path / "features.safetensors")
    assert len(features) == 3
    assert all(torch.equal(found, expected) for found in features.values())


def test_a_clean_clone_loads_from_the_hub(clone: Path, tmp_path: Path) -> None:
    save_encoder(trained(), tmp_path / "folder", PROVENANCE)
    with LoopbackHub() as hub:
        environment = hub.environment(tmp_path / "home")
        python(
            "import huggingface_hub; huggingface_hub.HfApi().create_repo('tester/x', private=True)",
            tmp_path,
            **environment,
        )
        hub.repo("tester/x").write({path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()})
        script = f"""
import torch
for token in (None, {hub.token!r}):
    try:
        encoder = torch.hub.load({str(clone)!r}, "encoder", name="hf-hub:tester/x", token=token, source="local")
        print(encoder(torch.zeros(1, 3, 32, 32)).shape[1])
    except Exception as error:
        print(type(error).__name__)
"""
        assert python(script, tmp_path, **environment | {"HF_TOKEN": ""}).split() == ["UserError", "96"]


def test_list_and_help_show_the_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub._get_cache_or_reload", lambda *_, **__: str(ROOT))
    assert torch.hub.list("sslzoo/sslzoo", trust_repo=True) == ["encoder"]
    text = torch.hub.help("sslzoo/sslzoo", "encoder", trust_repo=True)
    assert "hf-hub:org/name" in text and "safetensors" in text


def test_dependencies_are_those_of_the_package() -> None:
    declared = (ROOT / "pyproject.toml").read_text()
    namespace: dict[str, list[str]] = {}
    exec((ROOT / "hubconf.py").read_text(), namespace)
    assert all(f'"{name.replace("_", "-")}>=' in declared for name in namespace["dependencies"])
