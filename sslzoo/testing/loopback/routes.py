"""Which function answers which address."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlencode

from sslzoo.testing.loopback.store import Store, missing_repository
from sslzoo.testing.loopback.wire import Call, HubError, Reply

Respond = Callable[[Store, Call], Reply]

SEGMENTS = {
    "kind": "models|datasets|spaces",
    "prefix": "(?:(?P<kind>datasets|spaces)/)?",
    "repo": "[^/]+/[^/]+?",
    "path": ".+",
}
"""What a name in a route stands for; any other is one segment, in which slashes are quoted."""

SHORT_NAME = re.compile(r"(/api/(models|datasets|spaces)|(/datasets|/spaces)?)/[^/]+(/(revision|resolve|tree)/.*)?")


class Router:
    """Routes by method and pattern. Paths are taken apart before they are unquoted."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Respond]] = []

    def add(self, method: str, route: str) -> Callable[[Respond], Respond]:
        """Let the function below answer ``method`` on ``route``, as in ``/api/{kind}/{repo}/refs``."""
        pattern = re.compile("".join(_segment(part) for part in re.split(r"(\{\w+\})", route)))

        def register(respond: Respond) -> Respond:
            self._routes.append((method, pattern, respond))
            return respond

        return register

    def include(self, *others: Router) -> None:
        for other in others:
            self._routes += other._routes

    def dispatch(self, store: Store, call: Call) -> Reply:
        methods = ("HEAD", "GET") if call.method == "HEAD" else (call.method,)
        for method, pattern, respond in self._routes:
            if method in methods and (match := pattern.fullmatch(call.path)):
                call.parts = {name: unquote(value or "") for name, value in match.groupdict().items()}
                return respond(store, call)
        if SHORT_NAME.fullmatch(call.path):
            raise missing_repository(call)
        raise HubError(404, f"The loopback hub has no {call.method} {call.path}")


def _segment(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    name = part[1:-1]
    return SEGMENTS[name] if name == "prefix" else f"(?P<{name}>{SEGMENTS.get(name, '[^/]+')})"


def page(store: Store, call: Call, items: Sequence[Any], size: int) -> Reply:
    """One page of a list, and the address of the next."""
    start = int(call.query.get("cursor", ["0"])[0])
    headers = {}
    if start + size < len(items):
        query = urlencode({**call.query, "cursor": [str(start + size)]}, doseq=True)
        headers["Link"] = f'<{store.endpoint}{call.path}?{query}>; rel="next"'
    return Reply.json(items[start : start + size], headers=headers)
