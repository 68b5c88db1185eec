"""``sslzoo info METHOD``."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields

import tyro
from rich.console import Console
from rich.table import Table

from sslzoo.config import PretrainConfig
from sslzoo.flags import parse
from sslzoo.record import flag_words
from sslzoo.registry import methods


@dataclass(frozen=True)
class Arguments:
    method: tyro.conf.Positional[str]
    """Name of an installed method."""
    json: bool = False
    """Machine-readable output."""


def main(verb: str, words: list[str]) -> int:
    """Print what a method says of itself."""
    arguments = parse(Arguments, words, "sslzoo info", "One method: paper, configuration, default recipe.")
    method = methods.load(arguments.method)
    info = method.info
    own = {field.name: None if field.default is MISSING else field.default for field in fields(method.Config)}
    recipe = asdict(method.defaults)
    if arguments.json:
        recipes = {name: dict(settings) for name, settings in method.recipes.items()}
        found = {**asdict(info), "config": own, "defaults": recipe, "recipes": recipes}
        print(json.dumps(found, indent=2, default=list))
        return 0
    usual = asdict(PretrainConfig())
    console = Console(highlight=False)
    console.print(f"[bold]{info.name}[/bold]  {info.summary}")
    console.print(f"{info.category} / {info.family}, on {' + '.join(info.modalities)}")
    console.print(f"{info.paper}  {info.paper.url}\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("flag")
    table.add_column("default")
    for name, value in own.items():
        table.add_row(_flag(name), str(value))
    for name, value in recipe.items():
        if value != usual[name]:
            table.add_row(_flag(name), " ".join(map(str, value)) if isinstance(value, tuple) else str(value))
    console.print(table)
    for name, settings in method.recipes.items():
        words = [word for setting, value in settings.items() for word in flag_words(setting, value) if value != ()]
        console.print(f"\n--recipe {name} stands for {' '.join(words)}", soft_wrap=True)
    console.print(f"\nThe rest of the recipe is as for every method: sslzoo pretrain {info.name} --help")
    return 0


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
