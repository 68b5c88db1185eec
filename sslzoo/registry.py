"""Find plugins by name, importing only the one that is asked for."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sslzoo.config import UsageError, UserError
from sslzoo.taxonomy import MethodInfo, Paper

if TYPE_CHECKING:
    from sslzoo.data.source import NamedDataset
    from sslzoo.evaluation import Evaluation
    from sslzoo.method import PretextMethod

T = TypeVar("T")


class BrokenPlugin(UserError):
    """A package declares this name, but what it points at cannot be used."""


@dataclass(frozen=True)
class Listed:
    """What is known of a plugin without running it."""

    name: str
    package: str
    info: dict[str, Any] | None
    """Its ``info`` literal, or None where the source holds none."""


class Registry(Generic[T]):
    """The plugins of one entry-point group."""

    def __init__(self, group: str, noun: str, base: str) -> None:
        """``base`` is ``module:Class`` of the contract, imported with the first plugin."""
        self.group, self.noun, self.base = group, noun, base

    @cached_property
    def _declared(self) -> dict[str, list[EntryPoint]]:
        declared: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=self.group):
            declared.setdefault(entry.name, []).append(entry)
        return declared

    def names(self) -> list[str]:
        """Every declared name. Imports nothing."""
        return sorted(self._declared)

    def listed(self) -> list[Listed]:
        """Every plugin with its package and its ``info``, read from the source without running it."""
        return [
            Listed(name, _package(entries[0]), read_info(entries[0]))
            for name, entries in sorted(self._declared.items())
        ]

    def load(self, name: str) -> type[T]:
        """The plugin class.

        Raises:
            UsageError: if no installed package declares the name.
            BrokenPlugin: if one does, but it cannot be used; the message names the package.
        """
        entries = self._declared.get(name, [])
        if not entries:
            near = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.names()) or 'none'}"
            raise UsageError(f"no {self.noun} {name!r}; {hint}")
        if len(entries) > 1:
            raise BrokenPlugin(f"{name!r} is declared twice: {' and '.join(map(_origin, entries))}; uninstall one")
        entry = entries[0]
        try:
            plugin: Any = entry.load()
        except Exception as error:  # whatever a stranger's module raises, it is that package's fault
            raise BrokenPlugin(f"{_origin(entry)} does not import: {type(error).__name__}: {error}") from error
        base = EntryPoint(name="base", value=self.base, group="").load()
        if not (isinstance(plugin, type) and issubclass(plugin, base)):
            raise BrokenPlugin(f"{_origin(entry)} is not a {base.__name__}")
        called = plugin.info.name  # type: ignore[attr-defined]  # every contract has an info
        if called != name:
            raise BrokenPlugin(f"{_origin(entry)} calls itself {called!r}, not {name!r}")
        return plugin

    def survey(self) -> Iterator[tuple[str, type[T] | BrokenPlugin]]:
        """Load every plugin; a broken one comes out as its error instead of stopping the rest."""
        for name in self.names():
            try:
                yield name, self.load(name)
            except BrokenPlugin as error:
                yield name, error


methods: Registry[PretextMethod] = Registry("sslzoo.methods", "method", "sslzoo.method:PretextMethod")
evaluations: Registry[Evaluation] = Registry("sslzoo.evaluations", "evaluation", "sslzoo.evaluation:Evaluation")
datasets: Registry[NamedDataset] = Registry("sslzoo.datasets", "data set", "sslzoo.data.source:NamedDataset")


def read_info(entry: EntryPoint) -> dict[str, Any] | None:
    """The ``info`` literal of the class an entry point names, without importing anything."""
    path = _source_file(entry.module)
    if path is None:
        return None
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == entry.attr:
            for statement in node.body:
                if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "info":
                    return _literal_call(statement.value)
    return None


def method_info(listed: Listed) -> MethodInfo | None:
    """A listed method's info as the object its class will hold; None where it is missing or not valid."""
    try:
        fields = dict(listed.info or {})
        return MethodInfo(**{**fields, "paper": Paper(**fields["paper"])})
    except (TypeError, KeyError, ValueError):
        return None


def _literal_call(node: ast.expr) -> dict[str, Any] | None:
    """``Name(key=literal, …)`` as a dict; nested calls become nested dicts."""
    if not isinstance(node, ast.Call) or node.args:
        return None
    values: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            return None
        try:
            nested = isinstance(keyword.value, ast.Call)
            values[keyword.arg] = _literal_call(keyword.value) if nested else ast.literal_eval(keyword.value)
        except ValueError:
            return None
    return values


def _source_file(module: str) -> Path | None:
    """Where a module's source lies. Unlike ``importlib.util.find_spec`` this does not run the parent packages."""
    path: list[str] | None = None
    spec: ModuleSpec | None = None
    for depth in range(1, module.count(".") + 2):
        spec = PathFinder.find_spec(".".join(module.split(".")[:depth]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown package"


def _origin(entry: EntryPoint) -> str:
    return f"{entry.value} (from {_package(entry)})"
