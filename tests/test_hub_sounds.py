"""The encoder of sounds of a method that sees and hears goes to the Hub with its run, and comes back with it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from published_run import PROVENANCE, repository_for, trained, trained_to_hear, write_run
from test_hub_folder import config_of, edit_config, mend_checksum

import sslzoo
from sslzoo.config import UsageError, UserError
from sslzoo.encoders import spec_of
from sslzoo.features import weights_digest
from sslzoo.hub.folder import save_encoder
from sslzoo.hub.load import load_encoder, sound_encoder_of
from sslzoo.hub.pull import pull
from sslzoo.hub.push import push
from sslzoo.hub.verify import verify
from sslzoo.testing.loopback import LoopbackHub

FILES = ("sound_encoder/config.json", "sound_encoder/model.safetensors")


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture(autouse=True)
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: LoopbackHub) -> None:
    """A client whose own Hub is this one: what is asked here has no argument for another."""
    constants = huggingface_hub.constants
    address = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    hub.clear_faults()
    hub.clear_requests()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("original") / "run", sounds=trained_to_hear())


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "run")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return repository_for(request.node.name)


def complaint(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_is_sent_once_comes_back_to_its_place_and_loads_by_its_name(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path
) -> None:
    first = push(run, name)
    assert {file: hub.repo(name).files()[file] for file in FILES} == {file: (run / file).read_bytes() for file in FILES}
    with hub.watch() as requests:
        assert push(run, name) == first
    assert [request for request in requests if request.method == "PUT"] == []
    pulled = pull(name, tmp_path / "pulled")
    assert all((pulled / file).read_bytes() == (run / file).read_bytes() for file in FILES)
    assert push(pulled, name) == first
    expected = load_encoder(run / "sound_encoder").state_dict()
    for model in (f"hf-hub:{name}/sound_encoder", f"hf-hub:{name}/sound_encoder@{first.rpartition('/')[2]}"):
        encoder = load_encoder(model)
        assert spec_of(encoder).input.size == (1, 64, 101)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in encoder.state_dict().items())
    assert spec_of(load_encoder(f"hf-hub:{name}")).input.size == (3, 32, 32)


def test_one_that_the_run_no_longer_has_does_not_stay(run: Path, hub: LoopbackHub, name: str) -> None:
    push(run, name)
    shutil.rmtree(run / "sound_encoder")
    push(run, name)
    assert not hub.repo(name).files().keys() & {*FILES}
    assert "no such file" in complaint(lambda: load_encoder(f"hf-hub:{name}/sound_encoder"))


def flip(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def exchange(folder: Path) -> None:
    """For another one's weights, with a checksum to suit them."""
    config = (folder / "config.json").read_text()
    save_encoder(trained_to_hear(5), folder, PROVENANCE)
    (folder / "config.json").write_text(config)
    mend_checksum(folder)


def of_others(folder: Path) -> None:
    config = config_of(folder)
    (folder / "config.json").write_text(json.dumps({key: config[key] for key in config if key != "sslzoo"}))


def link(folder: Path) -> None:
    folder.rename(folder.parent.parent / "elsewhere")
    folder.symlink_to(folder.parent.parent / "elsewhere")


NOT_SENT: dict[str, tuple[Callable[[Path], object], str]] = {
    "damaged": (flip, "sound_encoder/model.safetensors has sha256 .*damaged or exchanged"),
    "another": (exchange, "sound_encoder: its features are not those of the encoder that was saved"),
    "of another run": (
        lambda folder: edit_config(folder, sslzoo=config_of(folder)["sslzoo"] | {"run": "x"}),
        "sound_encoder is of another run than run.json",
    ),
    "of others": (of_others, "sound_encoder has no checksum and no fingerprint"),
    "not whole": (lambda folder: (folder / "config.json").unlink(), "lacks sound_encoder/config.json"),
    "a link": (link, "is a link out of the run"),
    "with a secret": (
        lambda folder: edit_config(folder, note=f"hf_{'x' * 30}"),
        r"would publish \(as sound_encoder/config.json\) a Hugging Face token",
    ),
}


@pytest.mark.parametrize(("spoil", "says"), NOT_SENT.values(), ids=NOT_SENT)
def test_nothing_of_a_run_is_sent_if_its_second_encoder_is_not_to_be(
    run: Path, hub: LoopbackHub, name: str, spoil: Callable[[Path], object], says: str
) -> None:
    spoil(run / "sound_encoder")
    assert re.search(says, complaint(lambda: push(run, name)))
    assert hub.requests == []


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "damaged": (flip, "damaged or exchanged"),
    "another": (exchange, "not those of the encoder that was saved"),
    "larger than its weights": (
        lambda folder: edit_config(folder, architecture="test_vit", model_args={"in_chans": 1, "embed_dim": 32768}),
        "far larger than the file of its weights",
    ),
    "with a pickle to start from": (
        lambda folder: edit_config(folder, model_args={"checkpoint_path": "../../x.pth"}),
        "may not set checkpoint_path",
    ),
    "without weights": (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
}


@pytest.mark.parametrize(("spoil", "says"), REFUSED.values(), ids=REFUSED)
def test_a_hostile_one_is_refused_with_the_whole_repository(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    push(run, name)
    spoil(run / "sound_encoder")
    for file in FILES:
        if (run / file).exists():
            hub.repo(name).write({file: (run / file).read_bytes()})
        else:
            huggingface_hub.HfApi().delete_file(file, name)
    before = sorted(tmp_path.rglob("*"))
    assert says in complaint(lambda: pull(name, tmp_path / "out"))
    assert sorted(tmp_path.rglob("*")) == before


def test_of_its_folder_only_config_and_weights_are_fetched(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path
) -> None:
    push(run, name)
    hub.repo(name).write({f"sound_encoder/{file}": b"1/0" for file in ("x.bin", "hubconf.py", "deep/config.json")})
    pulled = pull(name, tmp_path / "out")
    assert sorted(str(path.relative_to(pulled)) for path in pulled.glob("sound_encoder/**/*")) == sorted(FILES)


def test_a_damaged_copy_in_the_cache_does_not_spoil_a_pull(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path
) -> None:
    push(run, name)
    digest = hashlib.sha256((run / FILES[1]).read_bytes()).hexdigest()
    hub.corrupt(digest, times=2)
    assert "damaged or exchanged" in complaint(lambda: load_encoder(f"hf-hub:{name}/sound_encoder"))
    load_encoder(pull(name, tmp_path / "out") / "sound_encoder")


def test_sounds_are_told_apart_by_the_one_on_the_hub(run: Path, name: str) -> None:
    push(run, name)
    digest = weights_digest(load_encoder(run / "sound_encoder"))
    for model in (f"hf-hub:{name}", f"hf-hub:{name}/sound_encoder@main"):
        splits = {"train_split": "train[:8]", "test_split": "test[:4]"}
        report = sslzoo.evaluate("audio", model, "moving-shapes", **splits, windows=1, strengths=(1.0,), baseline=False)
        assert (report.model, report.weights) == (model, digest)


def test_whether_there_is_one_is_asked_where_the_model_is(
    run: Path, hub: LoopbackHub, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = push(run, name).rpartition("/")[2]
    assert sound_encoder_of(run) == str(run / "sound_encoder")
    assert sound_encoder_of(f"hf-hub:{name}@{commit}") == f"hf-hub:{name}/sound_encoder@{commit}"
    for model in (run / "encoder", run / "sound_encoder", f"hf-hub:{name}/sound_encoder", "random:test_resnet"):
        assert sound_encoder_of(model) is None
    with pytest.raises(UsageError, match="Repo id"):
        sound_encoder_of("hf-hub:a/b/c")
    push(write_run(tmp_path / "mute", trained()), f"{name}-mute")
    assert sound_encoder_of(f"hf-hub:{name}-mute") is None
    load_encoder(f"hf-hub:{name}-mute")
    push(run, f"{name}-2")
    load_encoder(f"hf-hub:{name}-2")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert sound_encoder_of(f"hf-hub:{name}@{commit}") is not None
    assert sound_encoder_of(f"hf-hub:{name}-mute") is None, "that there is none is known from before"
    assert "cannot look for sound_encoder" in complaint(lambda: sound_encoder_of(f"hf-hub:{name}-2"))
    monkeypatch.setattr("sslzoo.hub.verify._CHECKS", {})
    (check,) = verify(f"hf-hub:{name}-2")
    assert (check.name, check.ok) == ("sound_encoder", None)
