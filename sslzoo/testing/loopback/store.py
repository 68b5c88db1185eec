"""All repositories, and who may do what with them."""

from __future__ import annotations

import re
import secrets
import threading
from dataclasses import dataclass

from sslzoo.testing.loopback.chunks import XetStore
from sslzoo.testing.loopback.repository import Repository
from sslzoo.testing.loopback.wire import Call, HubError

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_][\w.-]{0,95}(?<![.-])", re.ASCII)


@dataclass(frozen=True)
class Account:
    user: str
    role: str
    """Of its token: ``write`` or ``read``."""


class Store:
    """The state of the hub. Requests to the API take ``lock`` one at a time, so a commit is all or nothing."""

    def __init__(self, *, page_size: int, part_size: int | None, xet: XetStore | None) -> None:
        self.page_size = page_size
        self.part_size = part_size
        self.xet = xet
        self.endpoint = ""
        self.cdn = ""
        self.lock = threading.RLock()
        self.repositories: dict[tuple[str, str], Repository] = {}
        """By type and name, ``("model", "org/name")``."""
        self.moved: dict[tuple[str, str], str] = {}
        self.accounts: dict[str, Account] = {}
        """By token."""
        self.owners: dict[str, str] = {}
        """User by namespace. Users own theirs; an organisation belongs to who first creates something in it."""

    def issue_token(self, user: str, role: str) -> str:
        token = f"hf_{secrets.token_hex(17)}"
        self.accounts[token] = Account(user, role)
        self.owners[user] = user
        return token

    def authenticate(self, call: Call) -> None:
        """Note on the call whose it is. A token that is not known is refused even where none is needed."""
        header = call.headers.get("Authorization")
        if header is None:
            return
        account = self.accounts.get(header.removeprefix("Bearer "))
        if account is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        call.user, call.role = account.user, account.role

    def create(self, call: Call, kind: str, name: str, *, private: bool) -> Repository:
        namespace = name.split("/")[0]
        self._writer(call)
        if not all(NAME.fullmatch(part) for part in name.split("/")):
            raise HubError(400, f"Invalid repo name: {name}")
        if self.owners.setdefault(namespace, call.user or "") != call.user:
            raise HubError(403, f"You don't have the rights to create a {kind} under the namespace {namespace!r}")
        repository = Repository(kind, name, call.user or "", private=private)
        self.repositories[kind, name] = repository
        self.moved.pop((kind, name), None)
        return repository

    def rename(self, repository: Repository, name: str) -> None:
        """Move a repository. Its old name answers with a redirect from now on."""
        self.moved[repository.kind, repository.name] = name
        self.moved.pop((repository.kind, name), None)
        del self.repositories[repository.kind, repository.name]
        repository.name = name
        self.repositories[repository.kind, name] = repository

    def find(self, call: Call, kind: str, name: str) -> Repository:
        """A repository the caller may know of."""
        if (kind, name) in self.moved:
            location = call.path.replace(f"/{name}", f"/{self.moved[kind, name]}", 1)
            raise HubError(307, "The repository has moved", headers={"Location": self.endpoint + location})
        repository = self.repositories.get((kind, name))
        if repository is None or (repository.private and not self.owns(call, repository)):
            raise missing_repository(call)
        return repository

    def owns(self, call: Call, repository: Repository) -> bool:
        return call.user is not None and self.owners.get(repository.namespace) == call.user

    def readable(self, call: Call) -> Repository:
        """The repository that the call's path names, if the caller may see it."""
        return self.find(call, KINDS[call.parts["kind"] or "models"], call.parts["repo"])

    def open_gate(self, call: Call) -> Repository:
        """The same, if the caller may also read its files."""
        repository = self.readable(call)
        if repository.gated and not self.owns(call, repository):
            message = f"Access to {repository.kind} {repository.name} is restricted."
            raise HubError(403 if call.user else 401, message, "GatedRepo")
        return repository

    def writable(self, call: Call) -> Repository:
        """The same, if the caller may write to it."""
        repository = self.readable(call)
        self._writer(call)
        if not self.owns(call, repository):
            raise HubError(403, f"You have no write access to {repository.kind} {repository.name}")
        return repository

    def _writer(self, call: Call) -> None:
        if call.user is None:
            raise HubError(401, "Invalid username or password.")
        if call.role != "write":
            raise HubError(403, "You are using a read token, and this needs one with write access")


def missing_repository(call: Call) -> HubError:
    """What is said of a repository that is not there, and of one the caller may not know of."""
    if call.user is None:
        return HubError(401, "Invalid username or password.", "RepoNotFound")
    return HubError(404, "Repository not found", "RepoNotFound")
