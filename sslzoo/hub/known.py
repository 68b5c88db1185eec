"""Folders whose encoder was found to be what was saved, so that nothing is computed again while nothing has changed.

As git does with its index, a file counts as untouched while the file system says so: same inode, size, time of change
of its content and of its inode. The second of these times cannot be set by anyone, so a file that was exchanged and
dated back is noticed. A bit that rots on the disk is not: ``sslzoo verify`` always reads everything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

import timm
import torch

from sslzoo import __version__
from sslzoo.config import cache_folder
from sslzoo.hub.timm_config import CONFIG
from sslzoo.hub.weights import WEIGHTS

CLOCK_TICK = 2_000_000_000
"""Nanoseconds: the coarsest clock of a file system in use. A younger file may change again without a change of time."""


def is_known(folder: Path) -> bool:
    """Whether ``remember`` was called for this folder, with these files, these libraries and this processor."""
    return os.path.exists(_note(folder))  # False too where the cache may not be read


def remember(folder: Path) -> None:
    """Note that checksum, keys and fingerprint were right. Where no note can be kept, all is checked again."""
    changed = (folder / WEIGHTS).stat()
    if time.time_ns() - max(changed.st_mtime_ns, changed.st_ctime_ns) < CLOCK_TICK:
        return
    with contextlib.suppress(OSError):
        note = _note(folder)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()


def _note(folder: Path) -> Path:
    """An empty file, named by everything that the outcome of the checks rests on."""
    weights = (folder / WEIGHTS).stat()
    rests_on = [
        *(weights.st_dev, weights.st_ino, weights.st_size, weights.st_mtime_ns, weights.st_ctime_ns),
        hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest(),
        *(__version__, torch.__version__, timm.__version__, torch.backends.cpu.get_cpu_capability()),
    ]
    return cache_folder() / "known" / hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()
