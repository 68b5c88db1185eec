"""What loads is what was saved, whatever is wrong is said in one line, and nothing of a download is executed."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from published_run import PROVENANCE, trained, write_run
from safetensors.torch import load_file, save_file
from test_hub_folder import config_of, edit_config, mend_checksum

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import spec_of
from sslzoo.hub.folder import save_encoder
from sslzoo.hub.load import load_encoder, resolve


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "saved"
    save_encoder(trained(), folder, PROVENANCE)
    return folder


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "saved")


def complaint(model: str | Path, kind: type[UserError] = UserError) -> str:
    """The one line that loading ``model`` is refused with."""
    with pytest.raises(UserError) as caught:
        load_encoder(model)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_folder_and_its_encoder_folder_are_the_same_encoder(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert (resolve(run).kind, resolve(run).folder) == ("run", run / "encoder")
    assert (resolve(run / "encoder").kind, resolve(run / "encoder").folder) == ("encoder", run / "encoder")
    one, other = load_encoder(run), load_encoder(str(run / "encoder"))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_untrained_is_the_same_every_time() -> None:
    one, other = load_encoder("random:test_vit@32"), load_encoder("random:test_vit@32")
    assert spec_of(one).input.size == (3, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert resolve("random:test_vit@32").folder is None


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("test_resnet", "write random:test_resnet"),
        ("org/name", "write hf-hub:org/name"),
        ("./nowhere", "there is no folder ./nowhere"),
        ("random:resnet81", "did you mean"),
        ("random:test_resnet@large", "'large' is not an image size"),
        ("hf-hub:", "Repo id"),
        ("hf-hub:a/b/c", "Repo id"),
    ],
)
def test_a_model_that_is_none_says_what_to_write(model: str, says: str) -> None:
    assert says in complaint(model, UsageError)


def test_other_folders_are_told_apart(tmp_path: Path, saved: Path) -> None:
    assert "neither a run nor an encoder folder" in complaint(tmp_path, UsageError)
    assert "name the folder" in complaint(saved / "model.safetensors", UsageError)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}")
    assert "has not finished" in complaint(tmp_path / "begun")


def test_a_flipped_bit_is_noticed(saved: Path) -> None:
    load_encoder(saved)
    path = saved / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "damaged or exchanged" in complaint(saved)


def test_a_flipped_bit_is_noticed_by_the_fingerprint_too(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    weights["layer3.0.conv1.weight"] = -weights["layer3.0.conv1.weight"]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    mend_checksum(saved)
    assert "not those of the encoder that was saved" in complaint(saved)


@pytest.mark.parametrize("kept", [0, 7, 300, -5])
def test_truncated_weights(saved: Path, kept: int) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert "sha256" in complaint(saved)
    mend_checksum(saved)
    assert "not a whole safetensors file" in complaint(saved)


def test_weights_whose_header_lies(saved: Path) -> None:
    path = saved / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["layer1.0.conv1.weight"]["shape"][0] *= 1000
    lie = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(lie)) + lie + content[8 + length :])
    mend_checksum(saved)
    assert "not a whole safetensors file" in complaint(saved)


def edited(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        mend_checksum(folder)

    return edit


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (edited(lambda weights: weights.pop("layer4.0.conv2.weight")), "1 missing: layer4.0.conv2.weight"),
        (edited(lambda weights: weights.update({"fc.bias": torch.zeros(3)})), "1 unexpected: fc.bias"),
        (
            edited(lambda weights: weights.update({"bn1.bias": torch.zeros(3)})),
            "1 of the wrong shape: bn1.bias is (3,)",
        ),
    ],
)
def test_weights_that_do_not_fit(saved: Path, edit: Callable[[Path], None], says: str) -> None:
    edit(saved)
    assert says in complaint(saved)


def test_a_dozen_wrong_names_are_still_one_line(saved: Path) -> None:
    def prefix(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            weights[f"backbone.{name}"] = weights.pop(name)

    edited(prefix)(saved)
    assert len(complaint(saved)) < 500


def sslzoo_entry(folder: Path, **changes: Any) -> None:
    edit_config(folder, sslzoo=config_of(folder)["sslzoo"] | changes)


def pretrained_cfg(folder: Path, **changes: Any) -> None:
    edit_config(folder, pretrained_cfg=config_of(folder)["pretrained_cfg"] | changes)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "cannot be read"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "not a JSON object"),
        (lambda folder: (folder / "config.json").write_text("{}"), "names no architecture"),
        (lambda folder: edit_config(folder, architecture="resnet81"), "did you mean"),
        (lambda folder: edit_config(folder, architecture=["resnet18"]), "names no architecture"),
        (lambda folder: edit_config(folder, model_args={"patch_size": 4}), "timm cannot build"),
        (lambda folder: edit_config(folder, model_args={"in_chans": 0}), "timm cannot build"),
        (lambda folder: edit_config(folder, model_args={"layers": 3}), "timm cannot build"),
        (lambda folder: edit_config(folder, model_args={"act_layer": {"a": "\n" * 99}}), "timm cannot build"),
        (lambda folder: edit_config(folder, model_args={"checkpoint_path": "/x.pth"}), "may not set checkpoint_path"),
        (lambda folder: edit_config(folder, model_args=[1]), "must be JSON objects"),
        (lambda folder: edit_config(folder, num_classes=1000), "num_classes is not 0"),
        (lambda folder: pretrained_cfg(folder, url="https://example.org/x.pth"), "points elsewhere for weights (url)"),
        (lambda folder: pretrained_cfg(folder, custom_load="hf"), "points elsewhere for weights (custom_load)"),
        (lambda folder: pretrained_cfg(folder, colour="red"), "does not know pretrained_cfg keys colour"),
        (lambda folder: pretrained_cfg(folder, mean="grey"), "mean of pretrained_cfg"),
        (lambda folder: pretrained_cfg(folder, input_size=[3, -1, 4]), "input_size of pretrained_cfg"),
        (lambda folder: edit_config(folder, sslzoo=3), "entry sslzoo is malformed"),
        (lambda folder: sslzoo_entry(folder, format=99), "newer sslzoo"),
        (lambda folder: sslzoo_entry(folder, weights_sha256=None), "lacks weights_sha256"),
        (lambda folder: sslzoo_entry(folder, fingerprint={}), "fingerprint has input None"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
    ],
)
def test_a_config_that_cannot_be_used(saved: Path, edit: Callable[[Path], object], says: str) -> None:
    edit(saved)
    assert says in complaint(saved)


@pytest.mark.parametrize("changes", [{"values": [[1.0], [2.0]]}, {"mean": 3}, {"mean": ["a", "b"]}, {"std": None}])
def test_a_fingerprint_that_is_malformed(saved: Path, changes: dict[str, Any]) -> None:
    sslzoo_entry(saved, fingerprint=config_of(saved)["sslzoo"]["fingerprint"] | changes)
    assert "fingerprint is malformed" in complaint(saved)


def test_a_fingerprint_of_nan_is_not_equal_to_anything(saved: Path) -> None:
    stored = config_of(saved)["sslzoo"]["fingerprint"]
    sslzoo_entry(saved, fingerprint=stored | {"mean": [float("nan")] * 2})
    assert "not those of the encoder" in complaint(saved)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "model.ckpt"])
def test_pickles_are_never_opened(saved: Path, name: str) -> None:
    (saved / name).write_bytes(pickle.dumps(Trap()))
    load_encoder(saved)
    (saved / "model.safetensors").unlink()
    assert f"only {name}, which can run code" in complaint(saved)
    (saved / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    mend_checksum(saved)
    assert "not a whole safetensors file" in complaint(saved)


def test_code_beside_the_weights_is_never_run(saved: Path) -> None:
    for name in ("hubconf.py", "modeling.py", "config.py", "timm.py"):
        (saved / name).write_text("raise SystemExit('it was run')")
    edit_config(saved, auto_map={"AutoModel": "modeling.Model"})
    load_encoder(saved)


FOREIGN = [
    ("test_resnet", {}, None),
    ("test_convnext", {}, None),
    ("test_vit", {}, {"img_size": 64}),
    ("test_vit", {"global_pool": "avg"}, {"in_chans": 1}),
]


@pytest.mark.parametrize(("architecture", "args", "more"), FOREIGN)
def test_a_timm_folder_of_others_loads_without_its_classifier(
    architecture: str, args: dict[str, Any], more: dict[str, Any] | None, tmp_path: Path
) -> None:
    model = timm.create_model(architecture, num_classes=10, **args, **(more or {})).eval()
    timm.models.save_for_hf(model, str(tmp_path), model_args=args, safe_serialization=True)
    loaded = load_encoder(tmp_path)
    images = torch.randn(2, *spec_of(loaded).input.size)
    with torch.no_grad():
        plain = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=0).eval()
        assert torch.equal(loaded(images), plain(images))
        assert torch.equal(loaded(images), model.forward_head(model.forward_features(images), pre_logits=True))


def test_a_timm_folder_of_others_may_leave_size_and_channels_to_the_input_size(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=10, img_size=32, in_chans=1).eval()
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    edit_config(tmp_path, model_args={})
    pretrained_cfg(tmp_path, input_size=[1, 32, 32], fixed_input_size=True)
    assert spec_of(load_encoder(tmp_path)).input.size == (1, 32, 32)


def test_everything_but_the_classifier_of_others_must_fit(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=10)
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["layer2.0.bn1.running_mean"]
    save_file(weights | {"fc.scale": torch.ones(1)}, tmp_path / "model.safetensors")
    assert "1 missing: layer2.0.bn1.running_mean; 1 unexpected: fc.scale" in complaint(tmp_path)


def test_a_config_of_old_timm_is_understood(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=10)
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    config = config_of(tmp_path)
    flat = {"architecture": "test_resnet", "num_features": config["num_features"], **config["pretrained_cfg"]}
    (tmp_path / "config.json").write_text(json.dumps(flat | {"num_classes": 10}))
    load_encoder(tmp_path)
