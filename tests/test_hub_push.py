"""To the Hub and back, with the official client and a Hub on this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from published_run import REPORT, repository_for, trained, trained_to_hear, write_run
from safetensors.torch import save_file

import sslzoo
from sslzoo.config import UsageError, UserError
from sslzoo.hub.load import load_encoder
from sslzoo.hub.pull import pull
from sslzoo.hub.push import push
from sslzoo.testing.loopback import LoopbackHub

PUBLISHED = {
    "README.md": "encoder/README.md",
    "config.json": "encoder/config.json",
    "model.safetensors": "encoder/model.safetensors",
    "run.json": "run.json",
    "log.jsonl": "log.jsonl",
    "evaluations/knn.json": "evaluations/knn.json",
    "figures/loss.png": "figures/loss.png",
}
"""Names in the repository, and in the run."""


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture(autouse=True)
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: LoopbackHub) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    hub.clear_faults()
    hub.clear_requests()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return repository_for(request.node.name)


def complaint_of_push(run: Path, name: str, hub: LoopbackHub, **kwargs: Any) -> str:
    with pytest.raises(UserError) as caught:
        push(run, name, **({"endpoint": hub.endpoint, "token": hub.token} | kwargs))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def complaint_of_pull(name: str, out: Path, hub: LoopbackHub, **kwargs: str) -> str:
    with pytest.raises(UserError) as caught:
        pull(name, out, **({"endpoint": hub.endpoint, "token": hub.token} | kwargs))
    assert "\n" not in str(caught.value)
    assert not out.exists() or any(out.iterdir())
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(f".{out.name}")] == []
    return str(caught.value)


def test_a_push_is_one_commit_of_what_is_to_be_published(run: Path, hub: LoopbackHub, name: str) -> None:
    address = push(run, name, endpoint=hub.endpoint, token=hub.token, message="Rotation on cliparts")
    files = hub.repo(name).files()
    assert {**files, ".gitattributes": b""} == {
        ".gitattributes": b"",
        **{there: (run / here).read_bytes() for there, here in PUBLISHED.items()},
    }
    commits = list(hub.repo(name).history())
    assert [commit.title for commit in commits] == ["Rotation on cliparts", "initial commit"]
    assert address == f"{hub.endpoint}/{name}/commit/{commits[0].oid}"
    assert not hub.repo(name).private


def test_a_pull_gives_the_run_back_and_it_can_be_pushed_again(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path
) -> None:
    push(run, name, endpoint=hub.endpoint, token=hub.token, private=True)
    assert hub.repo(name).private
    pulled = pull(f"hf-hub:{name}", tmp_path / "new" / "pulled", endpoint=hub.endpoint, token=hub.token)
    there = {str(path.relative_to(pulled)) for path in pulled.rglob("*") if path.is_file()}
    assert there == set(PUBLISHED.values())
    assert all((pulled / path).read_bytes() == (run / path).read_bytes() for path in there)
    load_encoder(pulled)
    push(pulled, name, endpoint=hub.endpoint, token=hub.token)
    assert len(list(hub.repo(name).history())) == 2


def test_each_request_says_that_sslzoo_made_it(run: Path, hub: LoopbackHub, name: str, tmp_path: Path) -> None:
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    pull(name, tmp_path / "pulled", endpoint=hub.endpoint, token=hub.token)
    load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token)
    agents = {request.agent.partition(";")[0] for request in hub.requests if request.origin == "hub"}
    assert agents == {f"sslzoo/{sslzoo.__version__}"}


def test_only_what_is_new_is_sent_again(run: Path, hub: LoopbackHub, name: str) -> None:
    first = push(run, name, endpoint=hub.endpoint, token=hub.token)
    with hub.watch() as requests:
        assert push(run, name, endpoint=hub.endpoint, token=hub.token) == first
    assert [request.path for request in requests if request.method == "PUT" or "/commit/" in request.path] == []
    (run / "evaluations" / "linear.json").write_text(json.dumps(REPORT))
    with hub.watch() as requests:
        assert push(run, name, endpoint=hub.endpoint, token=hub.token) != first
    assert [request for request in requests if request.method == "PUT"] == []
    (commit,) = [request for request in requests if "/commit/" in request.path]
    assert commit.sent < 2000
    assert "evaluations/linear.json" in hub.repo(name).files()


def test_results_of_older_weights_do_not_stay(run: Path, hub: LoopbackHub, name: str) -> None:
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    hub.repo(name).write({"evaluations/old.json": b"{}", "notes.md": b"of the owner's hand"})
    (run / "figures" / "loss.png").unlink()
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    files = hub.repo(name).files().keys()
    assert files.isdisjoint({"evaluations/old.json", "figures/loss.png"})
    assert {"evaluations/knn.json", "notes.md"} <= files


def test_a_branch_is_made_for_a_revision(run: Path, hub: LoopbackHub, name: str, tmp_path: Path) -> None:
    for _ in range(2):
        push(run, name, revision="feat/long", endpoint=hub.endpoint, token=hub.token)
    assert set(hub.repo(name).branches) == {"main", "feat/long"}
    assert set(hub.repo(name).files("main")) == {".gitattributes"}
    pull(f"{name}@feat/long", tmp_path / "out", endpoint=hub.endpoint, token=hub.token)
    loaded = load_encoder(f"hf-hub:{name}@feat/long", endpoint=hub.endpoint, token=hub.token)
    assert "no such revision" in complaint_of_pull(f"{name}@v9", tmp_path / "other", hub)
    assert "no such file" in complaint_of_load(name, hub)
    assert not loaded.training


def complaint_of_load(name: str, hub: LoopbackHub) -> str:
    with pytest.raises(UserError) as caught:
        load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_finished_or_damaged_is_not_sent(run: Path, hub: LoopbackHub, name: str, tmp_path: Path) -> None:
    assert "is not a run" in complaint_of_push(tmp_path, name, hub)
    (run / "encoder" / "README.md").rename(run / "encoder" / "aside")
    assert "lacks README.md" in complaint_of_push(run, name, hub)
    (run / "encoder" / "aside").rename(run / "encoder" / "README.md")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"finished": False}))
    assert "has not finished" in complaint_of_push(run, name, hub)
    (run / "run.json").write_text("{")
    assert "cannot be read" in complaint_of_push(run, name, hub)
    (run / "run.json").write_text(json.dumps(record))
    weights = run / "encoder" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "damaged or exchanged" in complaint_of_push(run, name, hub)
    assert hub.requests == []


def test_an_unfinished_run_is_sent_if_told_and_if_it_has_an_encoder(run: Path, hub: LoopbackHub, name: str) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"finished": False}))
    assert "push it with --unfinished" in complaint_of_push(run, name, hub)
    push(run, name, unfinished=True, endpoint=hub.endpoint, token=hub.token)
    assert json.loads(hub.repo(name).files()["run.json"])["finished"] is False
    shutil.rmtree(run / "encoder")
    assert "has no encoder yet" in complaint_of_push(run, name, hub, unfinished=True)


def test_what_cannot_be_verified_is_not_sent_even_if_told(run: Path, hub: LoopbackHub, name: str) -> None:
    config = json.loads((run / "encoder" / "config.json").read_text())
    ours = config["sslzoo"]
    fingerprint = ours["fingerprint"] | {"mean": [0.0, 0.0]}
    for changed, says in [
        (config | {"sslzoo": ours | {"fingerprint": fingerprint}}, "not those of the encoder that was saved"),
        (config | {"sslzoo": ours | {"run": "another"}}, "of another run than run.json"),
        ({key: value for key, value in config.items() if key != "sslzoo"}, "no checksum and no fingerprint"),
    ]:
        (run / "encoder" / "config.json").write_text(json.dumps(changed))
        assert says in complaint_of_push(run, name, hub, unfinished=True)
    assert hub.requests == []


def test_weights_that_rot_after_they_were_verified_are_not_sent(
    run: Path, hub: LoopbackHub, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sslzoo.hub.push.is_known", lambda note: True)
    weights = run / "encoder" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "was damaged since it was verified" in complaint_of_push(run, name, hub)
    assert hub.requests == []


def test_heads_are_sent_only_if_asked_and_do_not_outlive_their_encoder(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path
) -> None:
    assert "not a whole safetensors file" in complaint_of_push(run, name, hub, heads=True)
    save_file({"head.weight": torch.ones(2, 2)}, run / "heads.safetensors")
    push(run, name, heads=True, endpoint=hub.endpoint, token=hub.token)
    pulled = pull(name, tmp_path / "out", endpoint=hub.endpoint, token=hub.token)
    assert (pulled / "heads.safetensors").read_bytes() == (run / "heads.safetensors").read_bytes()
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    assert "heads.safetensors" not in hub.repo(name).files()
    (run / "heads.safetensors").unlink()
    assert "has no heads.safetensors" in complaint_of_push(run, name, hub, heads=True)


def test_a_tag_names_the_commit_and_is_never_moved(run: Path, hub: LoopbackHub, name: str, tmp_path: Path) -> None:
    commit = push(run, name, tag="v1", endpoint=hub.endpoint, token=hub.token).rpartition("/")[2]
    assert hub.repo(name).tags == {"v1": commit}
    (run / "log.jsonl").write_text('{"step": 2}\n')
    assert "has a tag v1 already" in complaint_of_push(run, name, hub, tag="v1")
    assert hub.repo(name).branches["main"] == commit
    push(run, name, tag="v2", endpoint=hub.endpoint, token=hub.token)
    for revision, step in ("v1", 1), ("v2", 2), (commit, 1), ("main", 2):
        pulled = pull(f"{name}@{revision}", tmp_path / revision, endpoint=hub.endpoint, token=hub.token)
        assert json.loads((pulled / "log.jsonl").read_text())["step"] == step
        load_encoder(f"hf-hub:{name}@{revision}", endpoint=hub.endpoint, token=hub.token)


def test_a_pull_request_changes_nothing_yet(run: Path, hub: LoopbackHub, name: str, tmp_path: Path) -> None:
    assert "no such repository" in complaint_of_push(run, name, hub, pull_request=True)
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    (run / "log.jsonl").write_text('{"step": 2}\n')
    stranger = hub.issue_token("passer-by")
    before = hub.repo(name).branches
    address = push(run, name, pull_request=True, endpoint=hub.endpoint, token=stranger)
    assert address == f"{hub.endpoint}/{name}/discussions/1"
    assert hub.repo(name).branches == before
    pulled = pull(f"{name}@refs/pr/1", tmp_path / "out", endpoint=hub.endpoint, token=hub.token)
    assert (pulled / "log.jsonl").read_text() == '{"step": 2}\n'
    for more in {"tag": "v1"}, {"private": True}, {"gated": "auto"}:
        with pytest.raises(UsageError, match="changes nothing yet"):
            push(run, name, pull_request=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("gated", ["auto", "manual"])
def test_a_gated_repository_is_gated_before_there_is_anything_in_it(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path, gated: Any
) -> None:
    with hub.watch() as requests:
        push(run, name, gated=gated, endpoint=hub.endpoint, token=hub.token)
    assert hub.repo(name).gated == gated
    paths = [request.path for request in requests]
    assert paths.index(f"/api/models/{name}/settings") < paths.index(f"/api/models/{name}/commit/main")
    stranger = hub.issue_token("passer-by")
    assert "ask for access" in complaint_of_pull(name, tmp_path / "out", hub, token=stranger)
    pull(name, tmp_path / "out", endpoint=hub.endpoint, token=hub.token)


def test_what_is_meant_to_be_private_is_not_sent_to_a_public_repository(run: Path, hub: LoopbackHub, name: str) -> None:
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    (run / "log.jsonl").write_text('{"step": 2}\n')
    assert "exists and is public" in complaint_of_push(run, name, hub, private=True)
    assert b"2" not in hub.repo(name).files()["log.jsonl"]


def test_a_push_without_changes_says_so_and_makes_no_commit(
    run: Path, hub: LoopbackHub, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("huggingface_hub")
    logger.addHandler(caplog.handler)  # the client writes to stderr by itself, and passes nothing on
    try:
        first = push(run, name, endpoint=hub.endpoint, token=hub.token)
        assert "No files have been modified" not in caplog.text
        assert push(run, name, endpoint=hub.endpoint, token=hub.token) == first
    finally:
        logger.removeHandler(caplog.handler)
    assert "No files have been modified since last commit" in caplog.text
    assert len(list(hub.repo(name).history())) == 2


@pytest.mark.parametrize("link", ["evaluations/knn.json", "encoder/README.md", "figures", "encoder", "run.json"])
def test_a_link_out_of_the_run_is_not_followed(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path, link: str
) -> None:
    (run / link).rename(tmp_path / "elsewhere")
    (run / link).symlink_to(tmp_path / "elsewhere")
    assert "is a link out of the run" in complaint_of_push(run, name, hub)
    assert hub.requests == []


def test_a_pipe_in_a_run_is_not_opened(run: Path, hub: LoopbackHub, name: str) -> None:
    os.mkfifo(run / "figures" / "pipe.png")
    assert "not a regular file" in complaint_of_push(run, name, hub)


def test_trouble_with_the_hub_is_one_line(run: Path, hub: LoopbackHub, name: str) -> None:
    assert "log in" in complaint_of_push(run, name, hub, token="hf_wrong")
    assert "write permission" in complaint_of_push(run, name, hub, token=hub.issue_token("tester", "read"))
    assert "write permission" in complaint_of_push(run, name, hub, token=hub.issue_token("stranger"))
    assert "Repo id" in complaint_of_push(run, "not/a/name", hub)
    with pytest.raises(UsageError):
        push(run, "not/a/name", endpoint=hub.endpoint, token=hub.token)
    hub.fail("POST", "/commit/", status=412)
    assert "somebody committed at the same time" in complaint_of_push(run, name, hub)
    hub.fail("POST", "/commit/", status=500)
    assert "answered with 500" in complaint_of_push(run, name, hub)


def test_metadata_that_the_hub_refuses(run: Path, hub: LoopbackHub, name: str) -> None:
    (run / "encoder" / "README.md").write_text("---\ntags: 3\n---\n")
    assert "cannot push" in complaint_of_push(run, name, hub)


def test_no_network_is_one_line(run: Path, tmp_path: Path) -> None:
    with LoopbackHub() as gone:
        pass
    assert "cannot be reached" in complaint_of_push(run, "tester/x", gone)
    assert "cannot be reached" in complaint_of_pull("tester/x", tmp_path / "out", gone)


def test_no_network_and_nothing_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client tries six times
    with LoopbackHub() as gone:
        pass
    assert "not in the cache and the Hub cannot be reached" in complaint_of_load("tester/x", gone)


def test_what_was_loaded_once_needs_no_network(
    run: Path, hub: LoopbackHub, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = push(run, name, endpoint=hub.endpoint, token=hub.token).rpartition("/")[2]
    load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token)
    with hub.watch() as requests:
        load_encoder(f"hf-hub:{name}@{commit}", endpoint=hub.endpoint, token=hub.token)
    assert requests == []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint)
    assert "HF_HUB_OFFLINE" in complaint_of_load("tester/never-seen", hub)


def test_config_and_weights_are_of_one_commit(run: Path, hub: LoopbackHub, name: str) -> None:
    commit = push(run, name, endpoint=hub.endpoint, token=hub.token).rpartition("/")[2]
    with hub.watch() as requests:
        load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token)
    (head,) = [request.path for request in requests if request.method == "HEAD" and "model.safetensors" in request.path]
    assert head == f"/{name}/resolve/{commit}/model.safetensors"


def test_a_private_repository_needs_its_token(run: Path, hub: LoopbackHub, name: str, tmp_path: Path) -> None:
    push(run, name, private=True, endpoint=hub.endpoint, token=hub.token)
    stranger = hub.issue_token("stranger")
    assert "no such repository, or it is private" in complaint_of_pull(name, tmp_path / "out", hub, token=stranger)
    load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token)


def digest_of_weights(hub: LoopbackHub, name: str) -> str:
    """It is in the address of the large file."""
    return hashlib.sha256(hub.repo(name).files()["model.safetensors"]).hexdigest()


def test_a_damaged_download_is_noticed_and_leaves_nothing(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path
) -> None:
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    fault = hub.corrupt(digest_of_weights(hub, name))
    assert "damaged or exchanged" in complaint_of_pull(name, tmp_path / "out", hub)
    assert len(fault.hits) == 1


def test_a_damaged_copy_in_the_cache_is_fetched_again(run: Path, hub: LoopbackHub, name: str) -> None:
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    fault = hub.corrupt(digest_of_weights(hub, name), times=2)
    assert "damaged or exchanged" in complaint_of_load(name, hub)
    assert len(fault.hits) == 2
    load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token)
    fault = hub.corrupt(digest_of_weights(hub, name))
    with hub.watch() as requests:
        load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token)
    assert [request for request in requests if request.origin == "cdn"] == [] and fault.hits == []


def test_a_damaged_copy_in_the_cache_does_not_spoil_a_pull(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path
) -> None:
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    hub.corrupt(digest_of_weights(hub, name), times=2)
    complaint_of_load(name, hub)
    load_encoder(pull(name, tmp_path / "out", endpoint=hub.endpoint, token=hub.token))


def test_a_pull_without_network_takes_what_the_cache_holds(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = push(run, name, endpoint=hub.endpoint, token=hub.token).rpartition("/")[2]
    huggingface_hub.snapshot_download(name, endpoint=hub.endpoint, token=hub.token)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with hub.watch() as requests:
        for revision in "main", commit:
            pulled = pull(f"{name}@{revision}", tmp_path / revision, endpoint=hub.endpoint)
            assert {str(path.relative_to(pulled)) for path in pulled.rglob("*") if path.is_file()} == {
                *PUBLISHED.values()
            }
            assert not any(path.is_symlink() for path in pulled.rglob("*"))
    assert requests == []
    assert "HF_HUB_OFFLINE" in complaint_of_pull("tester/never-seen", tmp_path / "other", hub)


def test_a_damaged_copy_and_no_network(run: Path, hub: LoopbackHub, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    hub.corrupt(digest_of_weights(hub, name), times=2)
    complaint_of_load(name, hub)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "again, since the copy in the cache is damaged" in complaint_of_load(name, hub)


def test_a_folder_that_exists_is_left_alone(run: Path, hub: LoopbackHub) -> None:
    assert "exists already" in complaint_of_pull("tester/x", run, hub)
    assert hub.requests == []


@pytest.mark.parametrize("evil", ["../evil.json", "evaluations/../../evil.json", "/tmp/evil", "a\\..\\evil", "C:evil"])
def test_a_file_outside_of_the_folder_is_refused(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path, evil: str
) -> None:
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    hub.repo(name).write({evil: b"{}"})
    with hub.watch() as requests:
        assert "outside of the folder" in complaint_of_pull(name, tmp_path / "out", hub)
    assert len(requests) == 1
    assert list(tmp_path.rglob("evil*")) == []


def test_pickles_and_code_are_not_even_fetched(run: Path, hub: LoopbackHub, name: str, tmp_path: Path) -> None:
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    hub.repo(name).write({"pytorch_model.bin": pickle.dumps(print), "modeling.py": b"1/0", "state/latest": b"x"})
    with hub.watch() as requests:
        pulled = pull(name, tmp_path / "out", endpoint=hub.endpoint, token=hub.token)
        load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token)
    assert [request.path for request in requests if "pytorch_model" in request.path or "modeling" in request.path] == []
    assert {path.name for path in pulled.iterdir()} == {"encoder", "run.json", "log.jsonl", "evaluations", "figures"}


def test_a_repository_with_pickles_only(hub: LoopbackHub, name: str, run: Path, tmp_path: Path) -> None:
    push(run, name, endpoint=hub.endpoint, token=hub.token)
    content = hub.repo(name).files()
    other = f"{name[:60]}-pickled"
    huggingface_hub.HfApi(endpoint=hub.endpoint, token=hub.token).create_repo(other)
    hub.repo(other).write({"config.json": content["config.json"], "pytorch_model.bin": pickle.dumps(print)})
    assert "only safetensors are read, never pickles" in complaint_of_load(other, hub)
    assert "has no model.safetensors" in complaint_of_pull(other, tmp_path / "out", hub)


def test_a_timm_repository_of_others_becomes_an_encoder_folder(hub: LoopbackHub, name: str, tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=10).eval()
    timm.models.save_for_hf(model, str(tmp_path / "theirs"), safe_serialization=True)
    api = huggingface_hub.HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(name)
    hub.repo(name).write({path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()})
    pulled = pull(name, tmp_path / "out", endpoint=hub.endpoint, token=hub.token)
    assert {path.name for path in pulled.iterdir()} == {"config.json", "model.safetensors"}
    images = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(images), pre_logits=True)
        assert torch.equal(load_encoder(pulled)(images), expected)
        assert torch.equal(load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token)(images), expected)


EVERY_DOOR = """
import timm, torch
from transformers import AutoModel
from sslzoo.hub.load import load_encoder
from sslzoo.hub.pull import pull
from sslzoo.hub.push import push
from sslzoo.hub.verify import verify
from pathlib import Path

commit = push(Path("run"), "tester/x").rpartition("/")[2]
for name in ("tester/x", f"tester/x@{commit}", f"tester/x/sound_encoder@{commit}"):
    checks = verify(f"hf-hub:{name}")
    assert [check for check in checks if not check.ok] == []
    assert len(checks) == (9 if "sound" in name else 18)  # of both encoders
assert [check.detail for check in verify(pull("tester/x")) if not check.ok] == []
images = torch.randn(2, 4, 32, 32)
with torch.no_grad():
    expected = load_encoder("run")(images)
    assert torch.equal(timm.create_model("hf-hub:tester/x", pretrained=True).eval()(images), expected)
    assert torch.equal(AutoModel.from_pretrained("tester/x").eval()(images).pooler_output, expected)
    assert torch.equal(load_encoder("hf-hub:tester/x")(images), expected)
    assert timm.create_model("hf-hub:tester/x", pretrained=True, num_classes=10)(images).shape == (2, 10)
    images = torch.randn(2, 1, 64, 101)
    expected = load_encoder("run/sound_encoder")(images)
    assert torch.equal(load_encoder("hf-hub:tester/x/sound_encoder")(images), expected)
    heard = AutoModel.from_pretrained("tester/x", subfolder="sound_encoder").eval()(images)
    assert torch.equal(heard.pooler_output, expected)
"""


def test_every_door_of_the_hub_in_a_process_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    write_run(tmp_path / "run", trained("test_vit", 32, 4, ("patch_size=4",)), trained_to_hear())
    with LoopbackHub() as hub:
        environment = {
            **os.environ,
            **hub.environment(tmp_path / "home"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        command = [sys.executable, "-W", "error", "-W", "ignore:Use 'content=:DeprecationWarning", "-c", EVERY_DOOR]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert [request for request in hub.requests if request.status >= 500] == []
