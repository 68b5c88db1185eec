"""What a person sees of a run while it goes: a bar on a terminal, a line per epoch in a file. All on stderr."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sslzoo.profiling import table


class Display:
    """Progress with time left, samples per second and losses; silent on all but the main process."""

    def __init__(self, title: str, total_steps: int, done: int, active: bool) -> None:
        self.console = Console(file=sys.stderr, quiet=not active)
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[scores]}"),
            console=self.console,
            disable=not (active and self.console.is_terminal),
        )
        self.warned: set[str] = set()
        self.task = self.bar.add_task(title, total=total_steps, completed=done, speed="", scores="")

    def __enter__(self) -> Display:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def step(self, step: int) -> None:
        self.bar.update(self.task, completed=step)

    def scores(self, scores: dict[str, float], samples_per_second: float) -> None:
        """Show the latest logged scores."""
        self.bar.update(self.task, speed=f"{samples_per_second:.0f} samples/s", scores=_format(scores))

    def epoch(self, epoch: int, epochs: int, scores: dict[str, float], samples_per_second: float) -> None:
        """One lasting line per epoch."""
        self.say(f"epoch {epoch}/{epochs}  {_format(scores)}  {samples_per_second:.0f} samples/s")

    def profile(self, result: dict[str, Any]) -> None:
        """Where the time went, and what is wrong with that."""
        self.bar.console.print(table(result))
        for text in result["warnings"]:
            self.say(f"warning: {text}")

    def warn(self, kind: str, text: str) -> None:
        """A lasting line, once for each kind of trouble."""
        if kind not in self.warned:
            self.warned.add(kind)
            self.say(f"warning: {text}")

    def say(self, text: str) -> None:
        """A lasting line, above the bar."""
        self.bar.console.print(text, highlight=False, soft_wrap=True, markup=False)


def _format(scores: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
