"""Where files are read from: the hub for those in git, the CDN for the large ones."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

from sslzoo.testing.loopback.objects import Blob
from sslzoo.testing.loopback.repository import Repository
from sslzoo.testing.loopback.routes import Router
from sslzoo.testing.loopback.store import Store
from sslzoo.testing.loopback.trees import no_entry
from sslzoo.testing.loopback.wire import Call, HubError, Reply, file_reply

hub = Router()
cdn = Router()


@hub.add("GET", "/{prefix}{repo}/resolve/{revision}/{path}")
def resolve(store: Store, call: Call) -> Reply:
    """A file, or for a large one the way to it. The commit is told in either case, and also where there is no file."""
    repository = store.open_gate(call)
    commit = repository.resolve(call.parts["revision"])
    blob = commit.files.get(call.parts["path"])
    if blob is None:
        raise no_entry(commit, f"{call.parts['path']} does not exist on {commit.oid}")
    if not blob.lfs:
        return file_reply(call, blob.data, {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.etag}"'})
    headers = {
        "Location": f"{store.cdn}/{repository.key}/{blob.sha256}/{quote(call.parts['path'])}",
        "X-Repo-Commit": commit.oid,
        "X-Linked-Etag": f'"{blob.etag}"',
        "X-Linked-Size": str(len(blob.data)),
    }
    if store.xet and (xet_hash := store.xet.hashes.get(blob.sha256)):
        token = f"{store.endpoint}/api/{repository.kind}s/{repository.name}/xet-read-token/{commit.oid}"
        headers |= {"X-Xet-Hash": xet_hash, "Link": f'<{token}>; rel="xet-auth"'}
    return Reply(302, b"", headers)


@cdn.add("GET", "/{key}/{oid}/{path}")
def download(store: Store, call: Call) -> Reply:
    """A large file. Its path is in the address for the reader of the log only."""
    blob = _repository(store, call).large_files.get(call.parts["oid"])
    if blob is None:
        raise HubError(404, "No such object")
    return file_reply(call, blob.data, {"ETag": f'"{blob.sha256}"'})


@cdn.add("PUT", "/{key}/{oid}")
def upload(store: Store, call: Call) -> Reply:
    """A large file or, with ``?part=n``, a part of one."""
    repository = _repository(store, call)
    if "part" in call.query:
        repository.parts[call.parts["oid"], int(call.query["part"][0])] = call.body
    else:
        _keep(repository, call.parts["oid"], call.body)
    return Reply(headers={"ETag": f'"{hashlib.sha256(call.body).hexdigest()}"'})


@cdn.add("POST", "/{key}/{oid}")
def join_parts(store: Store, call: Call) -> Reply:
    repository = _repository(store, call)
    oid = call.parts["oid"]
    numbers = [part["partNumber"] for part in call.json()["parts"]]
    if any((oid, number) not in repository.parts for number in numbers):
        raise HubError(400, f"Parts of {oid} are missing")
    _keep(repository, oid, b"".join(repository.parts.pop((oid, number)) for number in sorted(numbers)))
    return Reply.json({})


def _keep(repository: Repository, oid: str, data: bytes) -> None:
    blob = Blob(data, lfs=True)
    if blob.sha256 != oid:
        raise HubError(400, f"The bytes sent have sha256 {blob.sha256}, not {oid}")
    repository.large_files[oid] = blob


def _repository(store: Store, call: Call) -> Repository:
    """By the key in the address, which serves as its signature: no token is looked at here."""
    for repository in list(store.repositories.values()):
        if repository.key == call.parts["key"]:
            return repository
    raise HubError(404, "No such object")
