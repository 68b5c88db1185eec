"""What went over the wire, and what is to go wrong on it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from sslzoo.testing.loopback.wire import Call, HubError, Reply


@dataclass(frozen=True)
class Request:
    """An exchange that took place."""

    origin: str
    """``hub``, or ``cdn`` where the large files are."""
    method: str
    path: str
    """As sent: still quoted."""
    status: int
    sent: int
    """Bytes of the request's body."""
    authorized: bool
    """Whether a token was sent."""
    range: str | None
    """The ``Range`` header."""
    agent: str
    """The ``User-Agent`` header: by what the client says it is used."""


@dataclass
class Fault:
    """A trouble that the next ``times`` requests run into, if their method and path fit."""

    method: str | None
    path: re.Pattern[str]
    times: int
    error: HubError | None = None
    seconds: float = 0.0
    cut: int | None = None
    corrupt: bool = False
    heard: int | None = None
    then: Callable[[], None] | None = None
    hits: list[str] = field(default_factory=list)
    """Method and path of the requests it struck."""

    @property
    def hinders(self) -> bool:
        """Whether it comes before the request has any effect."""
        return bool(self.seconds or self.error or self.then)

    def strikes(self, call: Call) -> bool:
        fits = self.method in (None, call.method) and self.path.search(call.path)
        if not fits or len(self.hits) >= self.times:
            return False
        self.hits.append(f"{call.method} {call.path}")
        return True


class Traffic:
    """The log and the faults of both origins."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.stopped = threading.Event()
        self._watching: list[list[Request]] = []
        self._lock = threading.Lock()

    def hinder(self, call: Call) -> None:
        """Delay or refuse a request before it has any effect; a hub that has left answers nobody.

        A client whose connection is hung up on may try again at once over another that is still open.
        """
        with self._lock:
            struck = [fault for fault in self.faults if fault.hinders and fault.strikes(call)]
        for fault in struck:
            self.stopped.wait(fault.seconds)
            if fault.then:
                fault.then()
            if fault.error:
                raise fault.error
        if self.stopped.is_set():
            raise ConnectionAbortedError("the hub has left")

    def hears(self, call: Call) -> int | None:
        """After how many bytes of a request's body to hang up; ``None``: not at all."""
        with self._lock:
            struck = [fault.heard for fault in self.faults if fault.heard is not None and fault.strikes(call)]
        return min(struck, default=None)

    def spoil(self, call: Call, reply: Reply) -> Reply:
        """Cut or alter the body of a reply, if it has one to spoil."""
        with self._lock:
            for fault in self.faults:
                if fault.cut is not None and len(reply.body) > fault.cut and fault.strikes(call):
                    reply.cut = fault.cut
                if fault.corrupt and reply.body and reply.status in (200, 206) and fault.strikes(call):
                    reply.body = reply.body[:-1] + bytes([reply.body[-1] ^ 1])
        return reply

    def record(self, origin: str, call: Call, reply: Reply) -> None:
        authorized, told = (
            "Authorization" in call.headers,
            (call.headers.get("Range"), call.headers.get("User-Agent", "")),
        )
        request = Request(origin, call.method, call.path, reply.status, len(call.body), authorized, *told)
        with self._lock:
            for log in (self.requests, *self._watching):
                log.append(request)

    @contextmanager
    def watch(self) -> Iterator[list[Request]]:
        """A list that receives the requests made inside the block."""
        log: list[Request] = []
        with self._lock:
            self._watching.append(log)
        try:
            yield log
        finally:
            with self._lock:
                self._watching = [other for other in self._watching if other is not log]

    def add(
        self,
        path: str,
        *,
        method: str | None = None,
        times: int = 1,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        seconds: float = 0.0,
        cut: int | None = None,
        corrupt: bool = False,
        heard: int | None = None,
        then: Callable[[], None] | None = None,
    ) -> Fault:
        error = HubError(status, "A fault that was asked for", headers=headers) if status else None
        fault = Fault(method, re.compile(path), times, error, seconds, cut, corrupt, heard, then)
        with self._lock:
            self.faults.append(fault)
        return fault
