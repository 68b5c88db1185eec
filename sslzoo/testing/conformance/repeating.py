"""The same run again: stopped and resumed, and on two processes."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sslzoo.checkpoint import load_checkpoint
from sslzoo.interrupt import Interrupted
from sslzoo.testing.conformance.children import Job, results
from sslzoo.testing.conformance.subject import Subject
from sslzoo.testing.conformance.views import Verdict, difference

STOPPED_AFTER = 4
"""Inside the second epoch."""
TOLERANCE = 1e-3
"""Of a gradient that is added up in another order, as a share of its length."""
_STILL = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def check_resume(subject: Subject, folder: Path) -> Iterator[Verdict]:
    """A run, and one that is stopped by a signal and goes on in another process."""
    whole, stopped = folder / "whole", folder / "stopped"
    results([Job(_train, subject, whole, 0), Job(_train, subject, stopped, STOPPED_AFTER)])
    Job(_train, subject, stopped, 0).result()
    yield "resume", _other_run(whole, stopped)


def check_processes(subject: Subject, folder: Path) -> Iterator[Verdict]:
    """The gradients of one process and of two, and the buffers of both."""
    port = str(_free_port())
    jobs = [Job(_gradients, subject, folder / "one")]
    for rank in range(2):
        environment = {
            "ACCELERATE_USE_CPU": "true",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
        }
        jobs.append(Job(_gradients, subject, folder / "two", environment=environment))
    results(jobs)
    yield "two-processes", _other_gradient(folder) or _other_buffers(folder / "two")


def _train(subject: Subject, folder: Path, stop_after: int) -> None:
    """Begin the run in ``folder`` or go on; with ``stop_after`` ask it to stop after so many steps."""
    training = subject.training(folder)
    training.restore()
    steps = 0

    def count(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == stop_after:
            signal.raise_signal(signal.SIGTERM)

    training.optimizer.optimizer.register_step_post_hook(count)
    try:
        training.train()
    except Interrupted:
        assert stop_after


def _other_run(one: Path, other: Path) -> str:
    """How the second run differs from the first."""
    for line, again in zip(_scores(one), _scores(other), strict=True):
        different = [f"{name} was {line[name]} and is {again[name]}" for name in line if line[name] != again[name]]
        if different:
            return f"stopped after step {STOPPED_AFTER} and resumed, at step {line['step']} {'; '.join(different)}"
    states: list[Any] = [load_checkpoint(folder / "state") for folder in (one, other)]
    for part in ("method", "optimizer"):
        where = difference(states[0][part], states[1][part], where=f"the {part}'s state")
        if where:
            return f"after resuming, {where} differs at the end"
    return ""


def _scores(run: Path) -> list[dict[str, Any]]:
    """What was logged, without speeds."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "samples_per_second"} for line in lines]


def _gradients(subject: Subject, folder: Path) -> None:
    """Train for an epoch; write each step's gradients, and at the end the buffers of this process.

    Steps are small, so that a loss that is steep does not make much of the last bits of the step before.
    """
    training = subject.training(folder, epochs=1, momentum=0.0, lr=1e-4)
    method, rank = training.method, training.accelerator.process_index
    # Batch statistics and dropout are of each process by nature; they stand still so that the rest can be compared.
    method.register_forward_pre_hook(lambda module, inputs: _stand_still(module))
    steps: list[dict[str, Tensor]] = []

    def take(*_: Any) -> None:
        found = {name: p.grad.contiguous().clone() for name, p in method.named_parameters() if p.grad is not None}
        steps.append(found)
        if rank == 0:
            save_file(found, folder / f"gradients-{len(steps)}.safetensors")

    training.optimizer.optimizer.register_step_pre_hook(take)
    training.restore()
    training.accelerator.wait_for_everyone()
    training.train()
    statistics = {id(buffer) for m in method.modules() if isinstance(m, _STILL) for buffer in m.buffers()}
    buffers = {name: buffer for name, buffer in method.named_buffers() if id(buffer) not in statistics}
    save_file(
        {name: buffer.contiguous().clone() for name, buffer in buffers.items()}, folder / f"buffers-{rank}.safetensors"
    )


def _stand_still(method: nn.Module) -> None:
    for module in method.modules():
        if isinstance(module, _STILL):
            module.eval()


def _other_gradient(folder: Path) -> str:
    """The first gradient of two processes that is not that of one."""
    for path in sorted((folder / "one").glob("gradients-*")):
        one, two = load_file(path), load_file(folder / "two" / path.name)
        least = TOLERANCE * max(float(value.norm()) for value in one.values())
        for name, value in one.items():
            if float((two[name] - value).norm()) > TOLERANCE * float(value.norm()) + least * TOLERANCE:
                ratio = float((two[name] * value).sum() / value.square().sum())
                step = path.stem.partition("-")[2]
                how = f"{ratio:.3g} times" if abs(ratio - 1) > 0.05 else "not"
                return f"at step {step} the gradient of {name} is {how} that of one process"
    return ""


def _other_buffers(folder: Path) -> str:
    """A buffer that is not the same on both processes."""
    one, other = (load_file(folder / f"buffers-{rank}.safetensors") for rank in range(2))
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    return f"the buffer {differing[0]} is not the same on both processes" if differing else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
