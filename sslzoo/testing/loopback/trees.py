"""The API inside a repository: files, references and history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs

from sslzoo.testing.loopback.objects import Commit
from sslzoo.testing.loopback.repos import timestamp
from sslzoo.testing.loopback.repository import Repository
from sslzoo.testing.loopback.routes import Router, page
from sslzoo.testing.loopback.store import Store
from sslzoo.testing.loopback.wire import Call, HubError, Reply

router = Router()


@router.add("GET", "/api/{kind}/{repo}/tree/{revision}")
def root(store: Store, call: Call) -> Reply:
    call.parts["path"] = ""
    return tree(store, call)


@router.add("GET", "/api/{kind}/{repo}/tree/{revision}/{path}")
def tree(store: Store, call: Call) -> Reply:
    repository = store.readable(call)
    commit = repository.resolve(call.parts["revision"])
    folder = call.parts["path"].strip("/")
    if folder and folder not in commit.folders:
        raise no_entry(commit, f"{folder} does not exist on {commit.oid}")
    found = _below(commit, folder) if call.flag("recursive") else _inside(commit, folder)
    expand = call.flag("expand")
    nodes = [node(repository, commit, path, expand=expand) for path in found]
    return page(store, call, nodes, min(50, store.page_size) if expand else store.page_size)


def _below(commit: Commit, folder: str) -> Iterator[str]:
    paths = sorted([*commit.folders, *commit.files])
    return (path for path in paths if not folder or path.startswith(f"{folder}/"))


def _inside(commit: Commit, folder: str) -> Iterator[str]:
    return (path for path in _below(commit, folder) if str(PurePosixPath(path).parent) == (folder or "."))


def node(repository: Repository, commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    """What a listing says of a file or folder."""
    entry: dict[str, Any] = {"type": "directory", "oid": commit.oid_of(path), "size": 0, "path": path}
    blob = commit.files.get(path)
    if blob:
        entry |= {"type": "file", "size": len(blob.data)}
    if blob and blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    if expand:
        last = repository.last_change(path, commit)
        entry["lastCommit"] = {"id": last.oid, "title": last.title, "date": timestamp(last.date)}
    return entry


def no_entry(commit: Commit, message: str) -> HubError:
    """The client remembers that a file is missing, and at which commit."""
    return HubError(404, message, "EntryNotFound", headers={"X-Repo-Commit": commit.oid})


@router.add("POST", "/api/{kind}/{repo}/paths-info/{revision}")
def paths_info(store: Store, call: Call) -> Reply:
    repository = store.readable(call)
    commit = repository.resolve(call.parts["revision"])
    form = parse_qs(call.body.decode())
    expand = form.get("expand", [""])[0].lower() in {"1", "true"}
    paths = [path.strip("/") for path in form.get("paths", [])]
    return Reply.json([node(repository, commit, path, expand=expand) for path in paths if commit.oid_of(path)])


@router.add("GET", "/api/{kind}/{repo}/refs")
def references(store: Store, call: Call) -> Reply:
    refs = store.readable(call).refs
    answer: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    lists = {"refs/heads/": "branches", "refs/tags/": "tags", "refs/pr/": "pullRequests"}
    for ref, oid in refs.items():
        prefix = next(prefix for prefix in lists if ref.startswith(prefix))
        name = ref if prefix == "refs/pr/" else ref.removeprefix(prefix)
        answer[lists[prefix]].append({"name": name, "ref": ref, "targetCommit": oid})
    if not call.flag("include_prs"):
        del answer["pullRequests"]
    return Reply.json(answer)


@router.add("GET", "/api/{kind}/{repo}/commits/{revision}")
def commits(store: Store, call: Call) -> Reply:
    history = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "authors": [{"user": commit.author}],
            "date": timestamp(commit.date),
            "formatted": {"title": commit.title, "message": commit.message},
        }
        for commit in store.readable(call).history(call.parts["revision"])
    ]
    return page(store, call, history, min(50, store.page_size))


@router.add("POST", "/api/{kind}/{repo}/branch/{branch}")
def create_branch(store: Store, call: Call) -> Reply:
    start = call.json().get("startingPoint") if call.body else None
    return _create_ref(store, call, "refs/heads/", call.parts["branch"], start or "main")


@router.add("POST", "/api/{kind}/{repo}/tag/{revision}")
def create_tag(store: Store, call: Call) -> Reply:
    return _create_ref(store, call, "refs/tags/", call.json()["tag"], call.parts["revision"])


def _create_ref(store: Store, call: Call, prefix: str, name: str, revision: str) -> Reply:
    repository = store.writable(call)
    if not name or name.startswith("refs/") or any(character.isspace() for character in name):
        raise HubError(400, f"Invalid reference: {name!r}")
    if prefix + name in repository.refs:
        raise HubError(409, f"Reference already exists: {prefix}{name}")
    repository.refs[prefix + name] = repository.resolve(revision).oid
    return Reply.json({})


@router.add("DELETE", "/api/{kind}/{repo}/branch/{name}")
def delete_branch(store: Store, call: Call) -> Reply:
    if call.parts["name"] == "main":
        raise HubError(403, "The main branch cannot be deleted")
    return _delete_ref(store, call, "refs/heads/")


@router.add("DELETE", "/api/{kind}/{repo}/tag/{name}")
def delete_tag(store: Store, call: Call) -> Reply:
    return _delete_ref(store, call, "refs/tags/")


def _delete_ref(store: Store, call: Call, prefix: str) -> Reply:
    repository = store.writable(call)
    if repository.refs.pop(prefix + call.parts["name"], None) is None:
        raise HubError(404, f"Reference does not exist: {prefix}{call.parts['name']}", "RevisionNotFound")
    return Reply.json({})


@router.add("POST", "/api/{kind}/{repo}/super-squash/{branch}")
def squash(store: Store, call: Call) -> Reply:
    repository = store.writable(call)
    ref = f"refs/heads/{call.parts['branch']}"
    if ref not in repository.refs:
        raise HubError(404, f"Invalid rev id: {call.parts['branch']}", "RevisionNotFound")
    repository.squash(ref, call.json().get("message", ""), call.user or "")
    return Reply.json({})
