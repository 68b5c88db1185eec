"""Large files by Xet: chunks go to a store and not through the hub, and everything else is as without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants
from published_run import REPORT, write_run

from sslzoo.hub.load import load_encoder
from sslzoo.hub.pull import pull
from sslzoo.hub.push import push
from sslzoo.testing.loopback import LoopbackHub

pytest.importorskip("hf_xet", reason="hf-xet is not installed")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with LoopbackHub(xet=tmp_path / "chunks") as running:
        yield running


def test_large_files_go_as_chunks_and_come_back_equal(hub: LoopbackHub, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("tester/x")
    files = {"a.bin": os.urandom(300_000), "b.bin": b"\0" * 200_000, "c.txt": b"text"}
    (tmp_path / "folder").mkdir()
    for name, data in files.items():
        (tmp_path / "folder" / name).write_bytes(data)
    with hub.watch() as requests:
        api.upload_folder(repo_id="tester/x", folder_path=tmp_path / "folder")
        pulled = Path(api.snapshot_download("tester/x"))
    assert {name: (pulled / name).read_bytes() for name in files} == files
    assert {name: data for name, data in hub.repo("tester/x").files().items() if name in files} == files
    assert [request for request in requests if request.origin == "cdn"] == []
    assert any("xet-write-token" in request.path for request in requests)
    assert any("xet-read-token" in request.path for request in requests)
    assert max(request.sent for request in requests) < 2000


def test_a_client_without_xet_reads_what_one_with_it_wrote(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("tester/x")
    data = os.urandom(100_000)
    api.upload_file(repo_id="tester/x", path_or_fileobj=data, path_in_repo="a.bin")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with hub.watch() as requests:
        assert Path(api.hf_hub_download("tester/x", "a.bin")).read_bytes() == data
    assert [request.method for request in requests if request.origin == "cdn"] == ["GET"]
    api.upload_file(repo_id="tester/x", path_or_fileobj=data[::-1], path_in_repo="b.bin")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    assert Path(api.hf_hub_download("tester/x", "b.bin")).read_bytes() == data[::-1]


def test_a_run_is_pushed_pulled_and_loaded_by_xet(hub: LoopbackHub, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    client = {"endpoint": hub.endpoint, "token": hub.token}
    with hub.watch() as requests:
        first = push(run, "tester/x", **client)
        pulled = pull("tester/x", tmp_path / "pulled", **client)
        loaded = load_encoder("hf-hub:tester/x", **client)
    assert [request for request in requests if request.origin == "cdn"] == []
    weights = (run / "encoder" / "model.safetensors").read_bytes()
    assert (pulled / "encoder" / "model.safetensors").read_bytes() == weights
    assert hub.repo("tester/x").files()["model.safetensors"] == weights
    with torch.no_grad():
        images = torch.randn(2, 3, 32, 32)
        assert torch.equal(loaded(images), load_encoder(run)(images))
    chunks = stored(tmp_path / "chunks")
    assert sum(chunks.values()) >= len(weights) // 2
    assert push(run, "tester/x", **client) == first
    (run / "evaluations" / "linear.json").write_text(json.dumps(REPORT))
    assert push(run, "tester/x", **client) != first
    assert stored(tmp_path / "chunks") == chunks, "what the store has must not be sent again"


def stored(folder: Path) -> dict[str, int]:
    """Size of every package of chunks, without the shards that say what is in which."""
    return {path.name: path.stat().st_size for path in folder.rglob("xorbs/default.*")}


def test_a_cached_commit_costs_nothing_and_a_cached_branch_one_head_by_xet(hub: LoopbackHub, tmp_path: Path) -> None:
    client = {"endpoint": hub.endpoint, "token": hub.token}
    commit = push(write_run(tmp_path / "run"), "tester/x", **client).rpartition("/")[2]
    load_encoder("hf-hub:tester/x", **client)
    with hub.watch() as requests:
        load_encoder(f"hf-hub:tester/x@{commit}", **client)
    assert requests == []
    with hub.watch() as requests:
        load_encoder("hf-hub:tester/x", **client)
    assert [request.method for request in requests] == ["HEAD"]


EVERY_DOOR = """
import timm, torch
from pathlib import Path
from sslzoo.hub.load import load_encoder
from sslzoo.hub.push import push
push(Path("run"), "tester/x")
images = torch.randn(2, 3, 32, 32)
with torch.no_grad():
    expected = load_encoder("run")(images)
    assert torch.equal(timm.create_model("hf-hub:tester/x", pretrained=True).eval()(images), expected)
    assert torch.equal(load_encoder("hf-hub:tester/x")(images), expected)
"""


def test_timm_loads_by_xet_in_a_process_of_its_own(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    with LoopbackHub(xet=tmp_path / "chunks") as hub:
        environment = {**os.environ, **hub.environment(tmp_path / "home"), "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-c", EVERY_DOOR]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert any("xet-read-token" in request.path for request in hub.requests)
        assert [request for request in hub.requests if request.origin == "cdn"] == []
