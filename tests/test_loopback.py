"""The official client pushes to the loopback hub and pulls from it, as it would with the real one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, constants
from huggingface_hub import errors as hub_errors

from sslzoo.testing.loopback import LoopbackHub
from sslzoo.testing.loopback.objects import Blob, Commit

# huggingface_hub 2.4 sends large files in a way that its HTTP library calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CARD = b"---\nlicense: apache-2.0\nlibrary_name: timm\ntags: [sslzoo]\n---\nhttps://arxiv.org/abs/1803.07728\n"
FILES = {
    "README.md": CARD,
    "config.json": b'{"architecture": "test_resnet"}',
    "model.safetensors": bytes(range(256)) * 500,
    "notes/naïve text.txt": "Ångström".encode() * 100,
    "notes/deep/empty.bin": b"",
    "picture": b"no name tells, but the zero does \0",
}

Read = Callable[..., bytes]


@pytest.fixture
def api(hub: LoopbackHub) -> HfApi:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("tester/x")
    hub.clear_requests()
    return api


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "folder"


@pytest.fixture
def read(api: HfApi, tmp_path: Path) -> Read:
    """Download one file, into a cache of its own if none is given."""
    caches = (tmp_path / f"cache{number}" for number in range(100))

    def read(path: str, **options: Any) -> bytes:
        return Path(api.hf_hub_download("tester/x", path, **{"cache_dir": next(caches)} | options)).read_bytes()

    return read


def status_of(error: pytest.ExceptionInfo[hub_errors.HfHubHTTPError]) -> int:
    return error.value.response.status_code


def test_pushed_folder_reads_back_equal(hub: LoopbackHub, api: HfApi, folder: Path, tmp_path: Path) -> None:
    commit = api.upload_folder(repo_id="tester/x", folder_path=folder, commit_message="All at once")
    pulled = Path(api.snapshot_download("tester/x", cache_dir=tmp_path / "cache"))
    read_back = {str(path.relative_to(pulled)): path.read_bytes() for path in pulled.rglob("*") if path.is_file()}
    assert read_back.pop(".gitattributes").startswith(b"*.7z filter=lfs")
    assert read_back == FILES
    assert [commit.title for commit in hub.repo("tester/x").history()] == ["All at once", "initial commit"]
    assert hub.repo("tester/x").branches == {"main": commit.oid}
    assert pulled.name == commit.oid


def test_large_files_go_to_another_origin_and_the_token_does_not(
    api: HfApi, hub: LoopbackHub, folder: Path, read: Read
) -> None:
    api.upload_folder(repo_id="tester/x", folder_path=folder)
    read("model.safetensors")
    large = {path for path, blob in hub.repo("tester/x").resolve("main").files.items() if blob.lfs}
    assert large == {"model.safetensors", "picture"}
    away = [(request.method, request.authorized) for request in hub.requests if request.origin == "cdn"]
    assert away == [("PUT", False), ("PUT", False), ("GET", False)]
    assert all(request.authorized for request in hub.requests if request.origin == "hub")


def test_second_push_of_the_same_folder_sends_no_file(hub: LoopbackHub, api: HfApi, folder: Path) -> None:
    first = api.upload_folder(repo_id="tester/x", folder_path=folder)
    with hub.watch() as requests:
        second = api.upload_folder(repo_id="tester/x", folder_path=folder)
    assert second.oid == first.oid
    assert not [request for request in requests if request.method == "PUT" or "/commit/" in request.path]
    (folder / "config.json").write_text("{}")
    with hub.watch() as requests:
        api.upload_folder(repo_id="tester/x", folder_path=folder)
    assert not [request for request in requests if request.method == "PUT"]
    assert [request.sent < 300 for request in requests if "/commit/" in request.path] == [True]


def test_large_file_known_under_another_name_is_not_sent_again(hub: LoopbackHub, api: HfApi) -> None:
    api.upload_file(repo_id="tester/x", path_or_fileobj=b"\0weights", path_in_repo="a.bin")
    with hub.watch() as requests:
        api.upload_file(repo_id="tester/x", path_or_fileobj=b"\0weights", path_in_repo="b.bin")
    assert not [request for request in requests if request.method == "PUT"]
    assert hub.repo("tester/x").files()["b.bin"] == b"\0weights"


def test_cached_commit_costs_nothing_and_a_cached_branch_one_head(
    hub: LoopbackHub, api: HfApi, read: Read, tmp_path: Path
) -> None:
    commit = hub.repo("tester/x").write(FILES)
    for path in ("config.json", "model.safetensors"):
        read(path, cache_dir=tmp_path / "cache")
        with hub.watch() as requests:
            assert read(path, cache_dir=tmp_path / "cache", revision=commit.oid) == FILES[path]
        assert requests == []
        with hub.watch() as requests:
            assert read(path, cache_dir=tmp_path / "cache") == FILES[path]
        assert [request.method for request in requests] == ["HEAD"]


def test_missing_file_is_remembered_with_its_commit(hub: LoopbackHub, api: HfApi, read: Read, tmp_path: Path) -> None:
    with pytest.raises(hub_errors.RemoteEntryNotFoundError):
        read("nothing.txt", cache_dir=tmp_path / "cache")
    oid = hub.repo("tester/x").resolve("main").oid
    assert (tmp_path / "cache/models--tester--x/.no_exist" / oid / "nothing.txt").exists()
    with pytest.raises(hub_errors.RevisionNotFoundError):
        read("nothing.txt", revision="nowhere")


def test_tags_and_branches_hold_what_they_were_put_on(hub: LoopbackHub, api: HfApi, read: Read) -> None:
    hub.repo("tester/x").write({"a.txt": b"1"})
    api.create_tag("tester/x", tag="v1")
    api.create_branch("tester/x", branch="feat/two", revision="v1")
    api.upload_file(repo_id="tester/x", path_or_fileobj=b"2", path_in_repo="a.txt", revision="feat/two")
    assert [read("a.txt", revision=revision) for revision in ("main", "v1", "feat/two")] == [b"1", b"1", b"2"]
    refs = api.list_repo_refs("tester/x")
    assert [branch.name for branch in refs.branches] == ["main", "feat/two"]
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1", hub.repo("tester/x").tags["v1"])]
    for again in (lambda: api.create_tag("tester/x", tag="v1"), lambda: api.create_branch("tester/x", branch="main")):
        with pytest.raises(hub_errors.HfHubHTTPError) as error:
            again()
        assert status_of(error) == 409
    api.delete_tag("tester/x", tag="v1")
    api.delete_branch("tester/x", branch="feat/two")
    assert (hub.repo("tester/x").tags, list(hub.repo("tester/x").branches)) == ({}, ["main"])
    with pytest.raises(hub_errors.RevisionNotFoundError):
        api.delete_tag("tester/x", tag="v1")
    with pytest.raises(hub_errors.HfHubHTTPError) as error:
        api.delete_branch("tester/x", branch="main")
    assert status_of(error) == 403


def test_pull_request_leaves_main_alone(hub: LoopbackHub, api: HfApi, read: Read) -> None:
    stranger = HfApi(endpoint=hub.endpoint, token=hub.issue_token("stranger"))
    commit = stranger.upload_file(repo_id="tester/x", path_or_fileobj=b"better", path_in_repo="a.txt", create_pr=True)
    assert commit.pr_revision == "refs/pr/1"
    assert read("a.txt", revision="refs/pr/1") == b"better"
    assert "a.txt" not in hub.repo("tester/x").files()
    requests = api.list_repo_refs("tester/x", include_pull_requests=True).pull_requests
    assert [request.ref for request in requests or []] == ["refs/pr/1"]


def test_files_are_deleted_copied_and_missed(hub: LoopbackHub, api: HfApi) -> None:
    hub.repo("tester/x").write({"a/b.txt": b"b", "a/c/d.bin": b"\0d", "e.txt": b"e"})
    copies = [CommitOperationCopy(src_path_in_repo="e.txt", path_in_repo="copy.txt")]
    copies.append(CommitOperationCopy(src_path_in_repo="a/c/d.bin", path_in_repo="copy.bin"))
    api.create_commit("tester/x", [*copies, CommitOperationDelete("e.txt")], commit_message="Copy")
    api.delete_folder("a", "tester/x")
    files = hub.repo("tester/x").files()
    assert {path: files[path] for path in files if path[0] != "."} == {"copy.bin": b"\0d", "copy.txt": b"e"}
    with pytest.raises(hub_errors.RemoteEntryNotFoundError, match="A file with this name doesn't exist"):
        api.delete_file("e.txt", "tester/x")


def test_stale_parent_is_refused(hub: LoopbackHub, api: HfApi) -> None:
    parent = hub.repo("tester/x").resolve("main").oid
    api.upload_file(repo_id="tester/x", path_or_fileobj=b"1", path_in_repo="a.txt", parent_commit=parent)
    with pytest.raises(hub_errors.HfHubHTTPError, match="A commit has happened since") as error:
        api.upload_file(repo_id="tester/x", path_or_fileobj=b"2", path_in_repo="a.txt", parent_commit=parent)
    assert status_of(error) == 412
    assert hub.repo("tester/x").files()["a.txt"] == b"1"


def test_threads_that_commit_at_once_lose_nothing(hub: LoopbackHub, api: HfApi) -> None:
    def push(number: int) -> str:
        additions = [CommitOperationAdd(f"{number}.{kind}", f"\0{number}".encode()) for kind in ("bin", "txt")]
        return api.create_commit("tester/x", additions, commit_message=str(number)).oid

    with ThreadPoolExecutor(8) as pool:
        oids = set(pool.map(push, range(16)))
    repository = hub.repo("tester/x")
    assert oids == {commit.oid for commit in repository.history()} - {api.list_repo_commits("tester/x")[-1].commit_id}
    assert len(oids) == 16
    assert len(repository.files()) == 1 + 2 * 16


def test_tree_shows_files_and_folders_with_their_last_commits(hub: LoopbackHub, api: HfApi) -> None:
    first, second = hub.repo("tester/x").write(FILES), hub.repo("tester/x").write({"notes/new.txt": b"1"})
    top = {item.path: item for item in api.list_repo_tree("tester/x", expand=True)}
    assert set(top) == {".gitattributes", "README.md", "config.json", "model.safetensors", "notes", "picture"}
    last = {path: item.last_commit.oid for path, item in top.items() if item.last_commit}
    assert (last["notes"], last["config.json"]) == (second.oid, first.oid)
    below = [item.path for item in api.list_repo_tree("tester/x", "notes", recursive=True)]
    assert below == ["notes/deep", "notes/deep/empty.bin", "notes/naïve text.txt", "notes/new.txt"]
    found = api.get_paths_info("tester/x", ["config.json", "notes/deep", "nothing"])
    assert [item.path for item in found] == ["config.json", "notes/deep"]
    with pytest.raises(hub_errors.RemoteEntryNotFoundError):
        list(api.list_repo_tree("tester/x", "nothing"))


def test_history_can_be_squashed(hub: LoopbackHub, api: HfApi) -> None:
    hub.repo("tester/x").write({"a.txt": b"1"})
    api.super_squash_history("tester/x", commit_message="One")
    assert [commit.title for commit in api.list_repo_commits("tester/x")] == ["One"]
    assert hub.repo("tester/x").files()["a.txt"] == b"1"


def test_upload_in_parts_is_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    data = bytes(range(256)) * 10
    with LoopbackHub(part_size=1000) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        api.create_repo("tester/x")
        additions = [CommitOperationAdd("a.bin", data), CommitOperationAdd("b.bin", b"\0")]
        api.create_commit("tester/x", additions, commit_message="Parts")
        assert [request.sent for request in hub.requests if request.method == "PUT" and request.sent > 1] == [
            1000,
            1000,
            560,
        ]
        assert hub.repo("tester/x").files()["a.bin"] == data


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_ids_are_those_of_git(tmp_path: Path) -> None:
    files = {"a.txt": b"a\n", "a/b.txt": b"b\n", "a.b/c/d": b"", "z": b"\0"}
    del files["a.txt"]
    files |= {"a-b": b"1", "a0": b"2"}
    date = datetime(2020, 2, 2, tzinfo=UTC)
    commit = Commit({path: Blob(data) for path, data in files.items()}, None, "Title", "Body", "tester", date)
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    who = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in {"NAME": "tester", "EMAIL": "tester@loopback", "DATE": "2020-02-02T00:00:00+0000"}.items()
    }
    alone = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": str(tmp_path), **who}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "core.autocrlf=false", *arguments]
        return subprocess.run(command, env=alone, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    git("add", ".")
    git("commit", "-m", "Title\n\nBody")
    assert git("rev-parse", "HEAD") == commit.oid
    assert git("rev-parse", "HEAD:a.b/c") == commit.folders["a.b/c"]


def test_importing_it_loads_nothing_heavy() -> None:
    script = (
        "import sys, sslzoo.testing.loopback; print({'huggingface_hub', 'torch', 'yaml', 'numpy'} & {*sys.modules})"
    )
    assert (
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == "set()\n"
    )
