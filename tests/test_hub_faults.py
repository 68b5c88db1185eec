"""Whatever goes wrong on the way: what was complete stays complete, and one line says what to do."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from published_run import trained, write_run

from sslzoo.config import UserError
from sslzoo.hub.load import load_encoder
from sslzoo.hub.pull import pull
from sslzoo.hub.push import push
from sslzoo.testing.loopback import LoopbackHub

NAME = "tester/x"
ALWAYS = 1000


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("original") / "run")


@pytest.fixture
def run(original: Path, hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was pushed once, and has a new line since; the client does not wait before it tries again."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    run = shutil.copytree(original, tmp_path / "run")
    push(run, NAME, endpoint=hub.endpoint, token=hub.token)
    (run / "log.jsonl").write_text('{"step": 2}\n')
    return run


def complaint(act: Callable[..., object], *args: Any, hub: LoopbackHub) -> str:
    with pytest.raises(UserError) as caught:
        act(*args, endpoint=hub.endpoint, token=hub.token)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def weights_of(run: Path) -> str:
    """What stands for the weights in the addresses of large files."""
    return hashlib.sha256((run / "encoder" / "model.safetensors").read_bytes()).hexdigest()


def with_new_weights(run: Path) -> Path:
    """The same run, trained further: large files must be sent."""
    return write_run(run.with_name("further"), trained(seed=5))


def state_of(hub: LoopbackHub) -> list[str]:
    return [commit.oid for commit in hub.repo(NAME).history()]


STATUSES = {
    401: "log in with `hf auth login`",
    403: "write permission",
    404: "no such repository, or it is private",
    409: "look at what is there (`sslzoo pull` it), then try again",
    412: "look at what is there now (`sslzoo pull` it), then push again",
    429: "try again in a few minutes",
    500: "its own fault; wait, and try again later",
    502: "its own fault; wait, and try again later",
    503: "its own fault; wait, and try again later",
    504: "its own fault; wait, and try again later",
}
each_status = pytest.mark.parametrize(("status", "says"), STATUSES.items(), ids=map(str, STATUSES))


def fail(hub: LoopbackHub, method: str, path: str, status: int) -> None:
    headers = {"X-Error-Code": "RepoNotFound"} if status == 404 else None
    hub.fail(method, path, status=status, times=ALWAYS, headers=headers)


@each_status
@pytest.mark.parametrize("path", ["/preupload/", "/commit/"])
def test_a_refused_push_changes_nothing(run: Path, hub: LoopbackHub, path: str, status: int, says: str) -> None:
    before = state_of(hub)
    fail(hub, "POST", path, status)
    assert says in complaint(push, run, NAME, hub=hub)
    assert state_of(hub) == before
    hub.clear_faults()
    push(run, NAME, endpoint=hub.endpoint, token=hub.token)
    assert len(state_of(hub)) == len(before) + 1


@each_status
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/models/"), ("HEAD", "/resolve/")])
def test_a_refused_pull_leaves_nothing(
    run: Path, hub: LoopbackHub, tmp_path: Path, method: str, path: str, status: int, says: str
) -> None:
    before = sorted(tmp_path.iterdir())
    fail(hub, method, path, status)
    assert says in complaint(pull, NAME, tmp_path / "out", hub=hub)
    assert sorted(tmp_path.iterdir()) == before
    hub.clear_faults()
    pull(NAME, tmp_path / "out", endpoint=hub.endpoint, token=hub.token)


@each_status
def test_a_refused_load_says_why(run: Path, hub: LoopbackHub, status: int, says: str) -> None:
    fail(hub, "HEAD", "/resolve/", status)
    assert says in complaint(load_encoder, f"hf-hub:{NAME}", hub=hub)
    hub.clear_faults()
    load_encoder(f"hf-hub:{NAME}", endpoint=hub.endpoint, token=hub.token)


def test_an_upload_that_breaks_is_taken_up_again(run: Path, hub: LoopbackHub) -> None:
    further = with_new_weights(run)
    fault = hub.cut_upload(weights_of(further), after_bytes=5000, times=2)
    push(further, NAME, endpoint=hub.endpoint, token=hub.token)
    assert len(fault.hits) == 2
    assert hub.repo(NAME).files()["model.safetensors"] == (further / "encoder" / "model.safetensors").read_bytes()


def test_an_upload_that_always_breaks_commits_nothing_and_is_not_begun_anew(run: Path, hub: LoopbackHub) -> None:
    further, before = with_new_weights(run), state_of(hub)
    fault = hub.cut_upload("/commit/", after_bytes=100, times=ALWAYS)
    assert "cannot be reached" in complaint(push, further, NAME, hub=hub)
    assert fault.hits and state_of(hub) == before
    hub.clear_faults()
    with hub.watch() as requests:
        push(further, NAME, endpoint=hub.endpoint, token=hub.token)
    assert [request for request in requests if request.method == "PUT"] == [], "the weights had arrived"


@pytest.mark.parametrize("path", ["config.json", "weights"])
@pytest.mark.parametrize("act", ["load", "pull"])
def test_a_download_that_breaks_is_taken_up_again(
    run: Path, hub: LoopbackHub, tmp_path: Path, act: str, path: str
) -> None:
    fault = hub.cut(weights_of(run) if path == "weights" else path, after_bytes=500, times=2)
    if act == "load":
        load_encoder(f"hf-hub:{NAME}", endpoint=hub.endpoint, token=hub.token)
    else:
        pull(NAME, tmp_path / "out", endpoint=hub.endpoint, token=hub.token)
    assert len(fault.hits) == 2


@pytest.mark.parametrize("act", ["load", "pull"])
def test_a_download_that_always_breaks_leaves_nothing_half(
    run: Path, hub: LoopbackHub, tmp_path: Path, act: str
) -> None:
    hub.cut(weights_of(run), after_bytes=500, times=ALWAYS)
    if act == "load":
        assert "cannot be reached" in complaint(load_encoder, f"hf-hub:{NAME}", hub=hub)
        hub.clear_faults()
        load_encoder(f"hf-hub:{NAME}", endpoint=hub.endpoint, token=hub.token)
    else:
        before = sorted(tmp_path.iterdir())
        assert "cannot be reached" in complaint(pull, NAME, tmp_path / "out", hub=hub)
        assert sorted(tmp_path.iterdir()) == before
        hub.clear_faults()
        pull(NAME, tmp_path / "out", endpoint=hub.endpoint, token=hub.token)


def test_a_hub_that_goes_away_in_a_push_keeps_what_it_had(run: Path, hub: LoopbackHub) -> None:
    further, before = with_new_weights(run), state_of(hub)
    hub.leave("POST", "/commit/")
    assert "cannot be reached" in complaint(push, further, NAME, hub=hub)
    assert state_of(hub) == before


def test_a_hub_that_goes_away_in_a_pull_leaves_nothing(run: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    hub.leave("GET", weights_of(run))
    assert "cannot be reached" in complaint(pull, NAME, tmp_path / "out", hub=hub)
    assert sorted(tmp_path.iterdir()) == before


def test_a_hub_that_went_away_is_not_needed_for_what_was_loaded_before(run: Path, hub: LoopbackHub) -> None:
    load_encoder(f"hf-hub:{NAME}", endpoint=hub.endpoint, token=hub.token)
    hub.stop()
    load_encoder(f"hf-hub:{NAME}", endpoint=hub.endpoint, token=hub.token)


def test_a_slow_hub_is_waited_for(run: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    faults = [hub.delay("/resolve/", 0.05, times=3), hub.delay("/commit/", 0.1), hub.delay(weights_of(run), 0.1)]
    push(run, NAME, endpoint=hub.endpoint, token=hub.token)
    pull(NAME, tmp_path / "out", endpoint=hub.endpoint, token=hub.token)
    assert all(fault.hits for fault in faults)


def test_a_hub_that_is_too_slow_is_told(run: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 0.05)
    monkeypatch.setattr("huggingface_hub.file_download._ETAG_RETRY_TIMEOUT", 0.05, raising=False)
    hub.delay("/resolve/", 30, times=ALWAYS)
    assert "the Hub cannot be reached" in complaint(load_encoder, f"hf-hub:{NAME}", hub=hub)


def test_of_two_who_push_at_once_one_wins_and_the_other_is_told(run: Path, hub: LoopbackHub) -> None:
    further = with_new_weights(run)

    def push_further() -> None:
        push(further, NAME, endpoint=hub.endpoint, token=hub.token)

    hub.meanwhile("POST", "/commit/", push_further)
    assert "somebody committed at the same time, so nothing was changed" in complaint(push, run, NAME, hub=hub)
    assert hub.repo(NAME).files()["model.safetensors"] == (further / "encoder" / "model.safetensors").read_bytes()
    assert hub.repo(NAME).files()["log.jsonl"] == (further / "log.jsonl").read_bytes()
    assert len(state_of(hub)) == 3


def test_of_two_who_push_to_a_new_repository_at_once_one_wins(run: Path, hub: LoopbackHub) -> None:
    further = with_new_weights(run)

    def push_further() -> None:
        push(further, "tester/new", endpoint=hub.endpoint, token=hub.token)

    hub.meanwhile("POST", "/repos/create", push_further)
    push(run, "tester/new", endpoint=hub.endpoint, token=hub.token)
    assert [commit.title for commit in hub.repo("tester/new").history()] == [
        "Publish run",
        "Publish further",
        "initial commit",
    ]


def test_who_loads_while_another_pushes_gets_one_of_both_whole(run: Path, hub: LoopbackHub) -> None:
    further = with_new_weights(run)

    def push_further() -> None:
        push(further, NAME, endpoint=hub.endpoint, token=hub.token)

    hub.meanwhile("HEAD", "/resolve/.*/model.safetensors", push_further)
    loaded = load_encoder(f"hf-hub:{NAME}", endpoint=hub.endpoint, token=hub.token)
    expected = load_encoder(run)
    assert all(value.equal(loaded.state_dict()[name]) for name, value in expected.state_dict().items())
