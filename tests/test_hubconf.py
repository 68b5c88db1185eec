"""torch.hub loads from a clean clone, with nothing installed but torch, timm, huggingface_hub and safetensors."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from conftest import write_distribution
from published_run import PROVENANCE, trained, write_run
from safetensors.torch import load_file, save_file

from sslzoo.hub.fingerprint import features_of
from sslzoo.hub.folder import save_encoder
from sslzoo.hub.layout import published_files
from sslzoo.hub.load import load_encoder
from sslzoo.testing.loopback import LoopbackHub

ROOT = Path(__file__).parents[1]
RELEASED = sorted((ROOT / "model_cards").glob("*"))
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
    clone = tmp_path_factory.mktemp("hub") / "sslzoo-sslzoo-0123abc"
    shutil.copytree(ROOT / "sslzoo", clone / "sslzoo", ignore=shutil.ignore_patterns("__pycache__", "*.parquet"))
    shutil.copy(ROOT / "hubconf.py", clone)
    for folder in RELEASED:
        shutil.copytree(folder, clone / "model_cards" / folder.name)
    release(write_run(tmp_path_factory.mktemp("run") / "run"), clone / "model_cards" / "toy")
    return clone


def release(run: Path, folder: Path) -> None:
    """Embed a run as a released encoder."""
    for name, path in published_files(run).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)


@pytest.fixture
def github(clone: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a zip as GitHub makes it of the clone: all within one folder, which is its first entry."""
    archive = shutil.make_archive(str(tmp_path / "served" / "main"), "zip", clone.parent, clone.name)
    handler = partial(Quiet, directory=Path(archive).parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/main.zip"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


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
    save_encoder(trained("test_r3d", 48), tmp_path / "of_clips", PROVENANCE)
    images = torch.randn(2, 3, 48, 48)
    save_file({"images": images}, tmp_path / "images.safetensors")
    script = f"""
import os, sys, torch
from safetensors.torch import load_file, save_file
before = set(sys.modules)
loaded = {{
    name: torch.hub.load({str(clone)!r}, "encoder", name, source="local")
    for name in ("run", "folder", "run/encoder", "random:test_vit@32")
}}
of_clips = torch.hub.load({str(clone)!r}, "encoder", "of_clips", source="local")
assert of_clips(torch.zeros(1, 3, 16, 48, 48)).shape == (1, 64)
os.chdir({str(clone)!r})
toy = torch.hub.load(".", "toy", source="local")
assert toy.pretrained_cfg["input_size"] == (3, 32, 32)
os.chdir({str(tmp_path)!r})
import sslzoo, sslzoo.hub.verify
assert sslzoo.__file__.startswith({str(clone)!r}), sslzoo.__file__
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
assert {{name for name in new if {str(clone)!r} in (getattr(sys.modules[name], "__file__", "") or "")}} == {{"sslzoo"}}
assert new.isdisjoint({{"hubconf", "utils", "models", "tests", "plugins", "scripts", "benchmarks"}}), new
assert {str(clone)!r} not in sys.path and "." not in sys.path
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


def test_weights_that_are_not_in_the_clone_come_from_the_hub(clone: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    slim = tmp_path / "clone"
    shutil.copytree(clone, slim, ignore=shutil.ignore_patterns("model_cards"))
    for name in "large", "other":
        release(run, slim / "model_cards" / name)
        (slim / "model_cards" / name / "model.safetensors").unlink()
    script = """
import torch
print(torch.hub.load("clone", "large", source="local")(torch.zeros(1, 3, 32, 32)).shape[1])
try:
    torch.hub.load("clone", "other", source="local")
except Exception as error:
    print(error)
"""
    with LoopbackHub() as hub:
        environment = hub.environment(tmp_path / "home")
        create = "import huggingface_hub; huggingface_hub.HfApi().create_repo('sslzoo/{0}')"
        python("\n".join(create.format(name) for name in ("large", "other")), tmp_path, **environment)
        files = {name: path.read_bytes() for name, path in published_files(run).items()}
        hub.repo("sslzoo/large").write(files)
        save_encoder(trained(seed=1), tmp_path / "changed", PROVENANCE)
        hub.repo("sslzoo/other").write(
            files | {path.name: path.read_bytes() for path in (tmp_path / "changed").iterdir()}
        )
        dim, refused = python(script, tmp_path, **environment).splitlines()
    assert dim == "96"
    assert "hf-hub:sslzoo/other is no longer what this clone describes" in refused and "REVISION" in refused


def test_every_released_encoder_is_an_entry_of_what_github_gives(clone: Path, github: str, tmp_path: Path) -> None:
    script = f"""
import json, torch
from safetensors.torch import save_file
torch.hub._git_archive_link = lambda owner, name, ref: {github!r}
torch.hub.set_dir("hub")
options = {{"trust_repo": True, "skip_validation": True}}
names = torch.hub.list("sslzoo/sslzoo:main", **options)
features, helps = {{}}, {{}}
for name in names:
    helps[name] = torch.hub.help("sslzoo/sslzoo:main", name, **options)
    if name != "encoder":
        encoder = torch.hub.load("sslzoo/sslzoo:main", name, **options)
        assert not encoder.training
        from sslzoo.hub.fingerprint import features_of
        features[name] = features_of(encoder)
save_file(features, "features.safetensors")
open("helps.json", "w").write(json.dumps(helps))
import sslzoo
assert "hub/sslzoo_sslzoo_main" in sslzoo.__file__, sslzoo.__file__
"""
    python(script, tmp_path)
    helps, found = json.loads((tmp_path / "helps.json").read_text()), load_file(tmp_path / "features.safetensors")
    assert helps.keys() == {"encoder", "toy", *(folder.name for folder in RELEASED)}
    assert found.keys() == helps.keys() - {"encoder"}
    for name, features in found.items():
        assert torch.equal(features_of(load_encoder(clone / "model_cards" / name)), features), name


def test_help_tells_what_an_encoder_is(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub._get_cache_or_reload", lambda *_, **__: str(clone))
    text = torch.hub.help("sslzoo/sslzoo", "encoder", trust_repo=True)
    assert "hf-hub:org/name" in text and "safetensors" in text
    text = torch.hub.help("sslzoo/sslzoo", "toy", trust_repo=True)
    for said in (
        "test_resnet pretrained on cliparts[unlabeled] by rotation: Tell by which of four right angles",
        "images (B, 3, 32, 32) to features (B, 96)",
        "mean [0.485, 0.456, 0.406]",
        '"Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018, https://arxiv.org/abs/1803.07728',
        "Recipe: sslzoo pretrain rotation --dataset 'cliparts[unlabeled]'",
        "Weights: in this repository, apache-2.0, sha256 ",
        "knn@1, cliparts[test], accuracy: 0.463, 0.361 untrained",
        'torch.hub.load("sslzoo/sslzoo", "toy", trust_repo=True)',
    ):
        assert said in text, said


def test_of_two_versions_of_sslzoo_the_first_is_used_and_says_so(clone: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(clone / "sslzoo", other / "sslzoo")
    shutil.copy(clone / "hubconf.py", other)
    (other / "sslzoo" / "__init__.py").write_text('__version__ = "9.9"\n')
    script = f"""
import torch, warnings
for clone in ({str(clone)!r}, {str(clone)!r}, {str(other)!r}):
    with warnings.catch_warnings(record=True, action="always") as caught:
        torch.hub.load(clone, "encoder", "random:test_resnet@32", source="local")
    print([str(warning.message) for warning in caught])
"""
    site = write_distribution(tmp_path / "site", "sslzoo", {})
    first, second, third = python(script, tmp_path, PYTHONPATH=str(site)).splitlines()
    assert "not the installed 1.0" in first and "import sslzoo before torch.hub.load" in first
    assert second == "[]"
    assert "was imported before" in third and "not the sslzoo 9.9" in third and "in a new process" in third


def test_dependencies_are_those_of_the_package() -> None:
    declared = (ROOT / "pyproject.toml").read_text()
    dependencies = runpy.run_path(str(ROOT / "hubconf.py"))["dependencies"]
    assert all(f'"{name.replace("_", "-")}>=' in declared for name in dependencies)


@pytest.mark.parametrize("path", ["README.md", "hubconf.py", "sslzoo/card/card.md"])
def test_what_is_to_be_copied_does_not_ask_whether_to_trust(path: str) -> None:
    """``trust_repo="check"``, the default, waits for an answer, which nobody gives in a script."""
    calls = re.findall(r"torch\.hub\.load\(([^)\n]*)\)", (ROOT / path).read_text())
    assert calls
    assert all("trust_repo=True" in call or 'source="local"' in call or "…" in call for call in calls)
