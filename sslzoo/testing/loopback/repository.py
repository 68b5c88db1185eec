"""One repository: its commits, its references and its large files."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import PurePosixPath

from sslzoo.testing.loopback.objects import Blob, Commit
from sslzoo.testing.loopback.wire import HubError

PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
"""What stands before a repository's name in its address, by type."""

LARGE_PATTERNS = (
    *("*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gz", "*.h5", "*.joblib", "*.lfs.*", "*.mlmodel"),
    *("*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt"),
    *("*.pth", "*.rar", "*.safetensors", "*.tar.*", "*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst"),
    *("*tfevents*", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.wav", "*.flac", "*.mp3", "*.mp4"),
)
ATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE_PATTERNS).encode()
"""The ``.gitattributes`` every repository starts with, as on the real Hub."""

LARGE_SIZE = 10 * 1024 * 1024


def is_large(path: str, size: int, sample: bytes) -> bool:
    """Whether a file goes beside git: by its name, its size, or because its first bytes are no text."""
    if size > LARGE_SIZE or any(fnmatch(PurePosixPath(path).name, pattern) for pattern in LARGE_PATTERNS):
        return True
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        cut_character = error.end == len(sample) < size and error.reason == "unexpected end of data"
        return not cut_character
    return b"\0" in sample


class Repository:
    """A repository of type ``model``, ``dataset`` or ``space``. It has a ``main`` branch from the start."""

    def __init__(self, kind: str, name: str, author: str, *, private: bool = False) -> None:
        self.kind = kind
        self.name = name
        """With its namespace: ``org/name``."""
        self.private = private
        self.gated: str | bool = False
        self.key = secrets.token_hex(12)
        """Stands for the repository in the addresses of its large files."""
        self.large_files: dict[str, Blob] = {}
        """By sha256: all that were uploaded, committed or not."""
        self.parts: dict[tuple[str, int], bytes] = {}
        self.refs: dict[str, str] = {}
        """Commit ids by full name: ``refs/heads/main``, ``refs/tags/v1``, ``refs/pr/1``."""
        self._commits: dict[str, Commit] = {}
        self.commit("refs/heads/main", {".gitattributes": Blob(ATTRIBUTES)}, "initial commit", author=author)
        self.created = self.resolve("main").date

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"

    @property
    def namespace(self) -> str:
        return self.name.split("/")[0]

    @property
    def location(self) -> str:
        """The path of its page: ``org/name``, ``datasets/org/name``."""
        return PREFIXES[self.kind] + self.name

    @property
    def branches(self) -> dict[str, str]:
        return self._named("refs/heads/")

    @property
    def tags(self) -> dict[str, str]:
        return self._named("refs/tags/")

    def _named(self, prefix: str) -> dict[str, str]:
        return {ref.removeprefix(prefix): oid for ref, oid in self.refs.items() if ref.startswith(prefix)}

    def resolve(self, revision: str) -> Commit:
        """The commit that a branch, tag, reference, or (shortened) commit id means."""
        for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if ref in self.refs:
                return self._commits[self.refs[ref]]
        found = [oid for oid in self._commits if len(revision) >= 7 and oid.startswith(revision)]
        if len(found) != 1:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self._commits[found[0]]

    def branch_ref(self, revision: str) -> str:
        """The full name of what can be committed to: a branch or a pull request."""
        for ref in (revision, f"refs/heads/{revision}"):
            if ref in self.refs and not ref.startswith("refs/tags/"):
                return ref
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def history(self, revision: str = "main") -> Iterator[Commit]:
        """Commits from the newest to the first."""
        commit: Commit | None = self.resolve(revision)
        while commit:
            yield commit
            commit = self._commits[commit.parent] if commit.parent else None

    def last_change(self, path: str, commit: Commit) -> Commit:
        """The commit that gave a file or folder the content it has at ``commit``."""
        for older in self.history(commit.oid):
            if older.oid_of(path) != commit.oid_of(path):
                break
            commit = older
        return commit

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """The content of every file by path, ``.gitattributes`` among them."""
        return {path: blob.data for path, blob in self.resolve(revision).files.items()}

    def commit(
        self, ref: str, files: Mapping[str, Blob], title: str, message: str = "", *, author: str, parent: str = ""
    ) -> Commit:
        """Put ``ref`` (a full name) on a new commit that holds exactly ``files``; its parent is where ``ref`` stood."""
        date = datetime.now(UTC)
        commit = Commit(dict(sorted(files.items())), parent or self.refs.get(ref), title, message, author, date)
        self._commits[commit.oid] = commit
        self.refs[ref] = commit.oid
        return commit

    def write(self, files: Mapping[str, bytes], branch: str = "main") -> Commit:
        """Add files without a client. Paths are not checked, so that a test can do what the Hub would refuse."""
        blobs = {path: Blob(data, is_large(path, len(data), data[:512])) for path, data in files.items()}
        self.large_files.update({blob.sha256: blob for blob in blobs.values() if blob.lfs})
        ref = self.branch_ref(branch)
        return self.commit(ref, {**self.resolve(ref).files, **blobs}, "Write files", author=self.namespace)

    def squash(self, ref: str, message: str, author: str) -> None:
        """Leave a branch with one commit."""
        files = self.resolve(ref).files
        del self.refs[ref]
        self.commit(ref, files, message, author=author)
