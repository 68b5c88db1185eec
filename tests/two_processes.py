"""Two real processes that gloo joins, for what cannot be seen on one."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist

from sslzoo.testing.conformance.children import Job, results

T = TypeVar("T")


def on_two_processes(function: Callable[[], T]) -> list[T]:
    """What ``function``, of the top level of a test file, returns on process 0 and on process 1."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(_joined, function, rank, Path(folder) / "store") for rank in range(2)]
        return [pickle.loads(returned) for returned in results(jobs)]


def _joined(function: Callable[[], T], rank: int, store: Path) -> bytes:
    """What it returns, pickled here: tensors on their way to another process are lost when theirs ends."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    try:
        return pickle.dumps(function())
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
