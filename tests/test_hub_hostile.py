"""Repositories made to do harm are refused with one clear line, and nothing outside of the target folder is touched."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from published_run import PROVENANCE, trained
from test_hub_folder import config_of, edit_config, mend_checksum

from sslzoo.config import UserError
from sslzoo.hub import load
from sslzoo.hub.folder import save_encoder
from sslzoo.hub.load import load_encoder
from sslzoo.hub.pull import pull
from sslzoo.hub.verify import verify
from sslzoo.testing.loopback import LoopbackHub

Edit = Callable[[Path], object]


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture(autouse=True)
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def name(request: pytest.FixtureRequest, hub: LoopbackHub) -> str:
    """A repository for each test, which its owner has filled by hand."""
    name = f"tester/{zlib.crc32(request.node.name.encode()):08x}"
    huggingface_hub.HfApi(endpoint=hub.endpoint, token=hub.token).create_repo(name)
    return name


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "saved"
    save_encoder(trained("test_vit"), folder, PROVENANCE)
    return folder


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "saved")


def complaint(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800
    return str(caught.value)


def upload(folder: Path, hub: LoopbackHub, name: str) -> None:
    hub.repo(name).write({path.name: path.read_bytes() for path in folder.iterdir()})


def described(**changes: Any) -> Edit:
    return lambda folder: edit_config(folder, pretrained_cfg=config_of(folder)["pretrained_cfg"] | changes)


def args(**changes: Any) -> Edit:
    return lambda folder: edit_config(folder, model_args=config_of(folder)["model_args"] | changes)


CONFIGS: dict[str, tuple[Edit, str]] = {
    "an unknown architecture": (lambda folder: edit_config(folder, architecture="vjt"), "has no encoder 'vjt'"),
    "an address": (lambda folder: edit_config(folder, architecture="hf-hub:evil/x"), "has no encoder"),
    "a path": (lambda folder: edit_config(folder, architecture="local-dir:/tmp"), "has no encoder"),
    "a million pixels high": (described(input_size=[3, 10**6, 10**6]), "absurdly large"),
    "a million channels": (described(input_size=[10**6, 32, 32]), "absurdly large"),
    "terabytes of weights": (args(embed_dim=32768), "far larger than the file of its weights"),
    "terabytes of positions": (args(img_size=32768, patch_size=1), "far larger than the file of its weights"),
    "layers without end": (args(depth=32768), "far larger than the file of its weights"),
    "a wider encoder than the weights": (args(embed_dim=128), "of the wrong shape"),
    "an absurd number": (args(depth=10**9), "model_args sets depth to the number 1e+09"),
    "an endless number": (args(mlp_ratio=float("inf")), "model_args sets mlp_ratio to a number without end"),
    "no number": (args(mlp_ratio=float("nan")), "model_args sets mlp_ratio to a number without end"),
    "a long list": (args(img_size=[32] * 65), "model_args sets img_size to lists of more than 64 items"),
    "a deep list": (args(img_size=[[[[32]]]]), "model_args sets img_size to lists"),
    "a long text": (args(act_layer="x" * 1000), "model_args sets act_layer to a text of 1000 letters"),
    "a long config": (lambda folder: edit_config(folder, x="x" * 2**24), "cannot be read (it is longer than"),
    "a pickle to start from": (args(checkpoint_path="../../x.pth"), "may not set checkpoint_path"),
    "weights of others": (args(pretrained=True), "may not set pretrained"),
    "another description": (args(pretrained_cfg={"url": "x"}), "may not set pretrained_cfg"),
    "a folder to write to": (args(cache_dir="/tmp"), "may not set cache_dir"),
    **{
        f"weights by {key}": (described(**{key: "../../etc/passwd"}), f"points elsewhere for weights ({key})")
        for key in ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load")
    },
    "a classifier of objects": (described(classifier={"a": [1]}), "classifier of pretrained_cfg"),
    "a crop of words": (described(crop_pct="all"), "crop_pct of pretrained_cfg"),
}


@pytest.mark.parametrize(("edit", "says"), CONFIGS.values(), ids=CONFIGS)
def test_a_config_that_asks_for_harm_is_refused_before_anything_is_built_or_read(
    saved: Path,
    hub: LoopbackHub,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    edit: Edit,
    says: str,
) -> None:
    edit(saved)
    build = load.build_encoder

    def build_on_meta(config: dict[str, Any]) -> torch.nn.Module:
        assert torch.empty(1).device.type == "meta", "it takes memory"
        return build(config)

    monkeypatch.setattr(load, "build_encoder", build_on_meta)
    monkeypatch.setattr(load, "read_weights", pytest.fail)
    assert says in complaint(lambda: load_encoder(saved))
    checks = {check.name: check for check in verify(saved)}
    failed = [check for check in checks.values() if check.ok is False]
    assert [check.name for check in failed] in (["config"], ["keys"]) and says in failed[0].detail
    assert all(checks[door].ok is None for door in ("sslzoo", "timm", "transformers", "torch.hub"))
    upload(saved, hub, name)
    before = sorted(tmp_path.rglob("*"))
    assert says in complaint(lambda: pull(name, tmp_path / "out", endpoint=hub.endpoint, token=hub.token))
    assert sorted(tmp_path.rglob("*")) == before
    assert says in complaint(lambda: load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token))


def header(entries: dict[str, Any] | bytes, data: bytes = bytes(64), length: int | None = None) -> Edit:
    """Weights with such a header before ``data``."""

    def write(folder: Path) -> None:
        text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
        content = struct.pack("<Q", len(text) if length is None else length) + text + data
        (folder / "model.safetensors").write_bytes(content)
        mend_checksum(folder)

    return write


def tensor(shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def sparse(size: int, length: int) -> Edit:
    """A file with holes, which takes no room on the disk."""

    def write(folder: Path) -> None:
        with (folder / "model.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", length) + b"{")
            file.truncate(size)
        mend_checksum(folder)

    return write


HEADERS: dict[str, Edit] = {
    "longer than the file": header({}, length=2**40),
    "of a hundred megabytes": sparse(100_000_008, 100_000_000),
    "over eight megabytes": header({f"{i:09}": tensor([0], 0, 0) for i in range(160_000)}, b""),
    "no JSON": header(b"{'a': 1}"),
    "a list": header(b"[]"),
    "overlapping": header({"a": tensor([16], 0, 64), "b": tensor([8], 32, 64)}),
    "beyond the end": header({"a": tensor([32], 0, 128)}),
    "backwards": header({"a": tensor([16], 64, 0)}),
    "with a hole": header({"a": tensor([8], 0, 32)}),
    "huge shape": header({"a": tensor([10**12, 10**12], 0, 64)}),
    "negative shape": header({"a": tensor([-16], 0, 64)}),
    "huge offsets": header({"a": tensor([16], 2**63, 2**63 + 64)}),
    "an unknown number format": header({"a": tensor([16], 0, 64) | {"dtype": "PICKLE"}}),
    "deep": header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
}


@pytest.mark.parametrize("edit", HEADERS.values(), ids=HEADERS)
def test_weights_with_a_lying_header_are_refused(
    saved: Path, hub: LoopbackHub, name: str, tmp_path: Path, edit: Edit
) -> None:
    edit(saved)
    says = "is not a whole safetensors file"
    assert says in complaint(lambda: load_encoder(saved))
    keys = {check.name: check for check in verify(saved)}["keys"]
    assert keys.ok is False and says in keys.detail
    if (saved / "model.safetensors").stat().st_size < 10**7:
        upload(saved, hub, name)
        assert says in complaint(lambda: pull(name, tmp_path / "out", endpoint=hub.endpoint, token=hub.token))
        assert not list(tmp_path.glob("*out*"))


LAUGHS = "a0: &a0 [lol]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
CARDS = {
    "an object": "---\nlicense: !!python/object/apply:os.mkdir [owned]\n---\n",
    "a billion laughs": f"---\n{LAUGHS}---\n",
    "no end": "---\n" + "tags: [x]\n" * 300_000,
}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_no_card_is_read_to_load_or_verify(
    saved: Path, hub: LoopbackHub, name: str, monkeypatch: pytest.MonkeyPatch, card: str
) -> None:
    (saved / "README.md").write_text(card)
    upload(saved, hub, name)
    for loader in ("load", "safe_load", "load_all", "compose"):
        monkeypatch.setattr(f"yaml.{loader}", pytest.fail)
    assert [check for check in verify(saved) if not check.ok] == []
    load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token)


def test_a_hostile_card_is_pulled_as_the_text_it_is(
    saved: Path, hub: LoopbackHub, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (saved / "README.md").write_text(CARDS["an object"])
    upload(saved, hub, name)
    pulled = pull(name, tmp_path / "out", endpoint=hub.endpoint, token=hub.token)
    assert (pulled / "README.md").read_text() == CARDS["an object"]
    assert not (tmp_path / "owned").exists()


def test_code_in_a_repository_is_not_run_by_any_door(saved: Path, tmp_path: Path) -> None:
    for file in ("hubconf.py", "modeling.py", "configuration.py", "timm.py", "__init__.py"):
        (saved / file).write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    edit_config(saved, auto_map={"AutoConfig": "configuration.Config", "AutoModel": "modeling.Model"})
    checks = {check.name: check for check in verify(saved)}
    assert not (tmp_path / "run").exists()
    assert all(checks[door].ok for door in ("sslzoo", "timm", "torch.hub"))


def test_an_index_of_weights_elsewhere_is_not_followed(saved: Path) -> None:
    index = {"weight_map": {"norm.weight": "../../../etc/passwd", "norm.bias": "/etc/passwd"}}
    (saved / "model.safetensors.index.json").write_text(json.dumps(index))
    assert [check for check in verify(saved) if not check.ok] == []
    (saved / "model.safetensors").unlink()
    assert "has no model.safetensors" in complaint(lambda: load_encoder(saved))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("target", ["/dev/zero", "pipe", "nowhere", "."])
def test_links_to_what_is_no_file_are_not_opened(saved: Path, file: str, target: str) -> None:
    os.mkfifo(saved / "pipe")
    (saved / file).unlink()
    (saved / file).symlink_to(target)
    assert f"has no {file}" in complaint(lambda: load_encoder(saved))


def test_what_a_link_shows_is_not_repeated(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush: my password")
    for file in ("model.safetensors", "config.json"):
        (saved / file).unlink()
        (saved / file).symlink_to(tmp_path / "secret")
        assert "password" not in complaint(lambda: load_encoder(saved))


NAMES: dict[str, tuple[list[str], str]] = {
    "of a device": (["figures/CON.png"], "not every system takes"),
    "of a device with dots": (["evaluations/aux.x.json"], "not every system takes"),
    "with a stream": (["figures/a.png:b.png"], "not every system takes"),
    "with a line break": (["figures/a\nb.png"], "not every system takes"),
    "with a question": (["figures/why?.png"], "not every system takes"),
    "without end": (["figures/" + "a" * 260 + ".png"], "not every system takes"),
    "that differ by case": (["evaluations/knn.json", "evaluations/KNN.json"], "one file to many systems"),
    "by the thousand": ([f"evaluations/{i}.json" for i in range(1001)], "a run has some dozens"),
    "out of the folder": (["evaluations/../../x.json"], "outside of the folder"),
    "from the root": (["/etc/passwd"], "outside of the folder"),
    "of a drive": (["C:\\x.json"], "outside of the folder"),
    "of a share": (["\\\\host\\x.json"], "outside of the folder"),
}


@pytest.mark.parametrize(("names", "says"), NAMES.values(), ids=NAMES)
def test_names_that_do_harm_somewhere_are_refused_before_anything_is_fetched(
    saved: Path, hub: LoopbackHub, name: str, tmp_path: Path, names: list[str], says: str
) -> None:
    upload(saved, hub, name)
    hub.repo(name).write({file: b"{}" for file in names})
    before = sorted(tmp_path.rglob("*"))
    with hub.watch() as requests:
        assert says in complaint(lambda: pull(name, tmp_path / "out", endpoint=hub.endpoint, token=hub.token))
    assert [request.method for request in requests] == ["GET"]
    assert sorted(tmp_path.rglob("*")) == before
    load_encoder(f"hf-hub:{name}", endpoint=hub.endpoint, token=hub.token)


def test_a_target_that_is_a_link_to_nowhere_is_left_alone(hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    assert "exists already" in complaint(lambda: pull("tester/x", tmp_path / "out", endpoint=hub.endpoint))
    assert (tmp_path / "out").is_symlink() and not (tmp_path / "elsewhere").exists()
