"""``sslzoo verify MODEL``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import tyro
from rich.console import Console
from rich.table import Table

from sslzoo.flags import parse
from sslzoo.hub.verify import verify


@dataclass(frozen=True)
class Arguments:
    model: tyro.conf.Positional[str]
    """A run or encoder folder, or hf-hub:org/name[@rev]."""
    json: bool = False
    """Machine-readable output."""


def main(verb: str, words: list[str]) -> int:
    """Check an encoder; exit code 1 if any check fails."""
    description = "Check an encoder's files, and its features through every door."
    arguments = parse(Arguments, words, "sslzoo verify", description)
    checks = verify(arguments.model)
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for check in checks:
            mark = {True: "[green]ok[/green]", False: "[red]FAILED[/red]", None: "[dim]skipped[/dim]"}[check.ok]
            table.add_row(check.name, mark, check.detail.removeprefix("skipped: "))
        Console().print(table)
    return 1 if any(check.ok is False for check in checks) else 0
