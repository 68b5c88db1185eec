"""Import every plugin where it can do no harm: in another process, which is replaced when one hangs or kills it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from signal import Signals
from typing import NamedTuple

from sslzoo.config import UserError
from sslzoo.registry import IMPORT_SECONDS, KINDS, HangingPlugin

GRACE = 5.0
"""Seconds after the time limit in which the other process can itself say where an import hangs."""

_SPAWN = multiprocessing.get_context("spawn")


class Plugin(NamedTuple):
    """One declared plugin."""

    kind: str
    """A key of ``KINDS``."""
    name: str


def declared_plugins() -> list[Plugin]:
    """Every plugin of every kind."""
    return [Plugin(kind, name) for kind, registry in KINDS.items() for name in registry.names()]


def survey(plugins: Sequence[Plugin], seconds: float = IMPORT_SECONDS) -> dict[Plugin, str]:
    """Load ``plugins``, each within ``seconds``; gives the reasons of those that cannot be used.

    Raises:
        UserError: if the other process does not come as far as the first of them.
    """
    reasons: list[str] = []
    while len(reasons) < len(plugins):
        reasons += _by_one_process(plugins[len(reasons) :], seconds)
    return {plugin: reason for plugin, reason in zip(plugins, reasons, strict=True) if reason}


def _by_one_process(plugins: Sequence[Plugin], seconds: float) -> Iterator[str]:
    """Why each cannot be used, in their order, empty if it can; ends after one that the process does not survive."""
    ours, theirs = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_load_each, args=(theirs, plugins, seconds), daemon=True)
    process.start()
    theirs.close()
    try:
        _wait_until_ready(ours, process)
        for plugin in plugins:
            origin = KINDS[plugin.kind].origin(plugin.name)
            if not ours.poll(seconds + GRACE):
                yield f"{origin} hangs on import: no sign of life after {seconds:g} s"
                return
            try:
                reason, survived = ours.recv()
            except EOFError:
                yield f"{origin} ends the process on import, {_end(process)}"
                return
            yield reason
            if not survived:
                return
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def _wait_until_ready(pipe: Connection, process: BaseProcess) -> None:
    try:
        pipe.recv()
    except EOFError:
        raise UserError(f"the process that imports plugins ended before the first of them, {_end(process)}") from None


def _end(process: BaseProcess) -> str:
    process.join()
    code = process.exitcode or 0
    return f"by signal {Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _load_each(pipe: Connection, plugins: Sequence[Plugin], seconds: float) -> None:
    """What the other process does: answer for each plugin with the reason, and whether it goes on."""
    for registry in KINDS.values():
        registry.contract()
    _silence()
    pipe.send("ready")
    for plugin in plugins:
        try:
            KINDS[plugin.kind].load(plugin.name, seconds)
        except HangingPlugin as error:
            pipe.send((str(error), False))
            return
        except UserError as error:
            pipe.send((str(error), True))
        else:
            pipe.send(("", True))


def _silence() -> None:
    """What plugins print on import, also from C, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
