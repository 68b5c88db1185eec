"""What the machine offers, resolved once at the start of a run and recorded with it."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState
from torch import nn

from sslzoo.config import PretrainConfig, UsageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resolved:
    """Settings that were left open, decided for this machine."""

    device: str
    processes: int
    precision: str
    """fp32, bf16 or fp16."""
    threads: int
    """Threads of each training process."""
    workers: int
    """Loader processes of each training process."""


def join_processes() -> PartialState:
    """This process's place among those that torchrun or accelerate started."""
    # Without a GPU accelerate must be told so, or processes that torchrun started would not know of each other.
    cpu = not torch.accelerator.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    state = PartialState(cpu=cpu)
    if cpu and state.num_processes == 1 and "MASTER_ADDR" in os.environ:
        logger.warning(
            "accelerate launch --cpu starts one process, whatever --num_processes says (accelerate issue 2741); "
            "for two, start: torchrun --standalone --nproc-per-node 2 -m sslzoo ..."
        )
    return state


def resolve(config: PretrainConfig, device: torch.device, processes: int) -> Resolved:
    """Decide precision, threads and workers for ``processes`` training processes on this machine.

    Busy threads beyond the cores cost far more than they bring: those that train wait for each other many times a step.
    On CPU a quarter of the cores load and the rest train; with one or two cores the training process loads as well.
    ``OMP_NUM_THREADS`` wins.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    share = max(1, usable_cores() // local)
    on_cpu = device.type == "cpu"
    loading = 0 if on_cpu and share <= 2 else max(1, share // 4 if on_cpu else share - 1)
    workers = config.workers if config.workers >= 0 else min(loading, 8)
    training = max(1, share - workers) if share > 2 else share
    return Resolved(
        device=device.type,
        processes=processes,
        precision=best_precision(device) if config.precision == "auto" else config.precision,
        threads=config.threads or int(os.environ.get("OMP_NUM_THREADS", training)),
        workers=workers,
    )


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def best_precision(device: torch.device) -> str:
    """bf16 where the processor computes in it; emulated bf16 is slower than fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        offers = torch.cpu.get_capabilities()
        return "bf16" if offers.get("avx512_bf16") or offers.get("amx_bf16") or offers.get("bf16") else "fp32"
    return "fp32"


def start_accelerator(config: PretrainConfig, resolved: Resolved, out: Path) -> Accelerator:
    """Accelerate's hold on devices, processes and precision, with the tracker started.

    Raises:
        UsageError: if the tracker is not installed, which accelerate would pass over in silence.
    """
    if config.tracker != "none" and find_spec(config.tracker) is None:
        raise UsageError(
            f"--tracker {config.tracker} needs a package that is not installed: pip install {config.tracker}"
        )
    torch.set_num_threads(resolved.threads)
    # Accelerate keeps the first precision of a process for good; a second run may want another.
    AcceleratorState._reset_state(reset_partial_state=False)
    accelerator = Accelerator(
        mixed_precision="no" if resolved.precision == "fp32" else resolved.precision,
        gradient_accumulation_steps=config.accumulate,
        # Buffers are equal on all processes by contract; sending a memory bank around at each step would be waste.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
        log_with=None if config.tracker == "none" else config.tracker,
        project_dir=out,
    )
    if config.tracker != "none":
        settings = {name: value for name, value in asdict(config).items() if not isinstance(value, tuple)}
        accelerator.init_trackers("sslzoo", config=settings)
    return accelerator


def splits_batch_statistics(accelerator: Accelerator, method: nn.Module) -> bool:
    """Whether several processes make another computation than one: batch norm sees a part of the batch only."""
    layers = (module for module in method.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return accelerator.num_processes > 1 and any(not isinstance(layer, nn.SyncBatchNorm) for layer in layers)
