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
"""Nanoseconds: the coarsest clock of a file system in use."""


def note_of(folder: Path) -> Path | None:
    """Where it is noted that an encoder was found to be right: an empty file, named by everything this rests on.

    Taken before the encoder is examined, so that it says nothing of files that change meanwhile. None if they may
    still change without a change of their time.
    """
    weights = (folder / WEIGHTS).stat()
    if time.time_ns() - max(weights.st_mtime_ns, weights.st_ctime_ns) < CLOCK_TICK:
        return None
    rests_on = [
        *(weights.st_dev, weights.st_ino, weights.st_size, weights.st_mtime_ns, weights.st_ctime_ns),
        hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest(),
        *(__version__, torch.__version__, timm.__version__, torch.backends.cpu.get_cpu_capability()),
    ]
    try:
        cache = cache_folder()
    except RuntimeError:  # a user without a home
        return None
    return cache / "known" / hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()


def is_known(note: Path | None) -> bool:
    """Whether the encoder was found to be right, with these files, these libraries and this processor."""
    return note is not None and os.path.exists(note)  # False, too, where the cache may not be read


def remember(note: Path | None) -> None:
    """Note that checksum, keys and fingerprint were right. Where no note can be kept, all is examined again."""
    if note:
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()
