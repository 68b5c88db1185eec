"""What the conformance kit found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from sslzoo.testing.conformance.promises import Promise


@dataclass(frozen=True)
class Check:
    """One promise, and whether it is kept."""

    name: str
    says: str
    ok: bool | None
    """None where it could not be looked at, because something else failed before."""
    reason: str = ""
    mend: str = ""


@dataclass(frozen=True)
class Conformance:
    """All that was checked of one plugin."""

    plugin: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> list[Check]:
        """The promises that are broken."""
        return [check for check in self.checks if check.ok is False]

    @property
    def passed(self) -> bool:
        """Whether every promise is kept."""
        return all(check.ok for check in self.checks)

    def raise_for_failures(self) -> None:
        """For tests.

        Raises:
            AssertionError: naming each broken promise, with reason and remedy.
        """
        lines = [f"{check.name}: {check.reason}\n    to mend it: {check.mend}" for check in self.failed]
        if not self.passed:
            raise AssertionError("\n".join([f"{self.plugin} breaks {len(lines)} promises", *lines]))

    def to_json(self) -> str:
        """For other programs."""
        return json.dumps({**asdict(self), "passed": self.passed}, indent=2)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A table, and under it what is broken, why, and how to mend it."""
        table = Table(box=None, pad_edge=False, show_header=False)
        for check in self.checks:
            mark = {True: "[green]kept[/green]", False: "[red]BROKEN[/red]", None: "[dim]not reached[/dim]"}[check.ok]
            table.add_row(check.name, mark, check.says)
        yield table
        for check in self.failed:
            yield f"\n[bold red]{check.name}[/bold red]"
            yield Text(f"  what     {check.reason}\n  to mend  {check.mend}")


def check(name: str, promise: Promise, broken: str | None) -> Check:
    """The outcome of one promise: how it is broken, empty if it is kept, None if that was not reached."""
    if not broken:
        return Check(name, promise.says, ok=None if broken is None else True)
    raised = broken.startswith(("raises ", "ends ", "does not come "))
    mend = "mend this first; it kept the check from being made" if raised else promise.mend
    return Check(name, promise.says, ok=False, reason=broken, mend=mend)
