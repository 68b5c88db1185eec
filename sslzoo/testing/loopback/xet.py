"""The API of Xet: where the chunks of large files are to be put, and to be had."""

from __future__ import annotations

import time

from sslzoo.testing.loopback.routes import Router
from sslzoo.testing.loopback.store import Store
from sslzoo.testing.loopback.wire import Call, HubError, Reply

router = Router()

HOUR = 3600


@router.add("GET", "/api/{kind}/{repo}/xet-write-token/{revision}")
def write_token(store: Store, call: Call) -> Reply:
    if not call.flag("create_pr"):
        store.writable(call)
    return _token(store)


@router.add("GET", "/api/{kind}/{repo}/xet-read-token/{revision}")
def read_token(store: Store, call: Call) -> Reply:
    store.open_gate(call)
    return _token(store)


def _token(store: Store) -> Reply:
    """Where the chunks are. The store in a folder asks for no token."""
    if store.xet is None:
        raise HubError(404, "This hub has no Xet store")
    expires = int(time.time()) + HOUR
    headers = {"X-Xet-Cas-Url": store.xet.url, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(expires)}
    return Reply.json({"casUrl": store.xet.url, "accessToken": "xet", "exp": expires}, headers=headers)
