"""``sslzoo list``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sslzoo.config import UsageError
from sslzoo.flags import parse
from sslzoo.registry import IMPORT_SECONDS, KINDS, Listed
from sslzoo.survey import declared_plugins, survey
from sslzoo.taxonomy import FAMILIES

Info = dict[str, Any]
Columns = dict[str, Callable[[Info], str]]
"""Heading to what stands below it."""


@dataclass(frozen=True)
class Arguments:
    kind: Literal["methods", "evaluations", "datasets"] = "methods"
    """What to list."""
    category: str = ""
    """Only methods, or models, of this category."""
    check: bool = False
    """Import every plugin of every kind in another process, and say which cannot be used and why."""
    time_limit: float = IMPORT_SECONDS
    """Seconds that --check gives each import."""
    json: bool = False
    """Machine-readable output."""
    markdown: bool = False
    """A Markdown table, as in the README."""
    models: bool = False
    """List released encoders instead, with sizes and scores: those of this checkout, or of --hub."""
    hub: str = ""
    """With --models: those of this organisation on the Hub, with the tag sslzoo."""
    method: str = ""
    """With --models: only those of this method."""
    encoder: str = ""
    """With --models: only those of this architecture."""
    trained_on: str = ""
    """With --models: only those of this data set."""
    sort: str = "name"
    """With --models: by name, method, encoder, dataset, parameters, bytes, or an evaluation's score such as knn."""


def main(verb: str, words: list[str]) -> int:
    """List the plugins of one kind; with --check the exit code says whether all of every kind are usable."""
    arguments = parse(Arguments, words, "sslzoo list", "Every installed plugin, read without running any of them.")
    _refuse_nonsense(arguments)
    if arguments.models:
        return import_module("sslzoo.cli.models").list_models(arguments)
    plugins = [
        plugin
        for plugin in KINDS[arguments.kind].listed()
        if arguments.category in ("", (plugin.info or {}).get("category"))
    ]
    broken = survey(declared_plugins(), arguments.time_limit) if arguments.check else {}
    of_kind = {plugin.name: reason for plugin, reason in broken.items() if plugin.kind == arguments.kind}
    errors = of_kind if arguments.check else None
    if arguments.json:
        print(json.dumps([_row(plugin, errors) for plugin in plugins], indent=2))
    elif arguments.markdown:
        print(markdown(arguments.kind, plugins))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(_table(arguments.kind, plugins, errors))
    for reason in broken.values():
        print(f"broken: {reason}", file=sys.stderr)
    return 1 if broken else 0


def markdown(kind: str, plugins: list[Listed]) -> str:
    """The method table of the README, or one like it of another kind. A plugin without readable info has no row."""
    columns = _MARKDOWN.get(kind) or _COLUMNS[kind]
    lines = [_line([KINDS[kind].noun, *columns]), "|---" * (1 + len(columns)) + "|"]
    for plugin in plugins:
        if cells := _cells(columns, plugin):
            lines.append(_line([f"`{plugin.name}`", *cells]))
    return "\n".join(lines)


def _refuse_nonsense(arguments: Arguments) -> None:
    if arguments.category and arguments.kind != "methods":
        raise UsageError(f"only methods have a category; leave out --category or --kind {arguments.kind}")
    if arguments.category and arguments.category not in FAMILIES:
        raise UsageError(f"no category {arguments.category!r}; there are: {', '.join(FAMILIES)}")
    if arguments.models and (arguments.check or arguments.kind != "methods"):
        raise UsageError("--models lists encoders, --kind and --check are for plugins; leave out one of the two")
    if not arguments.models:
        for name in ("hub", "method", "encoder", "trained_on", "sort"):
            if getattr(arguments, name) != getattr(Arguments, name):
                raise UsageError(f"--{name.replace('_', '-')} is for encoders; add --models")
    if not arguments.time_limit > 0:
        raise UsageError(f"--time-limit is in seconds and above 0, not {arguments.time_limit:g}")


def _row(plugin: Listed, errors: dict[str, str] | None) -> dict[str, Any]:
    row = {"name": plugin.name, "package": plugin.package}
    checked = {} if errors is None else {"error": errors.get(plugin.name)}
    return row | (plugin.info or {}) | row | checked  # an info may claim another name


def _table(kind: str, plugins: list[Listed], errors: dict[str, str] | None) -> Table:
    columns = _COLUMNS[kind]
    table = Table(KINDS[kind].noun, *columns, "package", box=None, pad_edge=False, header_style="bold")
    table.columns[0].no_wrap = True
    if errors is not None:
        table.add_column("check")
    for plugin in plugins:
        cells = [Text(cell) for cell in _cells(columns, plugin)]
        if plugin.objection or not cells:
            reason = Text(plugin.objection or "its info cannot be read", style="dim")
            cells = [Text()] * (len(columns) - 1) + [reason]
        checked = [] if errors is None else [_BROKEN if plugin.name in errors else _OK]
        table.add_row(Text(plugin.name), *cells, Text(plugin.package), *checked)
    return table


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _cells(columns: Columns, plugin: Listed) -> list[str]:
    """What is known of a plugin, by column; empty if the info is missing, incomplete, or not of the expected types."""
    try:
        return [read(plugin.info or {}) for read in columns.values()]
    except (KeyError, TypeError):
        return []


def _field(name: str) -> Callable[[Info], str]:
    return lambda info: str(info[name])


def _modalities(info: Info) -> str:
    return "+".join(map(str, info["modalities"]))


def _paper(info: Info) -> str:
    return f"{info['paper']['authors']} {info['paper']['year']}"


def _linked_paper(info: Info) -> str:
    paper = info["paper"]
    return f"[{paper['authors']}, {paper['venue']} {paper['year']}]({paper['url']})"


_OK, _BROKEN = Text("ok", style="green"), Text("BROKEN", style="bold red")

_COLUMNS: dict[str, Columns] = {
    "methods": {
        "category": _field("category"),
        "family": _field("family"),
        "modality": _modalities,
        "paper": _paper,
    },
    "evaluations": {
        "version": _field("version"),
        "metric": _field("metric"),
        "modality": _modalities,
        "summary": _field("summary"),
    },
    "datasets": {
        "splits": lambda info: ", ".join(map(str, info["splits"])),
        "modality": _modalities,
        "licence": _field("license"),
        "summary": _field("summary"),
    },
}
_MARKDOWN: dict[str, Columns] = {
    "methods": {
        "category": _field("category"),
        "family": _field("family"),
        "what it predicts": _field("summary"),
        "paper": _linked_paper,
    },
}
"""Where it differs from the table in the terminal."""
