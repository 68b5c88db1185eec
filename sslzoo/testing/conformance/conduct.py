"""What a plugin does to the process it runs in: told by audit hooks, and by looking before and after."""

from __future__ import annotations

import locale
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import numpy as np
import torch

from sslzoo.testing.conformance.subject import Subject
from sslzoo.testing.conformance.views import Verdict

PROMISES = ("quiet", "no-files", "no-global-state", "no-network")
_PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}
_NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"}
_CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree"}
_GLOBALS = {"os.putenv", "os.unsetenv", "os.chdir"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_SETTERS: list[tuple[Any, str]] = [
    *((torch, name) for name in ("manual_seed", "seed", "set_default_dtype", "set_num_threads", "set_default_device")),
    *((torch, name) for name in ("use_deterministic_algorithms", "set_float32_matmul_precision")),
    *((random, "seed"), (np.random, "seed"), (signal, "signal"), (locale, "setlocale")),
    *((warnings, "filterwarnings"), (warnings, "simplefilter")),
]


class Conduct:
    """Notes what the code of one top-level package does, from now to the end of the process."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.noted: dict[str, str] = {}
        self.began, self.filters = _state(), warnings.filters
        sys.stdout, sys.stderr = _Ear(self, sys.stdout), _Ear(self, sys.stderr)
        for module, name in _SETTERS:
            setattr(module, name, self._noting(f"{module.__name__}.{name}", getattr(module, name)))
        sys.addaudithook(self._audit)

    def note(self, promise: str, what: str) -> None:
        """Keep the first breach of each promise, if it is this package's doing."""
        place = self._place()
        if place and promise not in self.noted:
            self.noted[promise] = f"{what} ({place})"

    def compare(self) -> None:
        """Note global state that is not as it was."""
        now = _state()
        changed = [name for name, value in self.began.items() if now[name] != value]
        if changed:
            self.noted.setdefault("no-global-state", f"changes {', '.join(changed)}")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            if str(arguments[0]) != os.devnull and "__pycache__" not in str(arguments[0]):
                self.note("no-files", f"opens {_base(arguments[0])} to write")
        elif event in _CHANGES and "__pycache__" not in str(arguments[0]):
            self.note("no-files", f"{event} of {_base(arguments[0])}")
        elif event in _PROGRAMS:
            self.note("no-files", "starts a program")
        elif event in _GLOBALS:
            self.note("no-global-state", event)
        elif event in _NETWORK and self._place():
            self.note("no-network", f"{event} {arguments[-1]!r}" if event == "socket.connect" else event)
            raise PermissionError("a method has no business on the network")

    def _noting(self, name: str, setter: Callable[..., Any]) -> Callable[..., Any]:
        def set_and_note(*arguments: Any, **named: Any) -> Any:
            passing = setter.__module__ == "warnings" and warnings.filters is not self.filters  # in catch_warnings()
            if not passing:
                self.note("no-global-state", f"calls {name}")
            return setter(*arguments, **named)

        return set_and_note

    def _place(self) -> str:
        """Where in the package this happens; empty if it is the core's doing, or a library's while it is imported."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            module = frame.f_globals.get("__name__", "")
            if module == self.package or module.startswith(f"{self.package}."):
                return f"{_base(frame.f_code.co_filename)}:{frame.f_lineno}"
            core = module.startswith("sslzoo.") and module != __name__
            if core or module in ("logging", "warnings", "importlib._bootstrap"):
                return ""
            frame = frame.f_back
        return ""


class _Ear:
    """A standard stream that notes who writes to it."""

    def __init__(self, conduct: Conduct, stream: TextIO) -> None:
        self._conduct, self._stream = conduct, stream

    def write(self, text: str) -> int:
        if text.strip():
            self._conduct.note("quiet", f"prints {text.strip()[:40]!r}")
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def observed(package: str, folder: Path, run: Callable[[Path], None], promises: Sequence[str]) -> Iterator[Verdict]:
    """``run`` a plugin with ``folder`` as working directory and a folder in it to use; tell of ``promises``."""
    os.chdir(folder)
    torch.set_num_threads(1)  # as runs do that are examined; else it would seem to be the plugin's doing
    conduct = Conduct(package)
    try:
        run(folder / "run")
        conduct.compare()
    except Exception:
        if not conduct.noted:  # else the breach is the news, not what came of it
            raise
    left = sorted(path.name for path in folder.iterdir() if path.name != "run")
    if left:
        conduct.noted.setdefault("no-files", f"leaves {', '.join(left)} in the working directory")
    for promise in promises:
        yield promise, conduct.noted.get(promise, "")


def check_conduct(subject: Subject, folder: Path) -> Iterator[Verdict]:
    """Import a method's plugin and call everything it has, under observation."""

    def call_everything(run: Path) -> None:
        training = subject.training(run, epochs=1)
        training.restore()
        training.train()
        training.method.eval()
        with torch.no_grad():
            training.method.illustrate(training.batches.shown())
        training.method.trained_encoder()

    yield from observed(subject.package, folder, call_everything, PROMISES)


def _state() -> dict[str, Any]:
    """Settings that have no call to listen to, and the generators that no checkpoint holds."""
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's number of threads": torch.get_num_threads(),
        "torch.backends.cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "the state of numpy's global generator": str(np.random.get_state()),
        "the state of random's global generator": random.getstate(),
        "the working directory": os.getcwd(),
    }


def _base(path: object) -> str:
    return os.path.basename(str(path))
