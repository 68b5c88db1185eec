"""An encoder that was found to be right is not examined again, until anything that this rests on has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import torch
from published_run import PROVENANCE, trained
from safetensors.torch import load_file
from test_hub_folder import config_of, edit_config

from sslzoo.config import UserError
from sslzoo.encoders import spec_of
from sslzoo.hub import known, load
from sslzoo.hub.folder import save_encoder
from sslzoo.hub.load import examine, load_encoder, load_folder
from sslzoo.hub.weights import load_strictly, sha256


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "saved"
    save_encoder(trained("test_vit"), folder, PROVENANCE)
    return folder


@pytest.fixture
def saved(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An encoder that was loaded once, when its files were old enough."""
    monkeypatch.setattr(known, "CLOCK_TICK", -1)
    folder = shutil.copytree(original, tmp_path / "saved")
    load_encoder(folder)
    return folder


def examined(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is computed to load the encoder."""
    done = []
    with monkeypatch.context() as patch:
        for name in ("sha256", "check", "on_meta"):
            real = getattr(load, name)
            patch.setattr(load, name, lambda *args, name=name, real=real: done.append(name) or real(*args))
        load_encoder(folder)
    return done


EVERYTHING = ["sha256", "on_meta", "check"]


def test_nothing_is_computed_twice(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examined(saved, monkeypatch) == []


def test_an_encoder_is_known_to_other_processes_and_not_in_another_cache(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "other"))
    assert examined(saved, monkeypatch) == EVERYTHING
    assert len([*(tmp_path / "other" / "known").iterdir()]) == 1
    assert examined(saved, monkeypatch) == []


def test_a_cache_that_cannot_be_written_costs_time_only(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "file"))
    assert examined(saved, monkeypatch) == examined(saved, monkeypatch) == EVERYTHING


def test_changed_weights_are_noticed_even_if_dated_back(saved: Path) -> None:
    path = saved / "model.safetensors"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UserError, match="damaged or exchanged"):
        load_encoder(saved)


def test_a_copy_is_examined(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    assert examined(tmp_path / "copy", monkeypatch) == EVERYTHING


def test_a_changed_config_is_examined(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_config(saved, sslzoo=config_of(saved)["sslzoo"] | {"steps": 7})
    assert examined(saved, monkeypatch) == EVERYTHING


@pytest.mark.parametrize("library", ["torch", "timm", "sslzoo"])
def test_another_library_is_examined(saved: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    where = {"torch": "torch.__version__", "timm": "timm.__version__", "sslzoo": "sslzoo.hub.known.__version__"}
    monkeypatch.setattr(where[library], "99.0.0")
    assert examined(saved, monkeypatch) == EVERYTHING


def test_keys_are_strict_all_the_same(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "is_known", lambda note: True)
    edit_config(saved, model_args=config_of(saved)["model_args"] | {"reg_tokens": 2})
    with pytest.raises(UserError, match="1 missing: reg_token"):
        load_encoder(saved)


def test_a_file_that_may_change_in_the_same_tick_of_the_clock_is_not_known(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(original, tmp_path / "young")
    monkeypatch.setattr(known, "CLOCK_TICK", 10**15)
    assert examined(folder, monkeypatch) == examined(folder, monkeypatch) == EVERYTHING
    monkeypatch.setattr(known, "CLOCK_TICK", -1)
    assert examined(folder, monkeypatch) == EVERYTHING
    assert examined(folder, monkeypatch) == []


def test_what_changes_while_it_is_examined_is_not_known(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = (saved / "config.json").read_bytes()
    (saved / "config.json").write_bytes(config + b" ")
    with monkeypatch.context() as patch:
        patch.setattr(load, "check", lambda *_: (saved / "config.json").write_bytes(config + b"  "))
        load_encoder(saved)
    assert examined(saved, monkeypatch) == EVERYTHING


def test_what_does_not_verify_is_never_known(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = config_of(saved)["sslzoo"]
    edit_config(saved, sslzoo=ours | {"fingerprint": ours["fingerprint"] | {"mean": [0.0, 0.0]}})
    for _ in range(2):
        with pytest.raises(UserError, match="not those of the encoder"):
            load_encoder(saved)


def test_what_is_examined_is_computed_though_it_is_known(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "check", lambda *_: pytest.fail("it was computed"))
    load_folder(saved)
    with pytest.raises(pytest.fail.Exception, match="it was computed"):
        examine(saved)


def test_only_what_is_examined_shares_memory_with_where_it_came_from(saved: Path) -> None:
    state = load_file(saved / "model.safetensors")
    name = next(iter(state))
    for in_place in (True, False):
        encoder = spec_of(load_encoder(saved)).build()
        load_strictly(encoder, state, "does not fit", in_place=in_place)
        assert all(torch.equal(tensor, state[name]) for name, tensor in encoder.state_dict().items())
        assert (encoder.state_dict()[name].data_ptr() == state[name].data_ptr()) is in_place


@pytest.mark.parametrize("content", [b"", b"a", b"ab" * 2**20])
def test_the_digest_of_a_file_is_that_of_its_bytes(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
