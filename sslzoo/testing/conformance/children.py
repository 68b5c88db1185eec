"""A function in a process of its own: what it breaks, prints or leaves behind stays there."""

from __future__ import annotations

import multiprocessing
import os
import sysconfig
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

SECONDS = 300.0
"""How long a job may take before it counts as hanging."""
_PRELOADED = ["sslzoo.testing.conformance.jobs"]
_LIBRARIES = {"sslzoo", "torch", "timm", "accelerate", "torchvision", "datasets", "safetensors", "multiprocessing"}


class JobError(Exception):
    """A job did not come to its end. Its text says why."""


class Job:
    """``function(*arguments)`` in a process of its own, started at once."""

    def __init__(
        self, function: Callable[..., Any], *arguments: Any, environment: dict[str, str] | None = None
    ) -> None:
        """``function`` and ``arguments`` are picklable; ``environment`` is added to that of the process."""
        context = _context()
        self._receiver, sender = context.Pipe(duplex=False)
        self._directory = tempfile.TemporaryDirectory(prefix="sslzoo-check-")
        usual = multiprocessing.get_start_method()
        work = (sender, usual, self._directory.name, environment or {}, function, arguments)
        self._process = context.Process(target=_work, args=work)
        self._process.start()
        sender.close()

    def result(self, seconds: float = SECONDS) -> Any:
        """What the function returned.

        Raises:
            JobError: if it raised, if its process ended, or if it took more than ``seconds``.
        """
        try:
            if not self._receiver.poll(seconds):
                raise JobError(f"does not come to an end: stopped after {seconds:.0f} s")
            error, value = self._receiver.recv()
        except EOFError:
            self._process.join()
            raise JobError(f"ends the process, with exit code {self._process.exitcode}") from None
        finally:
            self.end()
        if error:
            raise JobError(error)
        return value

    def end(self) -> None:
        """Stop the process if it still runs, and remove what it left in its working directory."""
        self._process.kill()
        self._process.join()
        self._receiver.close()
        self._directory.cleanup()


def results(jobs: Sequence[Job]) -> list[Any]:
    """What all of them returned. When one fails the others are stopped, for they may wait for it.

    Raises:
        JobError: if one does not come to its end.
    """
    try:
        return [job.result() for job in jobs]
    finally:
        for job in jobs:
            job.end()


def describe(error: BaseException) -> str:
    """An exception in one line, with the innermost place that is the plugin's rather than a library's."""
    own = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if not _is_a_librarys(frame)]
    place = f" ({os.path.basename(own[-1].f_code.co_filename)}:{own[-1].f_lineno})" if own else ""
    text = " ".join(str(error).split())
    return f"raises {type(error).__name__}: {text}{place}"


def _is_a_librarys(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    standard = path.startswith(sysconfig.get_path("stdlib")) and "site-packages" not in path
    return standard or frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES


def _work(
    sender: Connection,
    usual: str,
    directory: str,
    environment: dict[str, str],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    multiprocessing.set_start_method(usual, force=True)  # for loader workers: a second server would import torch again
    os.chdir(directory)  # what a plugin leaves lying about is not left to the user
    os.environ.update(environment)
    silence = os.open(os.devnull, os.O_RDWR)
    for standard in (1, 2):
        os.dup2(silence, standard)
    try:
        sender.send(("", function(*arguments)))
    except BaseException as error:  # whatever a stranger's code raises is the answer
        sender.send((describe(error), None))


@cache
def _context() -> Any:
    """Processes forked from a server that has imported torch once; where there is no fork, fresh ones."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context
