"""timm, transformers and datasets, each in a process of its own, find the loopback hub through the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslzoo.testing.loopback import LoopbackHub

ENCODER = """
import timm, torch
model = timm.create_model("test_resnet").eval()
timm.models.push_to_hf_hub(model, "tester/x", model_card={"license": "mit"})
pulled = timm.create_model("hf-hub:tester/x", pretrained=True).eval()
picture = torch.rand(1, 3, 64, 64)
assert torch.equal(model(picture), pulled(picture))
"""
TRANSFORMERS = """
# timm 1.0.31 writes num_classes among the model_args, which transformers 5.23 cannot read.
import huggingface_hub, json, transformers
config = json.load(open(huggingface_hub.hf_hub_download("tester/x", "config.json")))
del config["model_args"]["num_classes"]
huggingface_hub.upload_file(
    path_or_fileobj=json.dumps(config).encode(), path_in_repo="config.json", repo_id="tester/x"
)
wrapped = transformers.AutoModel.from_pretrained("tester/x").eval()
features = model.forward_head(model.forward_features(picture), pre_logits=True)
assert torch.equal(features, wrapped(picture).pooler_output)
"""
DATASET = """
import datasets
pushed = datasets.Dataset.from_dict({"number": list(range(10)), "text": ["a"] * 10})
pushed.push_to_hub("tester/data", private=True)
assert datasets.load_dataset("tester/data", split="train")[3] == {"number": 3, "text": "a"}
stream = datasets.load_dataset("tester/data", split="train", streaming=True)
assert [row["number"] for row in stream] == list(range(10))
assert datasets.load_dataset("tester/folder", split="train")["label"] == [0, 1]
"""

COMMANDS = """
import sys
from huggingface_hub.cli.hf import main

def hf(*words):
    sys.argv = ["hf", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (words, end.code)

hf("auth", "whoami")
hf("repos", "create", "tester/x", "--private")
hf("upload", "tester/x", "folder", ".", "--commit-message", "By hand")
hf("upload", "tester/x", "folder/config.json", "copy.json")
hf("repos", "tag", "create", "tester/x", "v1")
hf("repos", "branch", "create", "tester/x", "feat/two", "--revision", "v1")
hf("upload", "tester/x", "folder/config.json", "new.json", "--revision", "feat/two")
hf("repos", "delete-files", "tester/x", "copy.json")
hf("download", "tester/x", "--revision", "feat/two", "--local-dir", "out")
hf("models", "ls", "--author", "tester")
hf("models", "info", "tester/x")
hf("repos", "settings", "tester/x", "--gated", "auto")
hf("repos", "tag", "list", "tester/x")
hf("repos", "move", "tester/x", "tester/y")
hf("repos", "branch", "delete", "tester/y", "feat/two")
"""
DELETE = 'hf("repos", "delete", "tester/y", "--yes")'
OFFLINE = """
import os, sys
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
import timm
print(snapshot_download("tester/x"), snapshot_download("tester/x", revision="v1"), sep=chr(10))
timm.create_model("hf-hub:tester/x", pretrained=True)
try:
    hf_hub_download("tester/x", "config.json", revision="never-seen")
except (LocalEntryNotFoundError, OfflineModeIsEnabled):
    print("not cached")
"""


def run(script: str, hub: LoopbackHub, home: Path, **more: str) -> str:
    environment = {**os.environ, **hub.environment(home), "PYTHONWARNINGS": "ignore"} | more
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_timm_and_transformers_give_back_the_encoder_that_was_pushed(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with LoopbackHub() as hub:
        run(ENCODER + TRANSFORMERS, hub, tmp_path)
        assert {"README.md", "config.json", "model.safetensors"} <= hub.repo("tester/x").files().keys()
        assert [request.status for request in hub.requests if request.status >= 500] == []


def test_datasets_are_pushed_loaded_and_streamed(tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        run(
            "import huggingface_hub; huggingface_hub.HfApi().create_repo('tester/folder', repo_type='dataset')",
            hub,
            tmp_path,
        )
        hub.repo("tester/folder", "dataset").write({"train/cat/0.png": PNG, "train/dog/1.png": PNG})
        run(DATASET, hub, tmp_path)
        assert any(path.endswith(".parquet") for path in hub.repo("tester/data", "dataset").files())
        assert [request.status for request in hub.requests if request.status >= 500] == []


def test_the_hf_command_does_all_that_one_does_by_hand(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 40}
    (tmp_path / "folder").mkdir()
    for name, data in files.items():
        (tmp_path / "folder" / name).write_bytes(data)
    with LoopbackHub() as hub:
        said = run(COMMANDS, hub, tmp_path)
        assert "tester" in said and "tester/x" in said and "v1" in said
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()} == files | {
            ".gitattributes": hub.repo("tester/y").files()[".gitattributes"],
            "copy.json": b"{}",
            "new.json": b"{}",
        }
        repository = hub.repo("tester/y")
        assert (repository.private, repository.gated) == (True, "auto")
        assert [*repository.branches, *repository.tags] == ["main", "v1"]
        assert set(repository.files()) == {".gitattributes", *files}
        assert [request for request in hub.requests if request.status >= 500] == []
        run(COMMANDS[: COMMANDS.index('hf("auth')] + DELETE, hub, tmp_path)
        assert hub.repos == []


def test_without_a_network_what_is_cached_is_there_by_branch_and_by_tag(tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        run(ENCODER, hub, tmp_path)
        hub.repo("tester/x").refs["refs/tags/v1"] = hub.repo("tester/x").branches["main"]
        fetching = "[snapshot_download('tester/x', revision=name) for name in ('main', 'v1')]"
        run(f"from huggingface_hub import snapshot_download; {fetching}", hub, tmp_path)
        with hub.watch() as requests:
            *folders, said = run(OFFLINE, hub, tmp_path, HF_HUB_OFFLINE="1").splitlines()
        assert requests == []
        assert [Path(folder).name for folder in folders] == [hub.repo("tester/x").branches["main"]] * 2
        assert said == "not cached"


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63f80f0001010100"
    "1bb6ee560000000049454e44ae426082"
)
"""One grey pixel."""
