"""What is saved is plain timm: the same features through every door, and none of the traps of timm's own export."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from published_run import PROVENANCE, trained
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from sslzoo.config import UserError
from sslzoo.encoders import EncoderSpec, InputSpec, create_encoder, spec_of
from sslzoo.hub.fingerprint import TOLERANCE, check, fingerprint, fingerprint_of_size
from sslzoo.hub.folder import save_encoder
from sslzoo.hub.load import load_encoder
from sslzoo.hub.verify import verify
from sslzoo.hub.weights import write_weights

KINDS: list[tuple[str, int, tuple[str, ...]]] = [
    ("test_resnet", 32, ()),
    ("test_resnet", 40, ("global_pool='max'",)),
    ("test_convnext", 48, ()),
    ("test_efficientnet", 64, ()),
    ("test_nfnet", 64, ()),
    ("test_vit", 32, ("patch_size=4",)),
    ("test_vit", 160, ()),
    ("test_vit", 48, ("patch_size=8", "global_pool='avg'", "reg_tokens=2")),
]
each_kind = pytest.mark.parametrize(
    ("architecture", "size", "args"), KINDS, ids=[f"{arch}-{size}" for arch, size, _ in KINDS]
)
each_channels = pytest.mark.parametrize("channels", [1, 3, 4])


def images(encoder: nn.Module) -> Tensor:
    return torch.randn(2, *spec_of(encoder).input.size, generator=torch.Generator().manual_seed(3))


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def edit_config(folder: Path, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps(config_of(folder) | changes))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrix products in one thread are the ones that mind most where tensors lie in memory."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@each_channels
@each_kind
def test_features_are_equal_bit_for_bit_through_every_door(
    architecture: str, size: int, args: tuple[str, ...], channels: int, tmp_path: Path
) -> None:
    encoder = trained(architecture, size, channels, args)
    save_encoder(encoder, tmp_path / "encoder", PROVENANCE)
    checks = {check.name: check for check in verify(tmp_path / "encoder")}
    assert [check for check in checks.values() if not check.ok] == []
    assert list(checks)[5:] == ["sslzoo", "timm", "transformers", "torch.hub"]
    loaded = load_encoder(tmp_path / "encoder")
    assert not loaded.training
    assert spec_of(loaded) == spec_of(encoder)
    with torch.no_grad():
        assert torch.equal(encoder(images(encoder)), loaded(images(encoder)))


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_features_are_equal_through_every_door_with_more_threads(architecture: str, tmp_path: Path) -> None:
    save_encoder(trained(architecture), tmp_path, PROVENANCE)
    torch.set_num_threads(2)
    assert [check for check in verify(tmp_path) if not check.ok] == []


@each_channels
@each_kind
def test_trap_2_a_classifier_can_be_put_on(
    architecture: str, size: int, args: tuple[str, ...], channels: int, tmp_path: Path
) -> None:
    encoder = trained(architecture, size, channels, args)
    save_encoder(encoder, tmp_path, PROVENANCE)
    classifier = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=10).eval()
    with torch.no_grad():
        assert torch.equal(
            classifier.forward_features(images(encoder)),
            encoder.forward_features(images(encoder)),  # type: ignore[operator]
        )
        assert classifier(images(encoder)).shape == (2, 10)


def test_trap_1_no_provenance_of_supervised_weights(tmp_path: Path) -> None:
    save_encoder(create_encoder("resnet18", 32), tmp_path, PROVENANCE | {"origin_url": "https://example.org/run"})
    described = config_of(tmp_path)["pretrained_cfg"]
    assert described["tag"] == "rotation_cliparts_unlabeled"
    assert described["license"] == "apache-2.0"
    assert described["input_size"] == [3, 32, 32]
    assert described["origin_url"] == "https://example.org/run"
    assert described.keys().isdisjoint({"paper_ids", "url", "hf_hub_id", "test_input_size", "label_names"})
    text = (tmp_path / "config.json").read_text()
    assert "in1k" not in text and "2110.00476" not in text
    plain = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert tuple(resolve_model_data_config(plain)["input_size"]) == (3, 32, 32)


def test_trap_1_the_normalisation_is_the_one_trained_with(tmp_path: Path) -> None:
    save_encoder(trained(channels=1), tmp_path, PROVENANCE)
    plain = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    data = resolve_model_data_config(plain)
    assert [list(data[key]) for key in ("input_size", "mean", "std")] == [[1, 32, 32], [0.5], [0.5]]


def test_trap_2_the_config_says_that_there_is_no_classifier(tmp_path: Path) -> None:
    save_encoder(trained(), tmp_path, PROVENANCE)
    config = config_of(tmp_path)
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == 0
    assert config["pretrained_cfg"]["classifier"] == "fc"
    del config["num_classes"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="num_classes is not 0"):
        load_encoder(tmp_path)


def test_trap_3_a_lost_layer_is_an_error_even_if_the_checksum_was_mended(tmp_path: Path) -> None:
    save_encoder(trained("test_vit"), tmp_path, PROVENANCE)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["blocks.1.attn.qkv.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="sha256"):
        load_encoder(tmp_path)
    mend_checksum(tmp_path)
    with pytest.raises(UserError, match=r"1 missing: blocks\.1\.attn\.qkv\.weight"):
        load_encoder(tmp_path)
    timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=10)  # timm says nothing


def test_trap_4_the_arguments_of_the_architecture_are_written(tmp_path: Path) -> None:
    save_encoder(trained("test_vit", 32, 4, ("patch_size=4", "reg_tokens=1")), tmp_path, PROVENANCE)
    assert config_of(tmp_path)["model_args"] == {"img_size": 32, "in_chans": 4, "patch_size": 4, "reg_tokens": 1}


def test_trap_4_weights_are_never_resampled_to_fit(tmp_path: Path) -> None:
    save_encoder(trained("test_vit", 32, 3, ("patch_size=4",)), tmp_path, PROVENANCE)
    edit_config(tmp_path, model_args={})
    timm.create_model(f"local-dir:{tmp_path}", pretrained=True)  # timm resamples in silence
    with pytest.raises(UserError, match=r"of the wrong shape: .*(patch_embed|pos_embed)"):
        load_encoder(tmp_path)


def test_trap_5_shared_tensors_are_written_under_each_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = EncoderSpec.build

    def build_tied(spec: EncoderSpec) -> nn.Module:
        encoder = build(spec)
        first, second = encoder.get_submodule("layer2.0.bn1"), encoder.get_submodule("layer2.0.bn2")
        second.weight = first.weight
        return encoder

    monkeypatch.setattr(EncoderSpec, "build", build_tied)
    encoder = create_encoder("test_resnet", 32).eval()
    save_encoder(encoder, tmp_path, PROVENANCE)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert {"layer2.0.bn1.weight", "layer2.0.bn2.weight"} <= set(file.keys())
    load_encoder(tmp_path)


def test_tensors_start_where_processors_like_it(tmp_path: Path) -> None:
    save_encoder(trained("test_resnet"), tmp_path, PROVENANCE)
    content = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    offsets = [8 + length + entry["data_offsets"][0] for entry in header.values() if entry["dtype"] == "F32"]
    assert len(offsets) > 50 and all(offset % 64 == 0 for offset in offsets)


def test_every_number_format_is_written_as_safetensors_reads_it(tmp_path: Path) -> None:
    formats = (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.uint8,
        torch.bool,
    )
    state = {str(kind): torch.arange(7).reshape(7, 1).to(kind) for kind in formats}
    state |= {
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "turned": torch.rand(3, 4).t(),
        "größe": torch.ones(1),
    }
    state["shared"] = state["turned"]
    digest = write_weights(state, tmp_path / "model.safetensors")
    assert digest == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) and found[name].dtype == state[name].dtype for name in state)


def test_trap_6_nothing_in_the_config_keeps_transformers_away(tmp_path: Path) -> None:
    save_encoder(trained(), tmp_path, PROVENANCE)
    config = config_of(tmp_path)
    assert "model_type" not in config
    assert "num_classes" not in config["model_args"]
    edit_config(tmp_path, model_type="sslzoo")
    with pytest.raises(UserError, match="model_type"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_args": {"num_classes": 0}}))
    with pytest.raises(UserError, match="model_args may not set num_classes"):
        load_encoder(tmp_path)


def test_trap_6_transformers_puts_a_classifier_on(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    save_encoder(trained(), tmp_path, PROVENANCE)
    transformers.utils.logging.disable_progress_bar()
    classifier = transformers.AutoModelForImageClassification.from_pretrained(str(tmp_path), num_labels=10)
    assert classifier(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 10)


def test_plain_timm_reads_it_without_sslzoo(tmp_path: Path) -> None:
    encoder = trained()
    save_encoder(encoder, tmp_path / "encoder", PROVENANCE)
    save_file({"images": images(encoder)}, tmp_path / "images.safetensors")
    script = f"""
import sys
sys.modules["sslzoo"] = sys.modules["sslzoo_plugins"] = None  # an import of these would fail
import safetensors.torch, timm
images = safetensors.torch.load_file("images.safetensors")["images"].clone()  # where tensors like it
encoder = timm.create_model("local-dir:{tmp_path}/encoder", pretrained=True).eval()
safetensors.torch.save_file({{"features": encoder(images).detach()}}, "features.safetensors")
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        assert torch.equal(load_file(tmp_path / "features.safetensors")["features"], encoder(images(encoder)))


@pytest.mark.parametrize(
    ("architecture", "args"),
    [
        ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 3, 4]}),
        ("eva02_tiny_patch14_224", {"depth": 1}),
    ],
)
def test_tables_that_are_computed_and_not_saved_are_right(
    architecture: str, args: dict[str, Any], tmp_path: Path
) -> None:
    spec = EncoderSpec(architecture, InputSpec.square(56), {"img_size": 56, **args})
    encoder = spec.build().eval()
    saved = encoder.state_dict().keys()
    tables = {name: table for name, table in encoder.named_buffers() if name not in saved}
    assert tables
    save_encoder(encoder, tmp_path, PROVENANCE)
    loaded = load_encoder(tmp_path)
    assert all(torch.equal(loaded.get_buffer(name), table) for name, table in tables.items())
    assert [check for check in verify(tmp_path) if not check.ok] == []
    with torch.no_grad():
        assert torch.equal(loaded(images(encoder)), encoder(images(encoder)))


def test_loading_draws_no_random_number(tmp_path: Path) -> None:
    save_encoder(trained(), tmp_path, PROVENANCE)
    before = torch.get_rng_state()
    load_encoder(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_written_does_not_depend_on_how_it_was_trained(tmp_path: Path) -> None:
    encoder = trained()
    save_encoder(encoder, tmp_path / "plain", PROVENANCE)
    encoder = encoder.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    save_encoder(encoder, tmp_path / "other", PROVENANCE)
    assert encoder.training
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "encoder"
    save_encoder(trained(seed=1), folder, PROVENANCE)
    (folder / "README.md").write_text("of the old weights")
    (tmp_path / "run" / ".encoder.new").mkdir()  # of a save that was killed
    save_encoder(trained(seed=2), folder, PROVENANCE)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["encoder"]
    load_encoder(folder)


def test_a_folder_is_not_given_up_for_one_that_the_disk_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync
    synced: list[str] = []

    def noted(handle: int) -> None:
        assert (tmp_path / "saved" / "model.safetensors").exists()
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).relative_to(tmp_path).as_posix())
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    save_encoder(trained(), tmp_path / "saved", PROVENANCE)
    assert not synced, "nothing is lost if this one is"
    save_encoder(trained(seed=1), tmp_path / "saved", PROVENANCE)
    assert {".saved.new", ".saved.new/model.safetensors", ".saved.new/config.json"} <= set(synced)


def test_a_save_that_fails_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_encoder(trained(seed=1), tmp_path / "encoder", PROVENANCE)
    before = (tmp_path / "encoder" / "model.safetensors").read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sslzoo.hub.folder.config_text", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_encoder(trained(seed=2), tmp_path / "encoder", PROVENANCE)
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]
    assert (tmp_path / "encoder" / "model.safetensors").read_bytes() == before
    load_encoder(tmp_path / "encoder")


def test_an_encoder_that_its_spec_does_not_describe_is_refused(tmp_path: Path) -> None:
    encoder = trained()
    encoder.fc = nn.Linear(4, 4)
    with pytest.raises(UserError, match=r"not what its spec describes.*fc\.weight"):
        save_encoder(encoder, tmp_path / "encoder", PROVENANCE)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_without_finite_features_is_refused(tmp_path: Path) -> None:
    encoder = trained()
    with torch.no_grad():
        encoder.get_parameter("conv1.0.weight").fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        save_encoder(encoder, tmp_path / "encoder", PROVENANCE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("architecture", "size"), [("test_resnet", 64), ("test_resnet", 224), ("test_convnext", 64), ("test_vit", 64)]
)
def test_fingerprint_notices_each_single_layer_drawn_anew(architecture: str, size: int) -> None:
    encoder, fresh = trained(architecture, size), create_encoder(architecture, size, seed=99)
    stored = json.loads(json.dumps(fingerprint(encoder)))
    layers = [name for name, layer in encoder.named_modules() if [*layer.parameters(recurse=False)]]
    assert len(layers) > 25
    for name in layers:
        layer = encoder.get_submodule(name)
        kept = {key: tensor.clone() for key, tensor in own_state(layer).items()}
        layer.load_state_dict(own_state(fresh.get_submodule(name)), strict=False)
        with pytest.raises(UserError, match="not those of the encoder"):
            check(encoder, stored)
        layer.load_state_dict(kept, strict=False)
    assert check(encoder, stored) == check(encoder, stored) < TOLERANCE / 100


def own_state(layer: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in layer.state_dict().items() if "." not in name}


def test_fingerprint_notices_the_loss_of_each_normalisation_statistic() -> None:
    encoder = trained("test_resnet", 64)
    stored = fingerprint(encoder)
    statistics = {name: buffer for name, buffer in encoder.named_buffers() if name.endswith(("_mean", "_var"))}
    assert len(statistics) > 10
    for name, buffer in statistics.items():
        kept = buffer.clone()
        buffer.fill_(1.0 if name.endswith("_var") else 0.0)
        with pytest.raises(UserError, match="not those of the encoder"):
            check(encoder, stored)
        buffer.copy_(kept)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext", "test_vit"])
def test_fingerprint_forgives_what_memory_formats_and_threads_do(architecture: str) -> None:
    encoder = trained(architecture, 64)
    stored = fingerprint(encoder)
    torch.set_num_threads(2)
    assert check(encoder.to(memory_format=torch.channels_last), stored) < TOLERANCE / 20  # type: ignore[call-overload]


def test_fingerprint_holds_on_an_older_processor(tmp_path: Path) -> None:
    names = ("test_resnet", "test_convnext", "test_vit")
    for name in names:
        save_encoder(trained(name, 64), tmp_path / name, PROVENANCE)
    script = f"""
from sslzoo.hub.load import load_encoder
for name in {names}:
    load_encoder(name)
"""
    older = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **older}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def mend_checksum(folder: Path) -> None:
    ours = config_of(folder)["sslzoo"]
    ours["weights_sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    edit_config(folder, sslzoo=ours)


@pytest.mark.parametrize(
    ("architecture", "trained_with", "taken_with"),
    [
        ("test_resnet", 160, 64),
        ("test_resnet", 48, 48),
        ("test_vit", 160, 160),  # takes one size
        ("inception_v4", 80, 80),  # has nothing left of less than 75 pixels
    ],
)
def test_fingerprint_is_taken_with_a_small_image_where_the_encoder_takes_one(
    architecture: str, trained_with: int, taken_with: int
) -> None:
    encoder = create_encoder(architecture, trained_with).eval()
    assert fingerprint(encoder)["size"] == [3, taken_with, taken_with]


def test_fingerprint_of_a_large_image_can_still_be_checked() -> None:
    encoder = trained("test_resnet", 96)
    stored = fingerprint_of_size(encoder, (3, 96, 96))
    del stored["size"]  # as it was before there were small ones
    assert check(encoder, stored) < TOLERANCE / 100
    with pytest.raises(UserError, match="not those of the encoder"):
        check(trained("test_resnet", 96, seed=1), stored)


@pytest.mark.parametrize("size", ["3x64x64", [3, 64], [3, 64, 64.0], [1, 64, 64], [3, 0, 64], [3, 64, 99999]])
def test_fingerprint_of_an_input_that_cannot_be_is_refused(size: Any) -> None:
    encoder = trained("test_resnet", 64)
    with pytest.raises(UserError, match="its fingerprint is"):
        check(encoder, fingerprint(encoder) | {"size": size})
