"""The hub as one object: started, asked about, and told to fail."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from sslzoo.testing.loopback import downloads, repos, trees, uploads, xet
from sslzoo.testing.loopback.chunks import XetStore
from sslzoo.testing.loopback.repository import Repository
from sslzoo.testing.loopback.routes import Router
from sslzoo.testing.loopback.store import Store
from sslzoo.testing.loopback.traffic import Fault, Request, Traffic
from sslzoo.testing.loopback.wire import Call, HubError, Origin, Reply

API = Router()
API.include(repos.router, trees.router, uploads.router, xet.router, downloads.hub)


class LoopbackHub:
    """A Hub on 127.0.0.1, with a CDN for large files on 127.0.0.2.

    Args:
        page_size: longest list the API gives in one answer.
        part_size: large files above so many bytes are uploaded in parts of that size; ``None``: always in one.
        xet: a folder for the chunks that clients with hf-xet send; ``None``: such clients must have it disabled.
    """

    def __init__(self, *, page_size: int = 1000, part_size: int | None = None, xet: Path | None = None) -> None:
        self._store = Store(page_size=page_size, part_size=part_size, xet=XetStore(xet) if xet else None)
        self._traffic = Traffic()
        self._origins: list[Origin] = []
        self.token = self._store.issue_token("tester", "write")
        """Of the user ``tester``, who may write to their own namespace and to any that nobody has."""

    def start(self) -> LoopbackHub:
        if self._store.endpoint:
            raise RuntimeError("A loopback hub is started once; make another")
        self._origins = [
            Origin("127.0.0.1", self._answering("hub", self._answer_api), self._traffic.hears),
            _cdn_origin(self._answering("cdn", self._answer_cdn), self._traffic.hears),
        ]
        self._store.endpoint, self._store.cdn = (origin.url for origin in self._origins)
        return self

    def stop(self) -> None:
        """Hang up and free the ports. What was pushed can still be looked at."""
        self._traffic.stopped.set()
        for origin in self._origins:
            origin.stop()
        self._origins = []

    def __enter__(self) -> LoopbackHub:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:PORT``, also after the hub has stopped."""
        return self._store.endpoint

    def environment(self, home: Path) -> dict[str, str]:
        """Environment variables that make the client of a new process use this hub and keep its files in ``home``."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_DATASETS_CACHE": str(home / "datasets"),
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": self.token,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_XET": "0" if self._store.xet else "1",
            "NO_PROXY": "127.0.0.1,127.0.0.2",
            "no_proxy": "127.0.0.1,127.0.0.2",
        }

    def issue_token(self, user: str, role: str = "write") -> str:
        """A token of another user, or one that only reads (``role="read"``)."""
        return self._store.issue_token(user, role)

    def repo(self, name: str, kind: str = "model") -> Repository:
        """What the hub holds under ``org/name``; ``kind`` is ``model``, ``dataset`` or ``space``."""
        return self._store.repositories[kind, name]

    @property
    def repos(self) -> list[Repository]:
        return list(self._store.repositories.values())

    @property
    def requests(self) -> list[Request]:
        """Every exchange since the start, or since ``clear_requests()``."""
        return list(self._traffic.requests)

    def clear_requests(self) -> None:
        self._traffic.requests.clear()

    def watch(self) -> AbstractContextManager[list[Request]]:
        """``with hub.watch() as requests:`` lists the exchanges of a block."""
        return self._traffic.watch()

    def fail(
        self, method: str, path: str, *, status: int = 503, times: int = 1, headers: Mapping[str, str] | None = None
    ) -> Fault:
        """Answer the next requests with an error. ``path`` is a regular expression searched in the quoted path."""
        return self._traffic.add(path, method=method, times=times, status=status, headers=headers)

    def cut(self, path: str, *, after_bytes: int, times: int = 1) -> Fault:
        """Break the connection inside the next downloads that are longer than ``after_bytes``."""
        return self._traffic.add(path, method="GET", times=times, cut=after_bytes)

    def cut_upload(self, path: str, *, after_bytes: int, times: int = 1) -> Fault:
        """Hang up inside the body of the next requests that bring something."""
        return self._traffic.add(path, times=times, heard=after_bytes)

    def leave(self, method: str, path: str) -> Fault:
        """Go away for good when the next such request comes, before it has any effect."""
        return self._traffic.add(path, method=method, then=self.stop)

    def meanwhile(self, method: str, path: str, act: Callable[[], None]) -> Fault:
        """Have something happen between the next such request and its effect: somebody else is faster."""
        return self._traffic.add(path, method=method, then=act)

    def corrupt(self, path: str, *, times: int = 1) -> Fault:
        """Flip the last bit of the next downloads. The client does not check: who loads must."""
        return self._traffic.add(path, method="GET", times=times, corrupt=True)

    def delay(self, path: str, seconds: float, *, times: int = 1) -> Fault:
        """Let the next requests wait."""
        return self._traffic.add(path, times=times, seconds=seconds)

    def clear_faults(self) -> None:
        self._traffic.faults.clear()

    def _answer_api(self, call: Call) -> Reply:
        with self._store.lock:
            self._store.authenticate(call)
            return API.dispatch(self._store, call)

    def _answer_cdn(self, call: Call) -> Reply:
        return downloads.cdn.dispatch(self._store, call)

    def _answering(self, origin: str, respond: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
        """``respond`` with faults, errors and the log around it."""

        def answer(call: Call) -> Reply:
            try:
                self._traffic.hinder(call)
                reply = self._traffic.spoil(call, respond(call))
            except HubError as error:
                reply = error.reply()
            except ConnectionAbortedError:
                raise
            except Exception as error:
                traceback.print_exc()
                reply = HubError(500, f"The loopback hub is broken: {error!r}").reply()
            self._traffic.record(origin, call, reply)
            return reply

        return answer


def _cdn_origin(answer: Callable[[Call], Reply], hears: Callable[[Call], int | None]) -> Origin:
    """Another host, so that the client takes the redirect for one that leaves the hub; else another port."""
    try:
        return Origin("127.0.0.2", answer, hears)
    except OSError:
        return Origin("127.0.0.1", answer, hears)
