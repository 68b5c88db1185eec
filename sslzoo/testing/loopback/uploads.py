"""The API that files arrive by: ask how to send them, send the large ones, commit."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from math import ceil
from pathlib import PurePosixPath
from typing import Any

from sslzoo.testing.loopback import cards
from sslzoo.testing.loopback.chunks import XetStore
from sslzoo.testing.loopback.objects import Blob
from sslzoo.testing.loopback.repository import Repository, is_large
from sslzoo.testing.loopback.routes import Router
from sslzoo.testing.loopback.store import Store
from sslzoo.testing.loopback.trees import no_entry
from sslzoo.testing.loopback.wire import Call, HubError, Reply

router = Router()


@router.add("POST", "/api/{kind}/{repo}/preupload/{revision}")
def preupload(store: Store, call: Call) -> Reply:
    """Which files go beside git, and what is there already, so that the client leaves it out."""
    commit = _target(store, call).resolve(call.parts["revision"])
    answers = []
    for file in call.json()["files"]:
        large = is_large(file["path"], file["size"], base64.b64decode(file["sample"]))
        answer = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if file["path"] in commit.files:
            answer["oid"] = commit.files[file["path"]].etag
        answers.append(answer)
    return Reply.json({"files": answers, "commitOid": commit.oid})


def _target(store: Store, call: Call) -> Repository:
    """The repository to write to. A pull request may come from anyone who has an account."""
    if call.flag("create_pr") and call.user:
        return store.readable(call)
    return store.writable(call)


@router.add("POST", "/{prefix}{repo}.git/info/lfs/objects/batch")
def batch(store: Store, call: Call) -> Reply:
    """Where large files are to be put; nowhere, if they are here."""
    repository = store.readable(call)
    if call.user is None:
        raise HubError(401, "Invalid username or password.")
    wanted = call.json()
    sizes = {file["oid"]: file["size"] for file in wanted["objects"]}
    in_parts = store.part_size is not None and max(sizes.values(), default=0) > store.part_size
    in_parts = in_parts and "multipart" in wanted.get("transfers", [])
    objects: list[dict[str, Any]] = [{"oid": oid, "size": size} for oid, size in sizes.items()]
    for file in objects:
        if file["oid"] not in repository.large_files:
            upload = _upload_action(store, repository, file["oid"], file["size"], in_parts=in_parts)
            verify = {"href": f"{store.endpoint}/{repository.location}.git/info/lfs/objects/verify"}
            file["actions"] = {"upload": upload, "verify": verify}
    return Reply.json({"transfer": "multipart" if in_parts else "basic", "objects": objects})


def _upload_action(store: Store, repository: Repository, oid: str, size: int, *, in_parts: bool) -> dict[str, Any]:
    href = f"{store.cdn}/{repository.key}/{oid}"
    if not (in_parts and store.part_size):
        return {"href": href}
    parts = {f"{number:05}": f"{href}?part={number}" for number in range(1, ceil(size / store.part_size) + 1)}
    return {"href": href, "header": {"chunk_size": str(store.part_size), **parts}}


@router.add("POST", "/{prefix}{repo}.git/info/lfs/objects/verify")
def verify(store: Store, call: Call) -> Reply:
    wanted = call.json()
    _uploaded(store.readable(call), wanted["oid"], wanted["size"])
    return Reply.json({})


def _uploaded(repository: Repository, oid: str, size: int | None) -> Blob:
    blob = repository.large_files.get(oid)
    if blob is None or size not in (None, len(blob.data)):
        raise HubError(400, f"The large file {oid} of {size} bytes was not uploaded")
    return blob


@router.add("POST", "/api/{kind}/{repo}/commit/{revision}")
def commit(store: Store, call: Call) -> Reply:
    """All operations, or none."""
    repository = _target(store, call)
    lines = [json.loads(line) for line in call.body.splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    ref = repository.branch_ref(call.parts["revision"])
    base = repository.resolve(ref)
    if store.xet:
        _receive_chunks(store.xet, repository, [line["value"] for line in lines if line["key"] == "lfsFile"])
    if header.get("parentCommit", base.oid) != base.oid:
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = _changed(repository, ref, (line for line in lines if line["key"] != "header"))
    is_pull = call.flag("create_pr")
    number = 1 + sum(name.startswith("refs/pr/") for name in repository.refs)
    target = f"refs/pr/{number}" if is_pull else ref
    title, message = header["summary"], header.get("description", "")
    new = repository.commit(target, files, title, message, author=call.user or "", parent=base.oid)
    page = f"{store.endpoint}/{repository.location}"
    answer = {"success": True, "commitOid": new.oid, "commitUrl": f"{page}/commit/{new.oid}", "hookOutput": ""}
    return Reply.json(answer | ({"pullRequestUrl": f"{page}/discussions/{number}"} if is_pull else {}))


def _receive_chunks(xet: XetStore, repository: Repository, files: list[dict[str, Any]]) -> None:
    for file in files:
        if file["oid"] not in repository.large_files and (blob := xet.find(file["oid"], file["size"])):
            repository.large_files[file["oid"]] = blob


def _changed(repository: Repository, ref: str, operations: Iterable[dict[str, Any]]) -> dict[str, Blob]:
    """The files of ``ref`` after the operations."""
    before = repository.resolve(ref)
    files = dict(before.files)
    for operation in operations:
        key, value = operation["key"], operation["value"]
        path = _checked_path(value["path"])
        gone = [known for known in files if known == path or known.startswith(f"{path}/")]
        if key == "file":
            files[path] = Blob(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            files[path] = _uploaded(repository, value["oid"], value.get("size"))
        elif (key == "deletedFile" and path not in files) or not gone:
            raise no_entry(before, f"A file with this name doesn't exist: {path}")
        elif key in ("deletedFile", "deletedFolder"):
            for known in gone:
                del files[known]
        else:
            raise HubError(400, f"Unknown operation: {key}")
    _check_card(files.get("README.md"))
    return files


def _checked_path(path: str) -> str:
    path = path.rstrip("/")
    if not path or path.startswith("/") or set(PurePosixPath(path).parts) & {"..", ".git"}:
        raise HubError(400, f"Invalid path: {path!r}")
    return path


def _check_card(blob: Blob | None) -> None:
    problems = cards.errors(blob.data.decode(errors="replace")) if blob else []
    if problems:
        raise HubError(400, f"Invalid metadata in README.md: {'; '.join(problems)}")
