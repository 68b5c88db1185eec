"""HTTP: what is asked, what is answered, and the socket between."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Call:
    """A request in progress."""

    method: str
    path: str
    """As sent: still quoted."""
    query: dict[str, list[str]]
    headers: Message
    body: bytes = b""
    user: str | None = None
    role: str = "anonymous"
    parts: dict[str, str] = field(default_factory=dict)
    """What the pattern of the route named, unquoted."""

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise HubError(400, f"The body is no JSON: {error}") from error

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in {"1", "true"}


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Break the connection after so many bytes of the body."""

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        body = json.dumps(value, default=str).encode()
        return cls(status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})


class HubError(Exception):
    """A refusal, as the client understands it.

    ``code`` is one of the words the client looks for: RepoNotFound, RevisionNotFound, EntryNotFound, GatedRepo.
    """

    def __init__(self, status: int, message: str, code: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})

    def reply(self) -> Reply:
        line = " ".join(self.message.split()).encode("ascii", "replace").decode()
        headers = {"X-Error-Message": line, **({"X-Error-Code": self.code} if self.code else {}), **self.headers}
        return Reply.json({"error": self.message}, self.status, headers)


def file_reply(call: Call, data: bytes, headers: Mapping[str, str]) -> Reply:
    """A file, or the range of it that was asked for."""
    whole = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    wanted = re.fullmatch(r"bytes=(?:(\d+)-(\d*)|-(\d+))", call.headers.get("Range", ""))
    if not wanted:
        return Reply(200, data, whole)
    first, last, suffix = wanted.groups()
    start = max(len(data) - int(suffix), 0) if suffix else int(first)
    stop = min(int(last) + 1, len(data)) if last else len(data)
    if start >= stop:
        raise HubError(416, "Requested range not satisfiable", headers={"Content-Range": f"bytes */{len(data)}"})
    return Reply(206, data[start:stop], {**whole, "Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})


class Origin(ThreadingHTTPServer):
    """A listening socket on a free port of ``host``, and the function that answers there.

    ``hears`` says of a request after how many bytes of its body to hang up; ``None``: not at all.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, host: str, answer: Callable[[Call], Reply], hears: Callable[[Call], int | None] = lambda call: None
    ) -> None:
        self.answer = answer
        self.hears = hears
        self._open: set[socket.socket] = set()
        super().__init__((host, 0), Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name=f"loopback-{host}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{self.server_name}:{self.server_port}"

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name that HTTPServer makes."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Stop listening, and hang up on clients that keep their connection."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Origin

    def exchange(self) -> None:
        target = urlsplit(self.path)
        query = parse_qs(target.query, keep_blank_values=True)
        call = Call(self.command, target.path, query, self.headers)
        heard = self.server.hears(call)
        if heard is not None:
            self.rfile.read(min(heard, int(self.headers.get("Content-Length", 0))))
            raise ConnectionAbortedError("a fault that was asked for")
        call.body = self._body()
        self._send(self.server.answer(call))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = exchange

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the hub has its own log."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self._read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            chunks.append(self._read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            continue
        return b"".join(chunks)

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError(f"the client hung up after {len(data)} of {size} bytes")
        return data

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[: reply.cut])
        if reply.cut is not None:
            self.close_connection = True
