"""What a step costs, against what its encoder costs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sslzoo.testing.conformance.subject import BATCH, Subject
from sslzoo.testing.conformance.views import Verdict

REAL_SIZE = {"test_resnet": "resnet18", "test_vit": "vit_tiny_patch16_224"}
"""Next to the tiny encoders of the other checks, anything looks expensive; not next to test_r3d, which on a clip costs
what resnet18 does on an image."""
MOST_WASTE = 3.0
"""Time of a step, over that of its matrix products at the pace of its encoder's."""
MOST_PASSES = 6.0
"""Images that go through the encoder, over those in the batch."""
ROUNDS = 3
"""At most, as what else the machine does can only make a time longer."""
NO_DOUBT = 1.5
"""Waste at which one round is enough."""
CHANNELS = 3


def check_cost(subject: Subject, folder: Path) -> Iterator[Verdict]:
    """Time a step and a pass of its encoder in turns, in processor time of one thread."""
    training = replace(subject, encoder=REAL_SIZE.get(subject.encoder, subject.encoder)).training(folder)
    method, encoder = training.method, training.method.encoder
    method.on_epoch_start(training.run)
    method.train()
    (batch,) = next(training.batches.steps(0, 0))
    passed: list[Tensor] = []
    hook = encoder.register_forward_hook(lambda module, inputs, output: passed.append(inputs[0].detach()))

    def step() -> None:
        method(dict(batch))["loss"].backward()

    step_work = _work(step)
    hook.remove()
    images = max(passed, key=Tensor.numel, default=torch.randn(BATCH, *subject.spec.shape))

    def alone() -> None:
        encoder(images).square().mean().backward()

    passes = sum(map(_images, passed)) / _images(batch)
    if passes > MOST_PASSES:
        yield "step-cost", f"{passes:.0f} times as many images go through the encoder as the batch holds"
        return
    waste = _waste(step, step_work, alone, _work(alone))
    slow = f"a step takes {waste:.1f} times as long as its matrix products at its encoder's pace"
    yield "step-cost", slow if waste > MOST_WASTE else ""


def _work(run: Callable[[], None]) -> int:
    """Floating-point operations of matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def _waste(step: Callable[[], None], step_work: int, alone: Callable[[], None], alone_work: int) -> float:
    """Processor time of a step for each of its operations, over that of its encoder alone; the least of each, in turns.

    Other programs on the machine do not count.
    """
    step_time = alone_time = math.inf
    for _ in range(ROUNDS):
        step_time, alone_time = min(step_time, _time(step)), min(alone_time, _time(alone))
        waste = (step_time / step_work) / (alone_time / alone_work)
        if waste < NO_DOUBT:
            break
    return waste


def _time(run: Callable[[], None]) -> float:
    began = time.thread_time()
    run()
    return time.thread_time() - began


def _images(batch: Any) -> float:
    """How many images there are in a batch: tiles and frames, of clips too, count as images, a grey one as a third."""
    if isinstance(batch, dict):
        return sum(map(_images, batch.values()))
    if isinstance(batch, list | tuple):
        return sum(map(_images, batch))
    return batch[..., 0, 0].numel() / CHANNELS if isinstance(batch, Tensor) and batch.ndim >= 4 else 0.0
