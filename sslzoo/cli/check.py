"""``sslzoo check NAME``."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, make_dataclass
from typing import Any

import tyro
from rich.console import Console

from sslzoo.config import UsageError
from sslzoo.flags import parse
from sslzoo.registry import KINDS
from sslzoo.testing.conformance import Conformance, check_dataset, check_evaluation, check_method
from sslzoo.testing.conformance.kit import small_config

CHECKS: dict[str, Callable[..., Conformance]] = {
    "methods": check_method,
    "evaluations": check_evaluation,
    "datasets": check_dataset,
}
USAGE = "usage: sslzoo check NAME [flags], where NAME is an installed method, evaluation or data set"


@dataclass(frozen=True)
class Arguments:
    name: tyro.conf.Positional[str]
    """An installed method, evaluation or data set."""
    only: tuple[str, ...] = ()
    """Check these promises only."""
    json: bool = False
    """Machine-readable output."""


@dataclass(frozen=True)
class WithEncoder(Arguments):
    dataset: str = ""
    """Data set to check it on; a fitting one that comes with a package if not given."""
    encoder: str = ""
    """Encoder to check it with; a tiny one of the kind it is for if not given."""


def main(verb: str, words: list[str]) -> int:
    """Check a plugin, and print the table; exit code 1 if a promise is broken."""
    if not words or words[0].startswith("-"):
        if words and words[0] in ("-h", "--help"):
            print(USAGE)
            return 0
        raise UsageError(USAGE)
    kind, name = _found(words[0])
    prog, text = f"sslzoo check {words[0]}", "Does a plugin keep what its contract promises?"
    if kind == "datasets":
        parsed: Any = parse(Arguments, words, prog, text)
        own = {}
    else:
        plugin, flat = KINDS[kind].load(name), tyro.conf.OmitArgPrefixes
        own_flags = ("own", flat[plugin.Config], field(default=small_config(plugin)))
        parsed = parse(make_dataclass("Arguments", [own_flags], bases=(WithEncoder,), frozen=True), words, prog, text)
        given = {"dataset": parsed.dataset, "encoder": parsed.encoder}
        own = asdict(parsed.own) | {name: value for name, value in given.items() if value}
    found = CHECKS[kind](name, only=parsed.only, **own)
    if parsed.json:
        print(found.to_json())
    else:
        Console().print(found)
    return 0 if found.passed else 1


def _found(word: str) -> tuple[str, str]:
    """The kind and name of a plugin; ``kind:name`` says which, where a name leaves a choice."""
    kind, colon, name = word.rpartition(":")
    if colon and kind not in KINDS:
        raise UsageError(f"no kind of plugin {kind!r}; there are: {', '.join(KINDS)}")
    kinds = [kind] if colon else [kind for kind, registry in KINDS.items() if name in registry.names()]
    if len(kinds) > 1:
        raise UsageError(f"{name!r} is in {' and '.join(kinds)}: say {kinds[0]}:{name} or {kinds[1]}:{name}")
    if not kinds:
        names = [known for registry in KINDS.values() for known in registry.names()]
        near = difflib.get_close_matches(name, names, n=1)
        raise UsageError(f"no plugin {name!r}; " + (f"did you mean {near[0]!r}?" if near else "see sslzoo list"))
    return kinds[0], name
