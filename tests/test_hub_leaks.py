"""Nothing is published that is this machine's or this user's own business."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
from published_run import write_run
from safetensors.torch import save_file

from sslzoo.config import UserError
from sslzoo.hub.layout import published_files
from sslzoo.hub.leaks import refuse_leaks
from sslzoo.hub.push import push
from sslzoo.testing.loopback import LoopbackHub


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("work") / "run")


def complaint(run: Path, file: str, text: str) -> str:
    """What is said of a run with ``text`` in the second line of ``file``."""
    before = (run / file).read_bytes()
    (run / file).write_text(f"first\n{text}\nthird\n")
    try:
        with pytest.raises(UserError) as caught:
            refuse_leaks(published_files(run), [run])
    finally:
        (run / file).write_bytes(before)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_as_it_is_written_has_nothing_to_hide(run: Path) -> None:
    refuse_leaks(published_files(run), [run])


# Put together here, so that no scanner takes this file for the leak.
SECRETS = {
    "Hugging Face": "hf_" + "aB3" * 11,
    "GitHub": "ghp_" + "x1" * 18,
    "GitLab": "glpat-" + "a" * 20,
    "Slack": "xoxb-" + "1" * 12,
    "API key": "sk-" + "proj-" + "a" * 30,
    "AWS": "AKIA" + "ABCDEFGH12345678",
    "private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "password in an address": "https://me:" + "pass" + "word@example.org/data.zip",
    "secret in an address": "https://example.org/data.zip?x=1&X-Amz-Signature=" + "0123abcd" * 4,
}


@pytest.mark.parametrize("file", ["log.jsonl", "evaluations/knn.json", "encoder/README.md"])
def test_a_token_is_refused_with_file_and_line_and_not_repeated(run: Path, file: str) -> None:
    for kind, secret in SECRETS.items():
        said = complaint(run, file, f'"note": "{secret}"')
        assert f"{run / file}, line 2, would publish" in said and kind in said and "take it out" in said
        assert secret not in said


def test_the_token_one_is_logged_in_with_is_refused_whatever_it_looks_like(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "an-unusual-one")
    assert huggingface_hub.get_token() == "an-unusual-one"
    assert "the token you are logged in with" in complaint(run, "log.jsonl", '{"x": "an-unusual-one"}')


@pytest.mark.parametrize("around", ["{}", '"{}/data"', "folder:{}", "file://{}/x.png", "--out={}", "({})", "at {}."])
def test_a_folder_of_this_machine_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    (tmp_path / "at" / "work").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "at" / "work")
    for folder in run, Path.home(), Path.cwd():
        said = complaint(run, "log.jsonl", around.format(folder))
        assert f"this machine's folder {folder}" in said and "line 2" in said and "revoked" not in said


def test_a_home_right_below_the_root_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/ada")
    assert "this machine's folder /ada" in complaint(run, "log.jsonl", '{"data": "/ada/flowers"}')


@pytest.mark.parametrize(
    "harmless",
    [
        "https://example.org{}/page",
        "{}-other",
        "../..{}",
        "https://huggingface.co/sslzoo?library=timm&sort=likes",
        "hf-hub:org/name hf_hub_download(token=None) sk-learn",
        "git@github.com:sslzoo/sslzoo.git ssh://git@github.com/x",
        "https://example.org:8080/a@b",
    ],
)
def test_what_only_looks_like_it_is_let_through(run: Path, harmless: str) -> None:
    (run / "evaluations" / "note.json").write_text(json.dumps(harmless.format(run)))
    refuse_leaks(published_files(run), [run])
    (run / "evaluations" / "note.json").unlink()


def test_the_metadata_of_pictures_and_weights_are_read_too(run: Path, tmp_path: Path) -> None:
    for name in "x.png", "x.safetensors":
        (tmp_path / name).write_bytes(b"\x89\xff\0" + str(run).encode() + b"/plot.py\0\xff")
        with pytest.raises(UserError, match="this machine's folder"):
            refuse_leaks({name: tmp_path / name}, [run])


def test_numbers_of_weights_are_not_read_as_words(run: Path, tmp_path: Path) -> None:
    numbers = torch.frombuffer(bytearray(b"https://by:chance@"), dtype=torch.uint8)
    save_file({"a": numbers}, tmp_path / "x.safetensors")
    refuse_leaks({"x.safetensors": tmp_path / "x.safetensors"}, [run])
    save_file({"a": numbers}, tmp_path / "x.safetensors", metadata={"source": "https://me:secret@example.org"})
    with pytest.raises(UserError, match="a password in an address"):
        refuse_leaks({"x.safetensors": tmp_path / "x.safetensors"}, [run])


def test_a_push_with_a_leak_sends_nothing(run: Path, hub: LoopbackHub) -> None:
    log = (run / "log.jsonl").read_bytes()
    (run / "log.jsonl").write_text(json.dumps({"step": 1, "samples": str(run.parent / "flowers"), "loss": 1.0}))
    (run / "evaluations" / "mine.json").write_text(json.dumps({"model": str(run)}))
    with pytest.raises(UserError, match="would publish"):
        push(run, "tester/x", endpoint=hub.endpoint, token=hub.token)
    assert hub.requests == []
    (run / "log.jsonl").write_bytes(log)
    (run / "evaluations" / "mine.json").unlink()
