"""``sslzoo list --models``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

import sslzoo
from sslzoo.config import UsageError
from sslzoo.hub.index import Released, Score, released_here, released_on_hub
from sslzoo.hub.names import split_dataset

if TYPE_CHECKING:
    from sslzoo.cli.listing import Arguments

CARDS = Path(sslzoo.__file__).parents[1] / "model_cards"
"""Of a clone of the repository."""

Cell = Callable[[Released], str]

_FIELDS = ("name", "method", "encoder", "dataset", "parameters", "bytes")
"""What can be sorted by, beside scores."""


def list_models(arguments: Arguments) -> int:
    """Print the released encoders that pass the filters; troubles with cards go to stderr."""
    every = released_on_hub(arguments.hub) if arguments.hub else released_here(CARDS)
    found = _sorted([model for model in every if _passes(model, arguments)], arguments.sort)
    if arguments.json:
        print(json.dumps([asdict(model) for model in found], indent=2))
    elif arguments.markdown:
        print(markdown(found))
    elif found:
        Console(width=None if sys.stdout.isatty() else 160).print(_table(found))
    for model in found:
        if model.trouble:
            print(f"{_printable(model.name)}: {_printable(model.trouble)}", file=sys.stderr)
    if not found:
        where = f"{arguments.hub} has on the Hub with the tag sslzoo" if arguments.hub else f"in {CARDS.name}/"
        print(f"none of the {len(every)} models {where} is what was asked for", file=sys.stderr)
    return 0


def markdown(models: list[Released]) -> str:
    """The same table in Markdown."""
    columns = _columns(models)
    rows = [[*columns], *([_printable(cell(model)) for cell in columns.values()] for model in models)]
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])


def _passes(model: Released, wanted: Arguments) -> bool:
    return (
        wanted.category in ("", model.category)
        and wanted.method in ("", model.method)
        and wanted.encoder in ("", model.encoder)
        and wanted.trained_on in ("", model.dataset, split_dataset(model.dataset or "")[0])
    )


def _sorted(models: list[Released], by: str) -> list[Released]:
    """Scores from the best down, all else upwards; what a card does not tell comes last."""
    if by in _FIELDS:
        return sorted(models, key=lambda model: ((value := getattr(model, by)) is None, value or 0))
    headings = {heading for model in models for heading in _headlines(model)}
    meant = sorted(heading for heading in headings if by in (heading, heading.partition("@")[0]))
    if len(meant) != 1 and models:
        there = ", ".join([*_FIELDS, *sorted(headings)])
        raise UsageError(f"--sort {by} is {'ambiguous' if meant else 'unknown'}; there are: {there}")

    def key(model: Released) -> tuple[bool, float]:
        score = _headlines(model).get(meant[0])
        return score is None, -score.value if score else 0

    return sorted(models, key=key)


def _headlines(model: Released) -> dict[str, Score]:
    """The first metric of each protocol and data set."""
    found: dict[str, Score] = {}
    for score in model.scores:
        found.setdefault(f"{score.protocol} on {score.dataset}", score)
    return found


def _table(models: list[Released]) -> Table:
    columns = _columns(models)
    caption = "In brackets: the same architecture with random weights." if any(m.scores for m in models) else None
    table = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    for place, heading in enumerate(columns):
        table.add_column(Text(_printable(heading)), justify="left" if place < 4 else "right", no_wrap=place == 0)
    for model in models:
        table.add_row(*(Text(_printable(cell(model))) for cell in columns.values()))
    return table


def _columns(models: list[Released]) -> dict[str, Cell]:
    headings = dict.fromkeys(heading for model in models for heading in _headlines(model))
    return {
        "model": lambda model: model.name,
        "method": lambda model: model.method or "",
        "encoder": lambda model: model.encoder or "",
        "trained on": lambda model: model.dataset or "",
        "input": lambda model: "×".join(map(str, model.input_size or ())),
        "parameters": lambda model: _number(model.parameters, ","),
        "MB": lambda model: _number(model.bytes and model.bytes / 1e6, ".1f"),
        **{heading: _score_cell(heading) for heading in headings},
    }


def _score_cell(heading: str) -> Cell:
    def cell(model: Released) -> str:
        score = _headlines(model).get(heading)
        if score is None:
            return ""
        return f"{score.value:g}" + (f" ({score.untrained:g})" if score.untrained is not None else "")

    return cell


def _number(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)


def _printable(text: str) -> str:
    """Without what would steer a terminal: the text may be a stranger's."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
