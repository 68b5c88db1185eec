"""``verify`` says exactly what is wrong, and goes on with what does not rely on it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import timm
import torch
from published_run import PROVENANCE, trained, trained_to_hear, write_run
from safetensors.torch import load_file, save_file
from test_hub_folder import config_of, edit_config, mend_checksum
from torch import nn

from sslzoo.config import UsageError
from sslzoo.hub.folder import save_encoder
from sslzoo.hub.verify import Check, verify

DOORS = ("sslzoo", "timm", "transformers", "torch.hub")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "saved"
    save_encoder(trained("test_vit", 32), folder, PROVENANCE)
    return folder


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "saved")


def outcome(folder: Path | str) -> dict[str, Check]:
    checks = verify(folder)
    assert all("\n" not in check.detail for check in checks)
    return {check.name: check for check in checks}


def failed(checks: dict[str, Check]) -> list[str]:
    return [name for name, check in checks.items() if check.ok is False]


def test_a_run_is_verified_by_its_encoder(tmp_path: Path) -> None:
    checks = outcome(write_run(tmp_path / "run"))
    assert [check for check in checks.values() if check.ok is not True] == []
    assert checks["config"].detail == "test_resnet()"
    assert checks["timm"].detail == "(2, 96) features, equal bit for bit"


def test_a_run_that_hears_is_verified_by_both_encoders(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", sounds=trained_to_hear())
    checks = outcome(run)
    names = [*outcome(run / "encoder")]
    assert [*checks] == [*names, *(f"sound_encoder/{name}" for name in names)]
    assert [check for check in checks.values() if check.ok is not True] == []
    assert checks["sound_encoder/config"].detail == "test_resnet(in_chans=1)"
    edit_config(run / "sound_encoder", num_features=97)
    assert failed(outcome(run)) == ["sound_encoder/description"]
    (run / "sound_encoder" / "config.json").unlink()
    checks = outcome(run)
    assert failed(checks) == ["sound_encoder"]
    assert "has no config.json" in checks["sound_encoder"].detail


def test_exchanged_weights_fail_checksum_fingerprint_and_our_doors(saved: Path, tmp_path: Path) -> None:
    save_encoder(trained("test_vit", 32, seed=5), tmp_path / "other", PROVENANCE)
    shutil.copy(tmp_path / "other" / "model.safetensors", saved)
    checks = outcome(saved)
    assert failed(checks) == ["checksum", "fingerprint", "sslzoo", "torch.hub"]
    assert "damaged or exchanged" in checks["sslzoo"].detail
    assert "not those of the encoder that was saved" in checks["fingerprint"].detail


def test_a_lost_layer_is_named_and_no_door_is_tried(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    del weights["blocks.3.mlp.fc1.weight"]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    mend_checksum(saved)
    checks = outcome(saved)
    assert failed(checks) == ["keys"]
    assert "1 missing: blocks.3.mlp.fc1.weight" in checks["keys"].detail
    assert {checks[name].detail for name in DOORS} == {"skipped, because the keys failed"}


def test_a_config_that_is_not_ours_to_follow_stops_everything(saved: Path) -> None:
    edit_config(saved, model_args={"checkpoint_path": "/etc/passwd"})
    checks = outcome(saved)
    assert failed(checks) == ["config"]
    assert [check.ok for check in checks.values()] == [False] + [None] * 8


def test_a_door_that_gives_other_features_is_told(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_model = timm.create_model

    def with_one_weight_more(*args: object, **kwargs: object) -> nn.Module:
        model = create_model(*args, **kwargs)
        if str(args[0]).startswith("local-dir:"):
            with torch.no_grad():
                model.get_parameter("norm.bias")[5] += 0.25
        return model

    monkeypatch.setattr(timm, "create_model", with_one_weight_more)
    checks = outcome(saved)
    assert failed(checks) == ["timm"]
    assert checks["timm"].detail == (
        "2 of 128 features differ, by up to 2.5e-01: 1 of 78 tensors differ: norm.bias by up to 2.5e-01"
    )


def test_a_door_that_prepares_images_otherwise_is_told(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_model = timm.create_model

    def with_another_mean(*args: object, **kwargs: object) -> nn.Module:
        model = create_model(*args, **kwargs)
        if str(args[0]).startswith("local-dir:"):
            model.pretrained_cfg = model.pretrained_cfg | {"mean": (0.5, 0.5, 0.5)}
        return model

    monkeypatch.setattr(timm, "create_model", with_another_mean)
    checks = outcome(saved)
    assert failed(checks) == ["timm"]
    assert checks["timm"].detail == (
        "images would be prepared otherwise: mean is [0.5, 0.5, 0.5] instead of [0.485, 0.456, 0.406]"
    )


def test_a_key_that_does_not_describe_the_encoder_is_named(saved: Path) -> None:
    described = config_of(saved)["pretrained_cfg"]
    edit_config(saved, num_features=65, pretrained_cfg=described | {"classifier": "fc"})
    checks = outcome(saved)
    assert failed(checks) == ["description"]
    assert "num_features is 65 instead of 64" in checks["description"].detail
    assert "pretrained_cfg.classifier is 'fc' instead of 'head'" in checks["description"].detail


def test_what_is_known_from_earlier_is_checked_all_the_same(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslzoo.hub.load.is_known", lambda note: True)
    weights = load_file(saved / "model.safetensors")
    weights["norm.bias"][3] += 1
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    assert failed(outcome(saved)) == ["checksum", "fingerprint"]


def test_a_door_that_gives_no_features_is_told(saved: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = config_of(saved)
    (saved / "config.json").write_text(json.dumps(config | {"do_pooling": False}))
    assert transformers.AutoConfig.from_pretrained(str(saved)).do_pooling is False
    checks = outcome(saved)
    assert failed(checks) == ["transformers"]
    assert checks["transformers"].detail == "it gives no pooled features (config.json also sets do_pooling)"


def test_transformers_is_skipped_where_it_is_not_installed(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "transformers" else find_spec(name))
    check = outcome(saved)["transformers"]
    assert (check.ok, check.detail) == (None, "skipped: transformers is not installed")


def test_torch_hub_is_skipped_without_a_checkout(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslzoo.__file__", str(tmp_path / "site-packages" / "sslzoo" / "__init__.py"))
    check = outcome(saved)["torch.hub"]
    assert check.ok is None and "hubconf.py" in check.detail


def test_a_timm_folder_of_others_has_nothing_recorded(tmp_path: Path) -> None:
    timm.models.save_for_hf(timm.create_model("test_resnet", num_classes=7), str(tmp_path), safe_serialization=True)
    checks = outcome(tmp_path)
    assert (checks["checksum"].ok, checks["fingerprint"].ok) == (None, None)
    assert all(checks[door].ok for door in ("sslzoo", "timm", "torch.hub"))
    assert "multiple values for keyword argument 'num_classes'" in checks["transformers"].detail


def test_what_was_never_saved_cannot_be_verified() -> None:
    with pytest.raises(UsageError, match="never saved"):
        verify("random:test_resnet")


def test_verifying_leaves_no_generic_module_behind(saved: Path) -> None:
    verify(saved)
    assert "hubconf" not in sys.modules
