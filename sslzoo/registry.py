"""Find plugins by name, importing only the one that is asked for."""

from __future__ import annotations

import difflib
import inspect
import sys
from concurrent.futures import Future
from dataclasses import MISSING, fields, is_dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from threading import Thread
from traceback import walk_stack
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_origin

from sslzoo.config import UsageError, UserError
from sslzoo.declared import Listed, listed, method_info, objection_to, objection_to_contract, origin, read_info

if TYPE_CHECKING:
    from sslzoo.data.source import NamedDataset
    from sslzoo.evaluation import Evaluation
    from sslzoo.method import PretextMethod

__all__ = ["BrokenPlugin", "HangingPlugin", "Listed", "Registry", "datasets", "evaluations", "method_info", "methods"]

T = TypeVar("T")

IMPORT_SECONDS = 60.0
"""How long a plugin may take to be imported. The contract itself, and torch with it, is imported before."""


class BrokenPlugin(UserError):
    """A package declares this name, but what it points at cannot be used."""


class HangingPlugin(BrokenPlugin):
    """Its import does not end, and goes on in a thread of this process."""


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
        return [listed(name, self._declared[name]) for name in self.names()]

    def origin(self, name: str) -> str:
        """What is declared under a name, and by which package."""
        return " and ".join(sorted(map(origin, self._declared[name])))

    def contract(self) -> type[T]:
        """The base of every plugin here."""
        return EntryPoint(name="contract", value=self.base, group=self.group).load()

    def load(self, name: str, seconds: float = IMPORT_SECONDS) -> type[T]:
        """The plugin class, imported within a time limit and checked against its contract.

        Raises:
            UsageError: if no installed package declares the name.
            BrokenPlugin: if one does, but it cannot be used; the message names the package.
        """
        entry = self._only(name)
        contract = self.contract()
        plugin = _imported(entry, seconds)
        if fault := _fault(plugin, contract, name):
            raise BrokenPlugin(f"{origin(entry)} {fault}")
        return plugin

    def _only(self, name: str) -> EntryPoint:
        entries = self._declared.get(name, [])
        if not entries:
            near = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.names()) or 'none'}"
            raise UsageError(f"no {self.noun} {name!r}; {hint}")
        if len(entries) > 1:
            raise BrokenPlugin(f"{self.noun} {name!r} is declared twice: {self.origin(name)}; uninstall one")
        if objection := objection_to(entries[0], read_info(entries[0])):
            raise BrokenPlugin(f"{origin(entries[0])} {objection}")
        return entries[0]


methods: Registry[PretextMethod] = Registry("sslzoo.methods", "method", "sslzoo.method:PretextMethod")
evaluations: Registry[Evaluation] = Registry("sslzoo.evaluations", "evaluation", "sslzoo.evaluation:Evaluation")
datasets: Registry[NamedDataset] = Registry("sslzoo.datasets", "data set", "sslzoo.data.source:NamedDataset")

KINDS: dict[str, Registry[Any]] = {"methods": methods, "evaluations": evaluations, "datasets": datasets}


def _imported(entry: EntryPoint, seconds: float) -> Any:
    """What an entry point names, imported in a thread that can be left behind if that never ends."""
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(entry.load())
        except BaseException as error:  # SystemExit too: whatever a stranger's module raises is that package's fault
            outcome.set_exception(error)

    thread = Thread(target=run, name=f"import of {entry.value}", daemon=True)
    thread.start()
    try:
        error = outcome.exception(timeout=seconds)
    except TimeoutError:
        place = _place(thread, entry.module.partition(".")[0])
        raise HangingPlugin(f"{origin(entry)} hangs on import: after {seconds:g} s it is at {place}") from None
    if error is not None:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise BrokenPlugin(f"{origin(entry)} does not import: {said}") from error
    return outcome.result()


def _place(thread: Thread, package: str) -> str:
    """``file:line`` a thread has come to: the innermost that lies in ``package``, or else the innermost."""
    frame = sys._current_frames().get(thread.ident or 0)
    frames = list(walk_stack(frame)) if frame else []
    own = [at for at in frames if str(at[0].f_globals.get("__name__")).partition(".")[0] == package]
    return next((f"{frame.f_code.co_filename}:{line}" for frame, line in own or frames), "its end")


def _fault(plugin: Any, contract: type, name: str) -> str:
    """What keeps ``plugin`` from being used under ``name``; empty if nothing does.

    The contract says what a plugin must hold: its abstract methods, its class variables, its constructor.
    """
    if not (isinstance(plugin, type) and issubclass(plugin, contract)):
        return f"is not a {contract.__name__}"
    if missing := sorted(getattr(plugin, "__abstractmethods__", ())):
        return f"does not implement {', '.join(missing)}"
    for part, declared in inspect.get_annotations(contract, eval_str=True).items():
        kind = get_args(declared)[0]
        held = getattr(plugin, part, None)
        if not isinstance(held, get_origin(kind) or kind):
            return f"has no {part} that is a {kind.__name__}"
        if part == "Config" and (fault := _config_fault(held)):
            return fault
    if objection := objection_to_contract(plugin.info.contract):  # type: ignore[attr-defined]  # checked above
        return objection
    if (called := plugin.info.name) != name:  # type: ignore[attr-defined]
        return f"calls itself {called!r}, not {name!r}"
    given = list(inspect.signature(contract).parameters)
    try:
        inspect.signature(plugin).bind(*given)
    except TypeError:
        return f"cannot be built from ({', '.join(given)}), as every {contract.__name__} must"
    return ""


def _config_fault(config: type) -> str:
    if not is_dataclass(config) or not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "has a Config that is no frozen dataclass"
    bare = [field.name for field in fields(config) if field.default is field.default_factory is MISSING and field.init]
    return f"has a Config with no default for {', '.join(bare)}" if bare else ""
