"""The API of repositories as wholes: create, move, delete, describe, list."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sslzoo.testing.loopback import cards
from sslzoo.testing.loopback.objects import Blob, Commit
from sslzoo.testing.loopback.repository import Repository
from sslzoo.testing.loopback.routes import Router, page
from sslzoo.testing.loopback.store import KINDS, Store
from sslzoo.testing.loopback.wire import Call, HubError, Reply

router = Router()


@router.add("GET", "/api/whoami-v2")
def whoami(store: Store, call: Call) -> Reply:
    if call.user is None:
        raise HubError(401, "Invalid username or password.")
    orgs = [name for name, owner in store.owners.items() if owner == call.user != name]
    return Reply.json(
        {
            "type": "user",
            "name": call.user,
            "fullname": call.user,
            "orgs": [{"type": "org", "name": name, "fullname": name, "roleInOrg": "admin"} for name in orgs],
            "auth": {"type": "access_token", "accessToken": {"displayName": "loopback", "role": call.role}},
        }
    )


@router.add("POST", "/api/validate-yaml")
def validate_yaml(store: Store, call: Call) -> Reply:
    text = call.json()["content"]
    problems = {"errors": cards.errors(text), "warnings": cards.warnings(text)}
    answer = {kind: [{"message": message} for message in messages] for kind, messages in problems.items()}
    return Reply.json(answer, 400 if answer["errors"] else 200)


@router.add("POST", "/api/repos/create")
def create(store: Store, call: Call) -> Reply:
    wanted = call.json()
    kind, name = _named(call, wanted)
    private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    known = store.repositories.get((kind, name))
    if known and store.owns(call, known):
        answer = {"error": f"You already created this {kind} repo", "url": f"{store.endpoint}/{known.location}"}
        return Reply.json(answer, 409)
    repository = store.create(call, kind, name, private=private)
    return Reply.json({"url": f"{store.endpoint}/{repository.location}", "name": name, "id": repository.key})


@router.add("DELETE", "/api/repos/delete")
def delete(store: Store, call: Call) -> Reply:
    repository = _writable(store, call, *_named(call, call.json()))
    del store.repositories[repository.kind, repository.name]
    return Reply(body=b"OK")


@router.add("POST", "/api/repos/move")
def move(store: Store, call: Call) -> Reply:
    wanted = call.json()
    repository = _writable(store, call, wanted["type"], wanted["fromRepo"])
    namespace = wanted["toRepo"].split("/")[0]
    if (repository.kind, wanted["toRepo"]) in store.repositories:
        raise HubError(409, f"There is a {repository.kind} {wanted['toRepo']} already")
    if store.owners.setdefault(namespace, call.user or "") != call.user:
        raise HubError(403, f"You have no write access to the namespace {namespace}")
    store.rename(repository, wanted["toRepo"])
    return Reply.json({})


@router.add("PUT", "/api/{kind}/{repo}/settings")
def change_settings(store: Store, call: Call) -> Reply:
    repository = store.writable(call)
    settings = call.json()
    repository.gated = settings.get("gated", repository.gated)
    if "visibility" in settings or "private" in settings:
        repository.private = settings.get("visibility") == "private" or bool(settings.get("private"))
    return Reply.json({})


@router.add("GET", "/api/{kind}/{repo}/auth-check")
def check_access(store: Store, call: Call) -> Reply:
    store.open_gate(call)
    return Reply.json({})


@router.add("GET", "/api/{kind}/{repo}/auth-check/write")
def check_write_access(store: Store, call: Call) -> Reply:
    store.writable(call)
    return Reply.json({})


@router.add("GET", "/api/{kind}")
def list_repositories(store: Store, call: Call) -> Reply:
    kind = KINDS[call.parts["kind"]]
    known = [repository for (type_, _), repository in store.repositories.items() if type_ == kind]
    visible = [repository for repository in known if not repository.private or store.owns(call, repository)]
    described = [describe(repository, repository.resolve("main")) for repository in visible]
    found = [item for item in described if all(_matches(item, call))]
    found.sort(key=lambda item: str(item["createdAt" if call.query.get("sort") == ["createdAt"] else "lastModified"]))
    dropped = set() if call.flag("full") else {"siblings"} | (set() if call.flag("cardData") else {"cardData"})
    items = [_expanded(call, item, dropped) for item in reversed(found)]
    return page(store, call, items, min(int(call.query.get("limit", [store.page_size])[0]), store.page_size))


@router.add("GET", "/api/{kind}/{repo}")
def info(store: Store, call: Call) -> Reply:
    call.parts["revision"] = "main"
    return info_at(store, call)


@router.add("GET", "/api/{kind}/{repo}/revision/{revision}")
def info_at(store: Store, call: Call) -> Reply:
    repository = store.readable(call)
    commit = repository.resolve(call.parts["revision"])
    return Reply.json(_expanded(call, describe(repository, commit, blobs=call.flag("blobs"))))


def describe(repository: Repository, commit: Commit, *, blobs: bool = False) -> dict[str, Any]:
    """All that is told of a repository, at one commit."""
    card, text = cards.card_of(commit)
    item = {
        "id": repository.name,
        "modelId": repository.name,
        "author": repository.namespace,
        "sha": commit.oid,
        "lastModified": timestamp(commit.date),
        "createdAt": timestamp(repository.created),
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": cards.tags(repository.kind, card, text, list(commit.files)),
        "pipeline_tag": card.get("pipeline_tag"),
        "library_name": card.get("library_name"),
        "cardData": card or None,
        "siblings": [_sibling(path, blob, blobs=blobs) for path, blob in commit.files.items()],
        "usedStorage": sum(len(blob.data) for blob in commit.files.values()),
    }
    only_models = {"modelId", "pipeline_tag", "library_name"} if repository.kind != "model" else set()
    return {key: value for key, value in item.items() if value is not None and key not in only_models}


def _sibling(path: str, blob: Blob, *, blobs: bool) -> dict[str, Any]:
    sibling: dict[str, Any] = {"rfilename": path}
    if blobs:
        sibling |= {"size": len(blob.data), "blobId": blob.oid}
    if blobs and blob.lfs:
        sibling["lfs"] = {"size": len(blob.data), "sha256": blob.sha256, "pointerSize": len(blob.pointer)}
    return sibling


def _expanded(call: Call, item: dict[str, Any], dropped: set[str] | None = None) -> dict[str, Any]:
    """Just the fields that were asked for, or all but those dropped."""
    wanted = call.query.get("expand", []) + call.query.get("expand[]", [])
    if wanted:
        return {key: value for key, value in item.items() if key in {"id", *wanted}}
    return {key: value for key, value in item.items() if key not in (dropped or set())}


def _matches(item: dict[str, Any], call: Call) -> Iterator[bool]:
    query = call.query
    tags = {tag.lower() for tag in item["tags"]}
    yield item["author"] in query.get("author", [item["author"]])
    yield all(word.lower() in item["id"].lower() for word in query.get("search", []))
    yield all(tag.lower() in tags for value in query.get("filter", []) for tag in value.split(","))
    yield item.get("pipeline_tag") in query.get("pipeline_tag", [item.get("pipeline_tag")])
    yield "gated" not in query or call.flag("gated") == bool(item["gated"])


def timestamp(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _named(call: Call, wanted: dict[str, Any]) -> tuple[str, str]:
    """Type and full name from the body of a request."""
    return wanted.get("type") or "model", f"{wanted.get('organization') or call.user}/{wanted['name']}"


def _writable(store: Store, call: Call, kind: str, name: str) -> Repository:
    kinds = {kind: plural for plural, kind in KINDS.items()}
    return store.writable(dataclasses.replace(call, parts={"kind": kinds[kind], "repo": name}))
