"""``sslzoo list``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from sslzoo.config import UsageError
from sslzoo.flags import parse
from sslzoo.registry import BrokenPlugin, Listed, method_info, methods
from sslzoo.taxonomy import FAMILIES


@dataclass(frozen=True)
class Arguments:
    category: str = ""
    """Only methods of this category."""
    check: bool = False
    """Import every plugin, and say which cannot be used and why."""
    json: bool = False
    """Machine-readable output."""
    markdown: bool = False
    """A Markdown table, as in the README."""


def main(verb: str, words: list[str]) -> int:
    """List methods; with --check the exit code says whether all are usable."""
    arguments = parse(Arguments, words, "sslzoo list", "Every installed method, read without running any of them.")
    if arguments.category and arguments.category not in FAMILIES:
        raise UsageError(f"no category {arguments.category!r}; there are: {', '.join(FAMILIES)}")
    listed = [plugin for plugin in methods.listed() if arguments.category in ("", (plugin.info or {}).get("category"))]
    broken = (
        {name: str(found) for name, found in methods.survey() if isinstance(found, BrokenPlugin)}
        if arguments.check
        else {}
    )
    if arguments.json:
        print(json.dumps([_row(plugin, arguments.check, broken) for plugin in listed], indent=2))
    elif arguments.markdown:
        print(markdown(listed))
    else:
        _print_table(listed, broken)
    return 1 if broken else 0


def markdown(listed: list[Listed]) -> str:
    """The method table of the README."""
    lines = ["| method | category | family | what it predicts | paper |", "|---|---|---|---|---|"]
    for plugin in listed:
        info = method_info(plugin)
        if info is not None:
            paper = f"[{info.paper.authors}, {info.paper.venue} {info.paper.year}]({info.paper.url})"
            lines.append(f"| `{info.name}` | {info.category} | {info.family} | {info.summary} | {paper} |")
    return "\n".join(lines)


def _row(plugin: Listed, checked: bool, broken: dict[str, str]) -> dict:
    row = {"name": plugin.name, "package": plugin.package, **(plugin.info or {})}
    return row | ({"error": broken.get(plugin.name)} if checked else {})


def _print_table(listed: list[Listed], broken: dict[str, str]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("method", "category", "family", "modality", "paper", "package"):
        table.add_column(heading, no_wrap=heading == "method")
    for plugin in listed:
        info = method_info(plugin)
        if info is None:
            table.add_row(plugin.name, "", "", "", "[dim]no literal info[/dim]", plugin.package)
        else:
            paper = f"{info.paper.authors} {info.paper.year}"
            table.add_row(info.name, info.category, info.family, "+".join(info.modalities), paper, plugin.package)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    for text in broken.values():
        print(f"broken: {text}", file=sys.stderr)
