"""Flags from dataclasses, by tyro."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import tyro

from sslzoo.config import UsageError

T = TypeVar("T")


def parse(arguments: type[T], words: Sequence[str], prog: str, description: str) -> T:
    """``arguments`` filled from ``words``. Help and malformed values are answered by tyro, which then exits.

    Raises:
        UsageError: for a flag that does not exist.
    """
    parsed, unknown = tyro.cli(
        arguments, prog=prog, description=description, args=list(words), return_unknown_args=True
    )
    if unknown:
        raise UsageError(_unknown(unknown[0], arguments, prog))
    return parsed


def _unknown(word: str, arguments: type, prog: str) -> str:
    if not word.startswith("-"):
        return f"{word!r} is one argument too many; see {prog} --help"
    near = difflib.get_close_matches(word.partition("=")[0], _flags(arguments), n=1)
    return f"no flag {word!r}; " + (f"did you mean {near[0]}?" if near else f"see {prog} --help")


def _flags(arguments: Any) -> list[str]:
    """The names of all flags, nested dataclasses included."""
    names: list[str] = []
    for field in fields(arguments):
        nested = field.default if is_dataclass(field.default) else None
        names += _flags(nested) if nested is not None else [f"--{field.name.replace('_', '-')}"]
    return names
