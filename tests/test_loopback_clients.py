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


def run(script: str, hub: LoopbackHub, home: Path) -> None:
    environment = {**os.environ, **hub.environment(home), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63f80f0001010100"
    "1bb6ee560000000049454e44ae426082"
)
"""One grey pixel."""
