"""A command, and the memory that it and all its processes take."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil

EVERY = 0.05
"""Seconds between two looks."""


def peak_memory(command: list[str], env: dict[str, str]) -> int:
    """Run it to its end; the most megabytes its processes had at one of many looks.

    It is the proportional set size: a page that several processes share counts once, divided among them. Linux only.

    Raises:
        SystemExit: with what the command said, if it failed.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
        root, most = psutil.Process(process.pid), 0
        while True:
            most = max(most, _proportional(root))
            try:
                said, _ = process.communicate(timeout=EVERY)
                break
            except subprocess.TimeoutExpired:
                continue
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{said}")
    return most // 1024


def _proportional(root: psutil.Process) -> int:
    """Kilobytes of a process and all that it started, those that have just ended left out."""
    try:
        members = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_of(member.pid) for member in members)


def _of(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
