"""Blobs, trees and commits, with the ids that git would give them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import PurePosixPath


def object_id(kind: str, data: bytes) -> str:
    """The sha1 under which git files an object of this kind."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Blob:
    """The bytes of a file, kept in git itself or, as a large file, beside it."""

    data: bytes
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git holds in place of a large file."""
        lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}", f"size {len(self.data)}")
        return "".join(f"{line}\n" for line in lines).encode()

    @cached_property
    def oid(self) -> str:
        """The git id: of a large file, the id of its pointer."""
        return object_id("blob", self.pointer if self.lfs else self.data)

    @property
    def etag(self) -> str:
        """What the client names the file by: sha256 of a large file, git id of another."""
        return self.sha256 if self.lfs else self.oid


def tree_ids(files: Mapping[str, Blob]) -> dict[str, str]:
    """The git id of every folder, the root under ``"."``."""
    folders: dict[str, list[tuple[str, str, str]]] = {".": []}
    for path, blob in files.items():
        parents = [str(parent) for parent in PurePosixPath(path).parents]
        folders.update({parent: [] for parent in parents if parent not in folders})
        folders[parents[0]].append(("100644", PurePosixPath(path).name, blob.oid))
    ids: dict[str, str] = {}
    for folder in sorted(folders, key=lambda folder: len(PurePosixPath(folder).parts), reverse=True):
        ids[folder] = _tree_id(folders[folder])
        if folder != ".":
            folders[str(PurePosixPath(folder).parent)].append(("40000", PurePosixPath(folder).name, ids[folder]))
    return ids


def _tree_id(entries: list[tuple[str, str, str]]) -> str:
    ordered = sorted(entries, key=lambda entry: f"{entry[1]}/".encode() if entry[0] == "40000" else entry[1].encode())
    return object_id("tree", b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for mode, name, oid in ordered))


@dataclass(frozen=True)
class Commit:
    """A state of all files, and where it came from."""

    files: Mapping[str, Blob]
    parent: str | None
    title: str
    message: str
    author: str
    date: datetime

    @cached_property
    def folders(self) -> dict[str, str]:
        """Git ids of the folders by path, without the root."""
        return {path: oid for path, oid in self._trees.items() if path != "."}

    @cached_property
    def oid(self) -> str:
        who = f"{self.author} <{self.author}@loopback> {int(self.date.timestamp())} +0000"
        lines = [f"tree {self._trees['.']}", f"author {who}", f"committer {who}", "", self.title]
        if self.parent:
            lines.insert(1, f"parent {self.parent}")
        if self.message:
            lines += ["", self.message]
        return object_id("commit", "\n".join([*lines, ""]).encode())

    @cached_property
    def _trees(self) -> dict[str, str]:
        return tree_ids(self.files)

    def oid_of(self, path: str) -> str | None:
        """The git id of a file or folder, ``None`` where there is none."""
        return self.files[path].oid if path in self.files else self.folders.get(path)
