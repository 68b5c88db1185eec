"""What is known of a plugin before it runs: read from its package's metadata and from its source."""

from __future__ import annotations

import ast
import json
import re
import sys
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslzoo import __version__
from sslzoo.taxonomy import CONTRACT, MethodInfo, Paper

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_OF_SSLZOO = re.compile(r"\s*sslzoo(?![\w.-])", re.IGNORECASE)
"""How a requirement of sslzoo, and of no ``sslzoo-plugins``, begins."""


@dataclass(frozen=True)
class Listed:
    """What is known of a plugin without running it."""

    name: str
    package: str
    info: dict[str, Any] | None
    """The literals of its ``info``, or None where the source holds none."""
    objection: str
    """Why it cannot be used, as far as that shows without running it; empty if nothing speaks against it."""


def listed(name: str, entries: list[EntryPoint]) -> Listed:
    """The plugin that ``entries`` declare under ``name``; there should be one."""
    info = read_info(entries[0])
    objection = "is declared twice" if len(entries) > 1 else objection_to(entries[0], info).partition(":")[0]
    return Listed(name, " and ".join(sorted(map(package_of, entries))), info, objection)


def method_info(plugin: Listed) -> MethodInfo | None:
    """A listed method's info as the object its class will hold; None where it is missing or not valid."""
    try:
        fields = dict(plugin.info or {})
        return MethodInfo(**{**fields, "paper": Paper(**fields["paper"])})
    except (TypeError, KeyError, ValueError):
        return None


def package_of(entry: EntryPoint) -> str:
    """The distribution that declares an entry point."""
    return (_named(entry.dist) if entry.dist else None) or "an unknown package"


def origin(entry: EntryPoint) -> str:
    """Whose fault it is: what the entry point names, and the distribution that declares it."""
    return f"{entry.value} (from {package_of(entry)})"


def objection_to(entry: EntryPoint, info: dict[str, Any] | None) -> str:
    """Why this sslzoo must not import what an entry point names; empty if nothing speaks against it.

    ``info`` is what ``read_info`` found. A plugin for a newer sslzoo may not even import here, so it is told apart
    before it is tried.
    """
    if not entry.pattern.match(entry.value):
        return "is not of the form module:Class"
    for needed in _needed(entry):
        if not needed.specifier.contains(__version__, prereleases=True):
            upgrade = f"pip install --upgrade {package_of(entry)} sslzoo"
            return f"needs sslzoo{needed.specifier} and this is sslzoo {__version__}: {upgrade}"
    return objection_to_contract((info or {}).get("contract", 1))


def objection_to_contract(contract: Any) -> str:
    """Why a plugin written for ``contract`` cannot be used; empty if it can."""
    if contract in range(1, CONTRACT + 1):
        return ""
    upgrade = "pip install --upgrade sslzoo"
    return f"is written for contract {contract} and this sslzoo {__version__} speaks {CONTRACT}: {upgrade}"


def read_info(entry: EntryPoint) -> dict[str, Any] | None:
    """The literals among the arguments of ``info`` in the class an entry point names. Nothing is imported."""
    if not entry.pattern.match(entry.value):
        return None
    try:
        path = _source_file(entry.module)
        with warnings.catch_warnings(action="ignore"):  # a stranger's invalid escapes
            tree = ast.parse(path.read_bytes() if path else b"")
    except (OSError, SyntaxError, ValueError):
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == entry.attr:
            for statement in node.body:
                if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "info":
                    return _literal_arguments(statement.value)
                if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "info":
                    return _literal_arguments(statement.value)
    return None


def _needed(entry: EntryPoint) -> list[Requirement]:
    """What the package of an entry point requires of sslzoo, here and with the extras the entry point names."""
    texts = [text for text in (_required(entry.dist) if entry.dist else ()) if _OF_SSLZOO.match(text)]
    if not texts:
        return []
    from packaging.requirements import InvalidRequirement, Requirement  # slow, and few need it

    needed = []
    for text in texts:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # pip's business
            continue
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *entry.extras)):
            needed.append(requirement)
    return needed


@lru_cache
def _named(package: Distribution) -> str:
    """Its name, for which its metadata is parsed."""
    return package.name


@lru_cache
def _required(package: Distribution) -> tuple[str, ...]:
    return tuple(package.requires or ())


def _literal_arguments(node: ast.expr | None) -> dict[str, Any] | None:
    """``Name(key=literal, …)`` as a dict, nested calls as nested dicts. What is no plain literal is left out."""
    if not isinstance(node, ast.Call):
        return None
    values: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            continue
        if nested := _literal_arguments(keyword.value):
            values[keyword.arg] = nested
            continue
        try:
            value = ast.literal_eval(keyword.value)
            json.dumps(value)
        except (ValueError, TypeError):
            continue
        values[keyword.arg] = value
    return values


def _source_file(module: str) -> Path | None:
    """Where a module's source lies. Unlike ``importlib.util.find_spec`` this does not run the parent packages."""
    path: list[str] | None = None
    spec: ModuleSpec | None = None
    for depth in range(1, module.count(".") + 2):
        name = ".".join(module.split(".")[:depth])
        specs = (finder.find_spec(name, path) for finder in sys.meta_path)  # also those of editable installs
        spec = next(filter(None, specs), None)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
