"""What the loopback hub is told to do wrong, and what the official client makes of it."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub import errors as hub_errors

from sslzoo.testing.loopback import LoopbackHub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

WEIGHTS = bytes(range(256)) * 40
FILES = {"config.json": b'{"architecture": "test_resnet"}', "model.safetensors": WEIGHTS}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub with one model, and a client that does not wait before it tries again."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with LoopbackHub() as hub:
        HfApi(endpoint=hub.endpoint, token=hub.token).create_repo("tester/x")
        hub.repo("tester/x").write(FILES)
        hub.clear_requests()
        yield hub


@pytest.fixture
def api(hub: LoopbackHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.token)


def pull(api: HfApi, cache: Path, path: str = "model.safetensors") -> bytes:
    return Path(api.hf_hub_download("tester/x", path, cache_dir=cache)).read_bytes()


@pytest.mark.parametrize("path", FILES)
def test_download_that_breaks_is_taken_up_where_it_broke(
    hub: LoopbackHub, api: HfApi, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10)
    cut = hub.cut(path, after_bytes=25)
    assert pull(api, tmp_path, path) == FILES[path]
    assert len(cut.hits) == 1
    assert [(request.status, request.range) for request in hub.requests if request.method == "GET"] == [
        (200, None),
        (206, "bytes=20-"),
    ]


def test_download_that_always_breaks_leaves_nothing_behind(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    cut = hub.cut("safetensors", after_bytes=25, times=100)
    with pytest.raises(Exception, match="peer closed connection"):
        pull(api, tmp_path)
    assert len(cut.hits) == 6
    assert not [path for path in tmp_path.rglob("*safetensors*") if path.is_file()]
    hub.clear_faults()
    assert pull(api, tmp_path) == WEIGHTS


def test_corrupt_download_is_not_noticed_by_the_client(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    hub.corrupt("safetensors")
    assert pull(api, tmp_path / "first") == WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1])
    assert pull(api, tmp_path / "second") == WEIGHTS


@pytest.mark.parametrize("status", [429, 503])
def test_client_tries_again_when_the_hub_is_busy(hub: LoopbackHub, api: HfApi, status: int, tmp_path: Path) -> None:
    faults = [hub.fail("HEAD", "/resolve/", status=status), hub.fail("PUT", "", status=status, times=2)]
    faults.append(hub.fail("POST", "/preupload/", status=status, headers={"Retry-After": "7"}))
    assert pull(api, tmp_path) == WEIGHTS
    api.upload_file(repo_id="tester/x", path_or_fileobj=b"\0new", path_in_repo="new.bin")
    assert hub.repo("tester/x").files()["new.bin"] == b"\0new"
    assert [len(fault.hits) for fault in faults] == [1, 2, 1]


def test_failed_upload_commits_nothing(hub: LoopbackHub, api: HfApi) -> None:
    hub.fail("PUT", "", status=403)
    with pytest.raises(RuntimeError, match="Error while uploading 'new.bin'"):
        api.upload_file(repo_id="tester/x", path_or_fileobj=b"\0new", path_in_repo="new.bin")
    assert len(list(hub.repo("tester/x").history())) == 2
    assert not [request for request in hub.requests if "/commit/" in request.path]


def test_hub_that_was_cut_off_serves_the_cache(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    assert pull(api, tmp_path) == WEIGHTS
    hub.stop()
    hub.clear_requests()
    assert pull(api, tmp_path) == WEIGHTS
    with pytest.raises(hub_errors.LocalEntryNotFoundError):
        pull(api, tmp_path, "config.json")
    assert hub.requests == []
    assert hub.repo("tester/x").files()["config.json"] == FILES["config.json"]


def test_slow_answer_runs_into_the_timeout(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    hub.delay("/api/models/tester/x", 5.0)
    start = time.monotonic()
    with pytest.raises(Exception, match="timed out"):
        api.model_info("tester/x", timeout=0.05)
    hub.stop()
    assert time.monotonic() - start < 2.0, "a hub that stops must not wait for its delays"


def test_hub_that_leaves_answers_nobody_over_the_connections_that_are_open(hub: LoopbackHub) -> None:
    """A client that is hung up on tries again at once, over whatever connection it still has."""
    slow = hub.delay("/api/models/tester/x", 5.0)
    with socket.create_connection(("127.0.0.1", urllib.parse.urlsplit(hub.endpoint).port), timeout=5) as client:
        client.sendall(b"GET /api/models/tester/x HTTP/1.1\r\nHost: hub\r\n\r\n")
        deadline = time.monotonic() + 5
        while not slow.hits:
            assert time.monotonic() < deadline, "the request never came"
        hub.stop()
        assert client.recv(1) == b""
    assert hub.requests == []


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        ("bytes=0-3", 206, WEIGHTS[:4], "bytes 0-3/10240"),
        ("bytes=10000-99999", 206, WEIGHTS[10000:], "bytes 10000-10239/10240"),
        ("bytes=-5", 206, WEIGHTS[-5:], "bytes 10235-10239/10240"),
        ("lines=1-2", 200, WEIGHTS, None),
    ],
)
def test_part_of_a_large_file_can_be_read(
    hub: LoopbackHub, asked: str, status: int, body: bytes, told: str | None
) -> None:
    url = f"{hub.endpoint}/tester/x/resolve/main/model.safetensors"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": asked})) as answer:
        assert (answer.status, answer.read(), answer.headers["Content-Range"]) == (status, body, told)


def test_part_beyond_the_end_is_refused(hub: LoopbackHub) -> None:
    request = urllib.request.Request(
        f"{hub.endpoint}/tester/x/resolve/main/config.json", headers={"Range": "bytes=99-"}
    )
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert (error.value.code, error.value.headers["Content-Range"]) == (416, "bytes */31")
    error.value.close()


def test_path_out_of_the_repository_is_refused_from_a_client_but_not_from_a_test(hub: LoopbackHub, api: HfApi) -> None:
    line = b'{"key": "file", "value": {"path": "../evil", "content": ""}}'
    header = b'{"key": "header", "value": {"summary": "Evil"}}\n'
    url = f"{hub.endpoint}/api/models/tester/x/commit/main"
    request = urllib.request.Request(url, header + line, {"Authorization": f"Bearer {hub.token}"})
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert error.value.code == 400
    error.value.close()
    hub.repo("tester/x").write({"../evil": b""})
    assert "../evil" in api.list_repo_files("tester/x")


def test_hub_is_started_once() -> None:
    with LoopbackHub() as hub, pytest.raises(RuntimeError, match="started once"):
        hub.start()
