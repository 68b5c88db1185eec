"""Frozen features: what they are, what extracting them leaves untouched, and when they are found again."""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_source import TinySource
from torch import Tensor, nn

from sslzoo.config import UserError, cache_folder
from sslzoo.data.loader import eval_loader
from sslzoo.encoders import create_encoder, spec_of
from sslzoo.features import cached_features, extract

SHAPES = {
    "test_resnet": {"stage0": 32, "stage1": 32, "stage2": 48, "stage3": 192, "stage4": 96, "final": 96},
    "test_convnext": {"stage0": 24, "stage1": 32, "stage2": 48, "stage3": 64, "final": 64},
    "test_vit": {**{f"stage{i}": 64 for i in range(6)}, "final": 64},
}


def encoder_of(architecture: str = "test_resnet", channels: int = 3, seed: int = 0) -> nn.Module:
    return create_encoder(architecture, 32, channels, seed=seed).eval()


def images_of(encoder: nn.Module, source: TinySource) -> Tensor:
    return next(iter(eval_loader(source, spec_of(encoder).input, len(source), 0)))["image"]


def count_images(encoder: nn.Module) -> list[int]:
    """A list that grows by the batch size whenever the encoder's first convolution runs."""
    seen: list[int] = []
    first = next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    return seen


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("architecture", SHAPES)
def test_final_features_are_the_encoders_own_output(architecture: str, channels: int) -> None:
    encoder, source = encoder_of(architecture, channels), TinySource(7)
    features = extract(encoder, source, layers=True, batch_size=3)
    with torch.no_grad():
        expected = encoder(images_of(encoder, source))
    torch.testing.assert_close(features.final, expected, rtol=1e-4, atol=1e-5)
    assert features.layers["final"] is features.final
    assert features.index.tolist() == list(range(7))


@pytest.mark.parametrize("architecture", SHAPES)
def test_layers_are_all_stages_averaged_over_space(architecture: str) -> None:
    encoder, source = encoder_of(architecture), TinySource(5)
    layers = extract(encoder, source, layers=True).layers
    assert {name: tuple(rows.shape) for name, rows in layers.items()} == {
        name: (5, dim) for name, dim in SHAPES[architecture].items()
    }
    assert list(layers) == list(SHAPES[architecture])
    with torch.no_grad():
        _, stages = encoder.forward_intermediates(images_of(encoder, source))
    for i, stage in enumerate(stages):
        torch.testing.assert_close(layers[f"stage{i}"], stage.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)


def test_layers_do_not_change_the_final_features() -> None:
    encoder = encoder_of("test_vit")
    assert torch.equal(extract(encoder, TinySource(5)).final, extract(encoder, TinySource(5), layers=True).final)


def test_all_layers_come_from_one_pass() -> None:
    encoder = encoder_of()
    seen = count_images(encoder)
    extract(encoder, TinySource(9), layers=True, batch_size=4)
    assert [count for count in seen if count > 1] == [4, 4]
    assert seen.count(1) == 3  # two for trying out, and the last batch


def test_an_encoder_with_an_output_of_its_own_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, source = encoder_of(), TinySource(4)
    plain, forward = extract(encoder, source, layers=True), type(encoder).forward
    monkeypatch.setattr(type(encoder), "forward", lambda self, images: 2 * forward(self, images))
    doubled = extract(encoder, source, layers=True)
    assert torch.equal(doubled.final, 2 * plain.final)
    assert torch.equal(doubled.layers["stage2"], plain.layers["stage2"])


def test_an_encoder_that_does_not_tell_its_stages_has_the_final_layer_only() -> None:
    class Plain(nn.Module):
        def __init__(self, encoder: nn.Module) -> None:
            super().__init__()
            self.encoder, self.spec = encoder, spec_of(encoder)

        def forward(self, images: Tensor) -> Tensor:
            return self.encoder(images)

    encoder = encoder_of()
    layers = extract(Plain(encoder), TinySource(4), layers=True).layers
    assert list(layers) == ["final"] and torch.equal(layers["final"], extract(encoder, TinySource(4)).final)


def test_every_module_is_left_in_the_mode_it_had() -> None:
    encoder = encoder_of().train()
    frozen = next(module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    before = copy.deepcopy(encoder.state_dict())
    features = extract(encoder, TinySource(4))
    assert encoder.training and not frozen.training
    assert sum(not module.training for module in encoder.modules()) == 1
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert torch.is_grad_enabled() and not features.final.requires_grad
    assert torch.equal(features.final, extract(encoder.eval(), TinySource(4)).final)


def test_features_can_be_trained_on_and_the_encoder_goes_on_training() -> None:
    encoder = encoder_of("test_vit").train()
    features = extract(encoder, TinySource(4), layers=True)
    head = nn.Linear(64, 1)
    (head(features.final).sum() + encoder(torch.zeros(2, 3, 32, 32)).sum()).backward()
    assert head.weight.grad is not None and encoder.patch_embed.proj.weight.grad is not None


def test_autocast_around_it_does_not_lower_the_precision() -> None:
    encoder = encoder_of()
    with torch.autocast("cpu", torch.bfloat16):
        inside = extract(encoder, TinySource(4), layers=True)
    outside = extract(encoder, TinySource(4), layers=True)
    assert inside.final.dtype == torch.float32 and torch.equal(inside.final, outside.final)


def test_unreadable_samples_are_left_out_and_the_index_says_so() -> None:
    encoder, source = encoder_of(), TinySource(120, broken=(3,))
    features = extract(encoder, source)
    assert features.index.tolist() == [i for i in range(120) if i != 3]
    whole = extract(encoder, TinySource(120))
    torch.testing.assert_close(features.final, whole.final[features.index], rtol=1e-4, atol=1e-5)


def test_too_many_unreadable_samples_are_an_error() -> None:
    with pytest.raises(UserError, match="2 of 12 samples of tiny.* cannot be read"):
        extract(encoder_of(), TinySource(12, broken=(3, 5)))


def test_a_data_set_without_samples_is_an_error() -> None:
    with pytest.raises(UserError, match=r"tiny\[train\] has no samples"):
        extract(encoder_of(), TinySource(0))


class ThreadedAccelerator:
    """``gather`` among threads that stand for processes."""

    device = torch.device("cpu")

    def __init__(self, process_index: int, num_processes: int, shared: dict[str, Any]) -> None:
        self.process_index, self.num_processes, self.shared = process_index, num_processes, shared

    def gather(self, tensor: Tensor) -> Tensor:
        self.shared["tensors"][self.process_index] = tensor
        self.shared["barrier"].wait(timeout=60)
        together = torch.cat([self.shared["tensors"][process] for process in range(self.num_processes)])
        self.shared["barrier"].wait(timeout=60)
        return together


@pytest.mark.parametrize(("samples", "processes"), [(11, 3), (2, 3)])
def test_every_process_gets_all_features_in_the_order_of_the_data(samples: int, processes: int) -> None:
    encoder, source = encoder_of(), TinySource(samples)
    shared: dict[str, Any] = {"tensors": {}, "barrier": threading.Barrier(processes)}
    found: dict[int, Any] = {}

    def work(process: int) -> None:
        accelerator: Any = ThreadedAccelerator(process, processes, shared)
        own = copy.deepcopy(encoder)
        found[process] = extract(own, source, layers=True, batch_size=2, accelerator=accelerator)

    threads = [threading.Thread(target=work, args=(process,)) for process in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = extract(encoder, source, layers=True)
    for features in found.values():
        assert torch.equal(features.index, alone.index)
        for name, rows in alone.layers.items():
            torch.testing.assert_close(features.layers[name], rows, rtol=1e-4, atol=1e-5)


def test_a_second_call_does_not_run_the_encoder() -> None:
    encoder = encoder_of()
    first = cached_features(encoder, TinySource(), layers=True)
    seen = count_images(encoder)
    second = cached_features(encoder, TinySource(name="the same under another name"), layers=True)
    assert seen == [] and list(second.layers) == list(first.layers)
    assert torch.equal(second.index, first.index) and torch.equal(second.final, first.final)
    assert all(torch.equal(second.layers[name], rows) for name, rows in first.layers.items())


def test_the_final_features_are_taken_from_a_file_with_all_layers() -> None:
    encoder = encoder_of()
    layered = cached_features(encoder, TinySource(), layers=True)
    seen = count_images(encoder)
    final = cached_features(encoder, TinySource())
    assert seen == [] and final.layers == {} and torch.equal(final.final, layered.final)


def test_other_weights_statistics_data_or_input_are_not_found_in_the_cache() -> None:
    def ran(encoder: nn.Module, source: TinySource) -> bool:
        seen = count_images(encoder)
        cached_features(encoder, source)
        return bool(seen)

    encoder, source = encoder_of(), TinySource()
    assert ran(encoder, source) and not ran(encoder_of(), source)
    assert ran(encoder, TinySource(seed=1)) and ran(encoder_of(seed=1), source)
    with torch.no_grad():
        encoder.conv1[0].weight[0, 0, 0, 0] += 1e-3  # type: ignore[index]
    assert ran(encoder, source)
    moved = encoder_of()
    next(module for module in moved.modules() if isinstance(module, nn.BatchNorm2d)).running_mean[0] += 1  # type: ignore[index]
    assert ran(moved, source)
    assert ran(create_encoder("test_resnet", 48, seed=0).eval(), source)


@pytest.mark.parametrize("damage", [b"", b"not safetensors at all", None])
def test_a_damaged_cache_file_is_replaced(damage: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    encoder = encoder_of()
    first = cached_features(encoder, TinySource())
    [path] = (cache_folder() / "features").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-50] if damage is None else damage)
    again = cached_features(encoder, TinySource())
    assert torch.equal(again.final, first.final) and "damaged" in caplog.text
    assert path.read_bytes() == whole and len(list(path.parent.iterdir())) == 1


def test_a_full_disk_costs_the_cache_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(tensors: dict[str, Tensor], path: str, metadata: dict[str, str]) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sslzoo.features.cache.save_file", full)
    assert len(cached_features(encoder_of(), TinySource()).final) == 12
    assert "No space left" in caplog.text and not list((cache_folder() / "features").iterdir())


def test_a_cache_folder_that_cannot_be_made_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "file"))
    assert len(cached_features(encoder_of(), TinySource()).final) == 12


def test_the_cache_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("SSLZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "sslzoo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "sslzoo"
