"""What a method's hooks are given: where the run stands, and the data set's features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass
class Progress:
    """How far a run has come. Saved with every checkpoint."""

    step: int = 0
    """Optimizer steps taken."""
    steps_per_epoch: int = 0
    total_steps: int = 0
    seconds: float = 0.0
    """Time spent training, over all starts."""
    unreadable: list[str] = field(default_factory=list)
    """Samples that could not be decoded so far, with the reason."""

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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Run:
    """One pretraining, as its method's hooks see it."""

    folder: Path
    accelerator: Accelerator
    progress: Progress
    num_samples: int
    """Samples in the data set: the largest ``index`` is one less."""
    optimizer: Optimizer
    extract: Callable[[nn.Module], Tensor]

    def features(self, encoder: nn.Module) -> Tensor:
        """(num_samples, D) features of the whole data set in its order, the same on every process.

        Images are prepared as for evaluation, and the encoder is put into ``eval()`` for the time. Rows of samples
        that cannot be read are zero.
        """
        return self.extract(encoder)

    def forget(self, module: nn.Module) -> None:
        """Drop what the optimizer remembers of a module's parameters, after they were set anew."""
        state = self.optimizer.state
        for parameter in module.parameters():
            state.pop(parameter, None)
