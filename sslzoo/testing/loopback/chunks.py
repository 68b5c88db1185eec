"""Large files as chunks in a folder, which hf-xet itself writes and reads.

``local://`` is xet-core's own scheme for tests; what it leaves out is the HTTP between client and chunks.
The hub learns from the shards in the folder which file has which checksum.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from sslzoo.testing.loopback.objects import Blob

RECORD = 48
"""Bytes of each entry of a shard, and of its header."""
WITH_VERIFICATION, WITH_METADATA = 1 << 31, 1 << 30
"""Flags of a file in a shard: what follows its list of chunks."""


class XetStore:
    """What was sent to one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hashes: dict[str, str] = {}
        """Of files, as Xet names them, by sha256."""

    @property
    def url(self) -> str:
        return f"local://{self.folder}"

    def find(self, sha256: str, size: int) -> Blob | None:
        """A file that was sent here, put together again."""
        for shard in self.folder.rglob("*.mdb"):
            self.hashes.update(files_of_shard(shard.read_bytes()))
        if sha256 not in self.hashes:
            return None
        from hf_xet import XetFileInfo, XetSession

        with TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            with XetSession().new_file_download_group(endpoint=self.url) as group:
                group.start_download_file(XetFileInfo(self.hashes[sha256], size), str(path))
            return Blob(path.read_bytes(), lfs=True)


def files_of_shard(shard: bytes) -> Iterator[tuple[str, str]]:
    """sha256 and Xet's hash of the files that a shard lists after its header (xet-core, ``mdb_shard``)."""
    at = RECORD
    while (name := shard[at : at + 32]) != b"\xff" * 32:
        flags, entries = struct.unpack_from("<II", shard, at + 32)
        at += RECORD * (1 + entries * (2 if flags & WITH_VERIFICATION else 1))
        if flags & WITH_METADATA:
            yield _text(shard[at : at + 32]), _text(name)
            at += RECORD


def _text(digest: bytes) -> str:
    """As Xet writes hashes: four numbers, each from its highest digit."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))
