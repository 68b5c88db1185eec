"""Two real processes that gloo joins, for what cannot be seen on one. A start costs seconds: test much in one."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


def on_two_processes(function: Callable[[], T]) -> list[T]:
    """What ``function``, of the top level of a test file, returns on process 0 and on process 1."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        started = [pool.submit(_joined, function, rank, Path(folder) / "store") for rank in range(2)]
        return [process.result(timeout=120) for process in started]


def _joined(function: Callable[[], T], rank: int, store: Path) -> T:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    try:
        return function()
    finally:
        dist.destroy_process_group()


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def average_gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What DDP makes of the gradients, by name; those of one process if there is one."""
    gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    if world() > 1:
        for gradient in gradients.values():
            dist.all_reduce(gradient)
            gradient /= world()
    return gradients
