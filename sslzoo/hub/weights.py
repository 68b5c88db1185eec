"""model.safetensors: tensors by name and nothing else. Nothing here can run code."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sslzoo.config import UserError

WEIGHTS = "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".tar")

_ALIGNMENT = 64
_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16"} | {
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Names of number formats in the file."""
_CLOCK_TICK = 2_000_000_000
"""Nanoseconds: the coarsest clock of a file system in use."""
_digests: dict[tuple[int, int, int, int], str] = {}


def write_weights(state: Mapping[str, Tensor], path: Path) -> str:
    """Write a state dict to the disk, and return its sha256; tensors that share memory are written once for each name.

    The format leaves the order of tensors open. Here each one whose size allows it starts at a multiple of 64 bytes:
    transformers computes right on the mapped file, and some matrix products of a processor round differently on
    tensors that lie askew, so that the file would not give the same features through every door.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    order = sorted(tensors, key=lambda name: (tensors[name].nbytes % _ALIGNMENT > 0, -tensors[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        header[name] = {"dtype": _DTYPES[tensors[name].dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    parts: list[bytes | memoryview] = [
        len(text).to_bytes(8, "little") + text,
        *(_bytes_of(tensors[name]) for name in order),
    ]
    with path.open("wb") as file, ThreadPoolExecutor(1) as pool:
        digest = pool.submit(_digest, parts)
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    return digest.result()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.flatten().view(torch.uint8).numpy().data


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return sha256.hexdigest()


def weights_file(folder: Path) -> Path:
    """The weights in ``folder``.

    Raises:
        UserError: if there are none, or only pickled ones.
    """
    path = folder / WEIGHTS
    if path.is_file():
        return path
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES) if folder.is_dir() else []
    if pickles:
        raise UserError(
            f"{folder} has no {WEIGHTS}, only {', '.join(pickles)}, which can run code and are never opened; "
            "ask its author for safetensors"
        )
    raise UserError(f"{folder} has no {WEIGHTS}; it was not copied whole: fetch or save it again")


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU.

    Raises:
        UserError: if the file is truncated, or its header does not fit its content.
    """
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); fetch or save it again") from error


def load_strictly(encoder: nn.Module, state: Mapping[str, Tensor], complaint: str) -> None:
    """Give ``encoder`` exactly the tensors of ``state``.

    Raises:
        UserError: ``complaint``, with the names of the tensors that are missing, unexpected, or of another shape.
    """
    ours = encoder.state_dict()
    wrong = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in ours.items()
        if name in state and state[name].shape != tensor.shape
    ]
    troubles = {
        "missing": sorted(ours.keys() - state.keys()),
        "unexpected": sorted(state.keys() - ours.keys()),
        "of the wrong shape": wrong,
    }
    text = "; ".join(f"{len(names)} {kind}: {_few(names)}" for kind, names in troubles.items() if names)
    if text:
        raise UserError(f"{complaint} ({text})")
    encoder.load_state_dict(dict(state))


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file, remembered while the file stays untouched."""
    stat = path.stat()
    key = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if key not in _digests:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - stat.st_mtime_ns < _CLOCK_TICK:  # it may change again without a change of its time
            return digest
        _digests[key] = digest
    return _digests[key]


def _few(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
