"""log.jsonl, trackers, and the watch over what is logged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from sslzoo.checkpoint import atomic_write

COLLAPSED = 0.01
"""Spread of features below which all images look alike to the encoder."""


@dataclass(frozen=True)
class Trouble:
    """Something that will not mend itself: what, since when, and what usually causes it."""

    kind: str
    text: str

    def stops(self, stop_on: str) -> bool:
        """Whether a run with this setting of ``stop_on`` ends here."""
        return stop_on == "collapse" or (stop_on == "non-finite" and self.kind == "non-finite")


class Log:
    """One JSON line per logged step, in the run folder and at the tracker. Only the main process writes."""

    def __init__(self, folder: Path, accelerator: Accelerator, step: int) -> None:
        """Go on after ``step``: lines of later steps, left by a killed run, are dropped."""
        self.path, self.accelerator = folder / "log.jsonl", accelerator
        if accelerator.is_main_process and self.path.exists():
            kept = [line for line in _whole_lines(self.path) if json.loads(line)["step"] <= step]
            with atomic_write(self.path) as path:
                path.write_text("".join(kept))

    def write(self, step: int, line: dict[str, Any]) -> None:
        """Append ``line``; its numbers, nested ones as ``group/name``, also go to the tracker."""
        if self.accelerator.is_main_process:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step} | line) + "\n")
        self.accelerator.log(_flat(line), step=step)


class Watch:
    """Remembers, on the device, the first step at which each loss was not finite: no step waits for it."""

    def __init__(self) -> None:
        self.first: Tensor | None = None
        self.names: list[str] = []

    def see(self, step: int, losses: dict[str, Tensor]) -> None:
        values = torch.stack([value.detach().float() for value in losses.values()])
        if self.first is None:
            self.names = list(losses)
            self.first = torch.full_like(values, torch.inf)
        self.first = torch.where(values.isfinite(), self.first, self.first.clamp(max=step))

    def trouble(self, accelerator: Accelerator) -> Trouble | None:
        """The first loss that was not finite on any process."""
        if self.first is None:
            return None
        step, index = accelerator.gather(self.first[None]).amin(0).min(0)
        if not step.isfinite():
            return None
        return Trouble(
            "non-finite",
            f"{self.names[int(index)]} stopped being finite at step {int(step)}; usual causes: a learning rate too "
            "high (lower --lr, raise --warmup-epochs), bursts of gradient (--clip-grad 1), overflow (--precision fp32)",
        )


class Spread:
    """How different the encoder's features of one batch are: 0 when all are equal, about 1 when they fill the sphere.

    The mean over dimensions of the standard deviation of L2-normalised features, times the root of their number (Chen
    & He, "Exploring Simple Siamese Representation Learning", CVPR 2021, section 4.1). Read from the encoder's own
    forward pass, so it costs nothing; None where a method never calls ``encoder(x)``.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.feature: Tensor | None = None
        encoder.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 2 and len(output) > 1:
            self.feature = output.detach()

    def __call__(self) -> Tensor | None:
        """The spread of the last batch that went through the encoder."""
        if self.feature is None:
            return None
        unit = F.normalize(self.feature.float(), dim=1)
        return unit.std(0).mean() * unit.shape[1] ** 0.5

    def trouble(self, step: int, spread: float | None) -> Trouble | None:
        """A collapse, seen from the spread at ``step``."""
        if spread is None or spread >= COLLAPSED:
            return None
        return Trouble(
            "collapse",
            f"the encoder gives all images of a batch one feature (feature_std {spread:.2g} at step {step}): it "
            "has collapsed; usual causes: a learning rate too high, a batch too small, a loss that constants minimise",
        )


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file, without a last one that a kill cut short."""
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _flat(line: dict[str, Any]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, dict):
            numbers |= {f"{name}/{key}": number for key, number in value.items()}
        elif isinstance(value, int | float):
            numbers[name] = value
    return numbers
