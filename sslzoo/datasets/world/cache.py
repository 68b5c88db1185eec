"""Clips on disk, rendered by processes of their own when they are first asked for."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock
from rich.console import Console
from rich.progress import Progress

from sslzoo.config import UserError, cache_folder

logger = logging.getLogger(__name__)

SHARD = 4
"""Clips in a file."""
FORMAT = 2
"""Of the files: another number where a clip is kept otherwise, though it is the same."""
_POLL = 0.1
"""Seconds between two looks at what the processes do."""


@dataclass(frozen=True)
class Shard:
    """Some consecutive clips of a split, in one file."""

    dataset: str
    version: int
    split: str
    number: int

    @property
    def path(self) -> Path:
        """An Arrow stream, as ``datasets.Dataset.from_file`` reads it too."""
        return cache_folder() / self.dataset / f"v{self.version}.{FORMAT}" / f"{self.split}-{self.number:04d}.arrow"

    @property
    def clips(self) -> range:
        return range(self.number * SHARD, (self.number + 1) * SHARD)


def row(shard: Shard, clip: int) -> dict[str, pa.Buffer]:
    """What is kept of a clip of the split, field by field, in the mapped file: nothing is read yet.

    Raises:
        UserError: if the file is damaged.
    """
    try:
        table = _table(shard.path)
        return {name: _cell(table[name].chunk(0), clip - shard.clips.start) for name in table.column_names}
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{shard.path} is damaged ({error}): delete it, and it is rendered again") from error


def ensure(shards: Iterable[Shard]) -> None:
    """Render those that are not there, of one data set, on all cores.

    A file appears whole, by rename. One caller renders at a time, and who waits finds the files. After an end by
    whatever means, the next call goes on from the files that are there.

    Raises:
        UserError: if a process fails, or the cache cannot be written.
    """
    wanted = list(dict.fromkeys(shards))
    if all(shard.path.exists() for shard in wanted):
        return
    folder = wanted[0].path.parent
    lock = FileLock(folder / "lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"no clips can be kept in {folder} ({error.strerror}): name a folder by $SSLZOO_CACHE"
        ) from error
    try:
        missing = [shard for shard in wanted if not shard.path.exists()]
        if missing:
            _render(missing, os.cpu_count() or 1)
    finally:
        lock.release()


def write(shard: Shard, rows: Sequence[dict[str, bytes]]) -> None:
    """A file, whole or not at all. What a killed process began to write the next one removes."""
    table = pa.table({name: pa.array([row[name] for row in rows], pa.binary()) for name in rows[0]})
    partial = shard.path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, shard.path)


@lru_cache(maxsize=512)
def _table(path: Path) -> pa.Table:
    """Mapped into memory, not read."""
    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def _cell(column: pa.BinaryArray, place: int) -> pa.Buffer:
    """The bytes of one cell where they are in the mapped file; a scalar of Arrow would copy them."""
    _, offsets, content = column.buffers()
    begin, end = np.frombuffer(offsets, np.int32)[place : place + 2].tolist()
    return content.slice(begin, end - begin)


def _render(missing: Sequence[Shard], processes: int) -> None:
    first = missing[0]
    for left in first.path.parent.glob("*.partial"):
        left.unlink(missing_ok=True)
    clips = SHARD * len(missing)
    logger.info("rendering %d clips of %s, once: they are kept in %s", clips, first.dataset, first.path.parent)
    with _running([missing[place::processes] for place in range(min(processes, len(missing)))]) as running:
        console = Console(file=sys.stderr)
        with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task(f"rendering {first.dataset}", total=len(missing))
            while any(process.poll() is None for process, _ in running):
                bar.update(task, completed=sum(shard.path.exists() for shard in missing))
                time.sleep(_POLL)
        for process, said in running:
            if process.returncode:
                lines = said.read_text(errors="replace").strip().splitlines()
                last = lines[-1] if lines else f"exit {process.returncode}"
                raise UserError(f"{first.dataset} cannot be rendered: {last}")


@contextmanager
def _running(
    parts: Sequence[Sequence[Shard]],
) -> Iterator[list[tuple[subprocess.Popen[bytes], Path]]]:
    """A process for each part. What they say is kept apart, for pybullet prints on both streams."""
    with tempfile.TemporaryDirectory(prefix="sslzoo-world-") as folder:
        running = []
        try:
            for number, part in enumerate(parts):
                wanted = json.dumps([[shard.split, shard.number] for shard in part])
                words = [part[0].dataset, str(part[0].version), wanted, str(os.getpid())]
                said = Path(folder, str(number))
                command = [sys.executable, "-m", "sslzoo.datasets.world", *words]
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                with said.open("wb") as stream:
                    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream, env=environment)
                running.append((process, said))
            yield running
        finally:
            for process, _ in running:
                process.terminate()
                process.wait()
