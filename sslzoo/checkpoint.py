"""Checkpoints to resume from: tensors as safetensors, the rest as JSON, each step's folder written whole or not at all.

``state/step-00000120/`` appears by a rename after every byte of it is on disk, and the one before it is removed only
then: a kill or a full disk at any moment leaves a good checkpoint. Nothing in it is pickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sslzoo.config import UserError

_STEP = re.compile(r"step-(\d{8})")
_KEPT = 2  # the newest, and the one before it


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``state`` (nested dicts, lists and tuples of tensors and plain values) as the checkpoint of ``step``.

    Raises:
        UserError: if the disk does not take it. The checkpoints before it are untouched.
    """
    final, partial = folder / f"step-{step:08d}", folder / f".step-{step:08d}.partial"
    if final.is_dir():
        return final
    try:
        _sweep(folder)
        partial.mkdir(parents=True)
        tensors: dict[str, Tensor] = {}
        tree = _pack(state, tensors)
        save_file(tensors, partial / "tensors.safetensors")
        (partial / "state.json").write_text(json.dumps(tree))
        flush_folder(partial)
        partial.rename(final)
        flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        newest = max(checkpoint_steps(folder), default=None)
        kept = "there is none before it" if newest is None else f"the one of step {newest} is intact"
        raise UserError(
            f"the checkpoint of step {step} could not be written to {folder} ({error}); {kept}. "
            "Make room and run the same command again"
        ) from error
    for old in sorted(checkpoint_steps(folder))[:-_KEPT]:
        shutil.rmtree(folder / f"step-{old:08d}")
    return final


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint in ``folder``, with tensors on the CPU; None if there is none.

    Raises:
        UserError: if it cannot be read.
    """
    steps = checkpoint_steps(folder)
    if not steps:
        return None
    newest = folder / f"step-{max(steps):08d}"
    try:
        tensors = load_file(newest / "tensors.safetensors")
        return _unpack(json.loads((newest / "state.json").read_text()), tensors)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise UserError(
            f"the checkpoint {newest} is damaged ({error}); remove that folder to go on from the one before it"
        ) from error


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of which ``folder`` holds a whole checkpoint."""
    if not folder.is_dir():
        return []
    return [int(match[1]) for path in folder.iterdir() if (match := _STEP.fullmatch(path.name))]


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it on success and is removed on failure."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        flush(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what a killed write left behind."""
    for path in folder.glob(".step-*.partial"):
        shutil.rmtree(path)


def flush_folder(folder: Path) -> None:
    """Have the system put a folder on the disk, with the files that lie in it."""
    for path in (*folder.iterdir(), folder):
        flush(path)


def flush(path: Path) -> None:
    """Have the system put a file, or a folder's list of names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON, its tensors moved to ``tensors`` under running numbers."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # A copy: shared storage is two tensors on disk, and the training step may go on changing it.
        tensors[name] = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        return {"$tensor": name}
    if isinstance(value, dict):
        return {"$items": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"$tuple": [_pack(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_pack(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if isinstance(value, dict):
        if "$tensor" in value:
            return tensors[value["$tensor"]]
        if "$tuple" in value:
            return tuple(_unpack(item, tensors) for item in value["$tuple"])
        return {key: _unpack(item, tensors) for key, item in value["$items"]}
    return value
