"""Checkpoints are written whole or not at all."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from sslzoo.checkpoint import atomic_write, checkpoint_steps, load_checkpoint, save_checkpoint
from sslzoo.config import UserError


def some_state(seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3, 2, 2, generator=generator).to(memory_format=torch.channels_last)
    model = {"weight": weight, "count": torch.tensor(3), "half": weight.bfloat16()}
    optimizer = {"state": {0: {"momentum_buffer": weight * 2, "step": 7}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return {
        "run": "abc",
        "method": model,
        "optimizer": optimizer,
        "average": None,
        "names": ["a", "b"],
        "nan": float("inf"),
    }


def assert_same(left: object, right: object) -> None:
    if isinstance(left, torch.Tensor):
        assert isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    elif isinstance(left, dict):
        assert isinstance(right, dict) and list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert type(left) is type(right)
        for one, other in zip(left, right, strict=True):  # type: ignore[arg-type]
            assert_same(one, other)
    else:
        assert left == right and type(left) is type(right)


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, some_state())
    assert_same(some_state(), load_checkpoint(tmp_path))


def test_an_optimizer_goes_on_from_a_loaded_state(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path, 1, optimizer.state_dict())
    fresh = torch.optim.AdamW(layer.parameters())
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    fresh.load_state_dict(loaded)
    assert_same(optimizer.state_dict(), fresh.state_dict())


def test_the_newest_and_the_one_before_it_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, some_state(step))
    assert sorted(checkpoint_steps(tmp_path)) == [2, 3]
    assert_same(some_state(3), load_checkpoint(tmp_path))


def test_the_left_over_of_a_killed_write_is_ignored_and_swept(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, some_state(1))
    partial = tmp_path / ".step-00000002.partial"
    partial.mkdir()
    (partial / "tensors.safetensors").write_bytes(b"half")
    assert_same(some_state(1), load_checkpoint(tmp_path))
    save_checkpoint(tmp_path, 3, some_state(3))
    assert not partial.exists()


def test_a_disk_that_takes_no_more_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, some_state(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(UserError, match="step 2 could not be written .* the one of step 1 is intact.*Make room"):
            save_checkpoint(tmp_path, 2, some_state(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert_same(some_state(1), load_checkpoint(tmp_path))


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    folder = save_checkpoint(tmp_path, 1, some_state())
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="step-00000001 is damaged"):
        load_checkpoint(tmp_path)


def test_what_a_checkpoint_cannot_hold_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold a object"):
        save_checkpoint(tmp_path, 1, {"x": object()})
    assert load_checkpoint(tmp_path) is None


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as partial:
        partial.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old" and [item.name for item in tmp_path.iterdir()] == ["run.json"]
