"""What a plugin declares: is it a literal, and can its configuration be given as flags?"""

from __future__ import annotations

import json
from dataclasses import asdict, fields, is_dataclass
from importlib.metadata import EntryPoint
from typing import Any

import tyro

from sslzoo.config import UserError
from sslzoo.declared import read_info
from sslzoo.evaluation import Evaluation
from sslzoo.flags import pretrain_flags
from sslzoo.method import PretextMethod
from sslzoo.recipes import recipe_of
from sslzoo.record import flag_words, restore_config


def info_fault(kind: Any) -> str:
    """How the source fails to hold the literal that the class holds; empty if it does."""
    owner = next(base for base in kind.__mro__ if "info" in vars(base))
    read = read_info(EntryPoint(kind.info.name, f"{owner.__module__}:{owner.__qualname__}", ""))
    if read is None:
        return "info is not a literal in the class body, so sslzoo list cannot show it"
    unsaid = {field.name: field.default for field in fields(kind.info) if field.name not in read}
    held = {name: value for name, value in asdict(kind.info).items() if name in read or value != unsaid[name]}
    different = [name for name, value in held.items() if read.get(name) != value]
    return f"the source does not tell the same {', '.join(different)} as the class holds" if different else ""


def config_fault(kind: type[PretextMethod] | type[Evaluation]) -> str:
    """Why the configuration cannot be given as flags, or read back from JSON; empty if it can."""
    if not is_dataclass(kind.Config) or not kind.Config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "Config is not a frozen dataclass"
    try:
        config = kind.Config()
        if issubclass(kind, PretextMethod):
            pretrain_flags(kind, config, kind.defaults)
            for recipe in kind.recipes:
                recipe_of(kind, recipe)
        for field in fields(kind.Config):
            if not _comes_back(config, field.name):
                return f"the flag of {field.name!r} does not take its default, {getattr(config, field.name)!r}"
        again = restore_config(kind.Config, json.loads(json.dumps(asdict(config))))
    except (TypeError, ValueError, UserError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return "" if again == config else f"read back from run.json, {config} becomes {again}"


def _comes_back(config: Any, name: str) -> bool:
    """Whether a field's value, given as a flag, is the field's value again."""
    try:
        parsed = tyro.cli(type(config), args=flag_words(name, getattr(config, name)), console_outputs=False)
    except SystemExit:
        return False
    return getattr(parsed, name) == getattr(config, name)
