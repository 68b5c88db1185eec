"""The pretraining loop, the same for every method."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import broadcast, send_to_device
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from sslzoo import card, figures, hub
from sslzoo.checkpoint import load_checkpoint, save_checkpoint
from sslzoo.config import PretrainConfig, UserError
from sslzoo.data.loader import KeyedOrder, UnreadableTally, train_loader
from sslzoo.data.source import Source
from sslzoo.display import Display
from sslzoo.encoders import create_encoder, spec_of
from sslzoo.features import extract
from sslzoo.interrupt import Interrupt, Interrupted
from sslzoo.log import COLLAPSED, Log, Spread, Watch
from sslzoo.machine import Resolved, resolve
from sslzoo.method import Batch, PretextMethod
from sslzoo.nn.ema import ema_update, frozen_copy
from sslzoo.nn.schedules import rate_factor
from sslzoo.optimizers import build_optimizer, peak_rate, set_rate
from sslzoo.record import check_same_run, new_record, read_record, write_record
from sslzoo.run import Progress, Run
from sslzoo.views.keyed import Draw


def pretrain(
    method_type: type[PretextMethod],
    method_config: Any,
    config: PretrainConfig,
    source: Source,
    out: Path,
    validation: Source | None = None,
) -> Path:
    """Pretrain, or go on exactly where a stopped run in ``out`` left off; return ``out``.

    Raises:
        UserError: for anything the user can mend, in one line.
        Interrupted: after Ctrl-C or SIGTERM, when the checkpoint is written.
    """
    begun = read_record(out)
    state = PartialState()
    resolved = resolve(config, state.device, state.num_processes)
    if begun:  # a run keeps the arithmetic it began with
        resolved = dataclasses.replace(resolved, precision=begun["environment"]["precision"], threads=begun["environment"]["threads"])
    torch.set_num_threads(resolved.threads)
    accelerator = Accelerator(
        mixed_precision="no" if resolved.precision == "fp32" else resolved.precision,
        gradient_accumulation_steps=config.accumulate,
        # Buffers are equal on all processes by contract; sending a memory bank around at each step would be waste.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
        log_with=None if config.tracker == "none" else config.tracker,
        project_dir=out,
    )
    ...
