"""What is logged, and the watch over it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from sslzoo.log import Log, Spread, Watch


def test_lines_after_the_checkpoint_and_half_lines_are_dropped(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in (10, 20, 30)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + '\n{"step": 4')
    log = Log(tmp_path, Accelerator(cpu=True), step=20)
    log.write(30, {"loss": 2.0})
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        {"step": 10, "loss": 1.0},
        {"step": 20, "loss": 1.0},
        {"step": 30, "loss": 2.0},
    ]


def test_the_first_step_that_is_not_finite_is_remembered_with_its_name() -> None:
    watch = Watch()
    for step, value in enumerate([1.0, 2.0, float("nan"), 1.0, float("inf")]):
        watch.see(step, {"loss": torch.tensor(1.0), "generator_loss": torch.tensor(value)})
    trouble = watch.trouble(Accelerator(cpu=True))
    assert trouble is not None and trouble.text.startswith("generator_loss stopped being finite at step 2;")
    assert trouble.stops("non-finite") and trouble.stops("collapse") and not trouble.stops("never")


def test_finite_losses_are_no_trouble() -> None:
    watch = Watch()
    assert watch.trouble(Accelerator(cpu=True)) is None
    watch.see(1, {"loss": torch.tensor(1.0)})
    assert watch.trouble(Accelerator(cpu=True)) is None


def test_spread_is_one_on_the_sphere_and_zero_for_equal_features() -> None:
    encoder = nn.Identity()
    spread = Spread(encoder)
    assert spread() is None
    encoder(torch.randn(4096, 64, generator=torch.Generator().manual_seed(0)))
    value = spread()
    assert value is not None and float(value) == pytest.approx(1.0, abs=0.02)
    assert spread.trouble(5, float(value)) is None
    encoder(torch.ones(16, 64) + 1e-6 * torch.randn(16, 64))
    collapsed = spread()
    assert collapsed is not None
    trouble = spread.trouble(7, float(collapsed))
    assert trouble is not None and "at step 7" in trouble.text
    assert trouble.stops("collapse") and not trouble.stops("non-finite")
