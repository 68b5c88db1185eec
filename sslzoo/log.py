"""log.jsonl and trackers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from sslzoo.checkpoint import atomic_write


class Log:
    """One JSON line per logged step, in the run folder and at the tracker. Only the main process writes."""

    def __init__(self, folder: Path, accelerator: Accelerator, step: int) -> None:
        """Go on after ``step``: lines of later steps, left by a killed run, are dropped; the others are ``past``."""
        self.path, self.accelerator = folder / "log.jsonl", accelerator
        kept = {text: line for text, line in _whole_lines(self.path).items() if line["step"] <= step}
        self.past = list(kept.values())
        if accelerator.is_main_process and self.path.exists():
            with atomic_write(self.path) as path:
                path.write_text("".join(kept))

    def write(self, line: dict[str, Any]) -> None:
        """Append ``line``, which has its ``step``. Its numbers also go to the tracker."""
        if self.accelerator.is_main_process:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        numbers = flat(line)
        self.accelerator.log(numbers, step=numbers.pop("step"))


def _whole_lines(path: Path) -> dict[str, dict[str, Any]]:
    """The lines of a file and what they say, without a last one that a kill cut short."""
    texts = path.read_text().splitlines(keepends=True) if path.exists() else []
    return {text: json.loads(text) for text in texts if text.endswith("\n")}


def flat(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line, nested ones as ``group/name``."""
    numbers: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, dict):
            numbers |= {f"{name}/{key}": number for key, number in value.items()}
        elif isinstance(value, int | float):
            numbers[name] = value
    return numbers
