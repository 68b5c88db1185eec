"""Flags from dataclasses, by tyro."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import field, fields, is_dataclass, make_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import tyro

from sslzoo.config import PretrainConfig, UsageError

if TYPE_CHECKING:
    from sslzoo.method import PretextMethod

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


def pretrain_flags(method: type[PretextMethod], method_config: Any, config: PretrainConfig) -> type:
    """One flat set of flags for a method: where to, which recipe, its own, and those of every method.

    Raises:
        UsageError: if the method's configuration repeats a name of the recipe.
    """
    clash = {f.name for f in fields(method.Config)} & ({f.name for f in fields(PretrainConfig)} | {"out", "recipe"})
    if clash:
        raise UsageError(
            f"{method.info.name}'s configuration repeats flags of every method: {', '.join(sorted(clash))}"
        )
    flat = tyro.conf.OmitArgPrefixes
    return make_dataclass(
        "Arguments",
        [
            ("out", str, field(default="")),
            ("recipe", Literal[("", *method.recipes)], field(default="")),
            ("method", flat[method.Config], field(default=method_config)),
            ("pretrain", flat[PretrainConfig], field(default=config)),
        ],
        frozen=True,
        namespace={"__doc__": method.info.summary},
    )


def _unknown(word: str, arguments: type, prog: str) -> str:
    if not word.startswith("-"):
        return f"{word!r} is one argument too many; see {prog} --help"
    near = difflib.get_close_matches(word.partition("=")[0], _flags(arguments), n=1)
    return f"no flag {word!r}; " + (f"did you mean {near[0]}?" if near else f"see {prog} --help")


def _flags(arguments: Any) -> list[str]:
    """The names of all flags, nested dataclasses included."""
    names: list[str] = []
    for own in fields(arguments):
        nested = own.default if is_dataclass(own.default) else None
        names += _flags(nested) if nested is not None else [f"--{own.name.replace('_', '-')}"]
    return names
