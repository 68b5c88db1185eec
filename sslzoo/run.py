"""What a method's hooks are given: where the run stands, and the data set's features."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.optim import Optimizer

from sslzoo.config import UsageError
from sslzoo.data.source import Source
from sslzoo.data.stream import Stream
from sslzoo.features import extract


@dataclass
class Progress:
    """How far a run has come. Saved with every checkpoint."""

    step: int = 0
    """Optimizer steps taken."""
    steps_per_epoch: int = 0
    total_steps: int = 0
    seconds: float = 0.0
    """Time spent training, over all starts."""

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to, from 0."""
        return self.step // self.steps_per_epoch

    @property
    def at_epoch_start(self) -> bool:
        return self.step % self.steps_per_epoch == 0

    @property
    def fraction(self) -> float:
        """Share of training that is done, in [0, 1]."""
        return self.step / self.total_steps


class Clock:
    """Adds the time that training takes to the progress, and tells its speed."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.step, self.time = progress, progress.step, time.perf_counter()

    def lap(self) -> float:
        """Steps per second since the last lap."""
        now = time.perf_counter()
        seconds, steps = now - self.time, self.progress.step - self.step
        self.step, self.time = self.progress.step, now
        self.progress.seconds += seconds
        return steps / seconds


@dataclass
class Run:
    """One pretraining, as its method's hooks see it."""

    folder: Path
    accelerator: Accelerator
    progress: Progress
    source: Source | Stream
    num_samples: int
    """Samples in an epoch's whole data set: the largest ``index`` is one less."""
    optimizer: Optimizer

    def features(self, encoder: nn.Module) -> Tensor:
        """(num_samples, D) features of the whole data set in its order, the same on every process.

        Images are prepared as for evaluation, and the encoder is in ``eval()`` for the time. Rows of samples that
        cannot be read are zero.

        Raises:
            UsageError: for a stream, which cannot be looked through between epochs.
        """
        if isinstance(self.source, Stream):
            raise UsageError(
                f"this method looks through all of {self.source.name} between epochs: leave out --streaming"
            )
        if self.accelerator.num_processes > 1:  # batch statistics differ by process: the first one counts
            broadcast([buffer for buffer in encoder.buffers()])
        found = extract(encoder, self.source, accelerator=self.accelerator)
        features = torch.zeros(self.num_samples, found.final.shape[1])
        features[found.index] = found.final
        return features.to(self.accelerator.device)

    def forget(self, module: nn.Module) -> None:
        """Drop what the optimizer remembers of a module's parameters, after they were set anew."""
        for parameter in module.parameters():
            self.optimizer.state.pop(parameter, None)
