"""Frozen features on disk, found again by what they were computed from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from sslzoo.config import cache_folder
from sslzoo.data.loader import VIEWS
from sslzoo.data.source import Source
from sslzoo.encoders import spec_of, spec_to_json
from sslzoo.features.frozen import FINAL, Features, extract
from sslzoo.views.clips import ClipSampling

logger = logging.getLogger(__name__)

EXTRACTION = 1
"""Raised whenever a change of ``extract`` or of the evaluation crop changes numbers."""


def cached_features(
    encoder: nn.Module,
    source: Source,
    layers: bool = False,
    *,
    batch_size: int = 64,
    workers: int | None = None,
    device: torch.device | str | None = None,
    views: int = VIEWS,
    sampling: ClipSampling | None = None,
) -> Features:
    """``extract``, unless this encoder's features of this data are in the cache, ``$SSLZOO_CACHE/features``.

    The key is the content of weights and data, not their names. A file that cannot be read is computed again, and one
    that cannot be written is only logged. ``workers=None`` takes none where the encoder runs on the CPU.

    Raises:
        UserError: as ``extract`` does.
    """
    own, fuller = _paths(encoder, source, layers, views, sampling)
    for path in (own, fuller):
        if path.exists() and (found := _read(path, layers)) is not None:
            return found
    if workers is None:
        runs_on = torch.device(device) if device is not None else next(encoder.parameters()).device
        workers = 0 if runs_on.type == "cpu" else min(8, os.cpu_count() or 1)
    settings: dict[str, Any] = {"batch_size": batch_size, "device": device, "views": views, "sampling": sampling}
    features = extract(encoder, source, layers=layers, workers=workers, **settings)
    _write(features, own)
    return features


def _paths(
    encoder: nn.Module, source: Source, layers: bool, views: int, sampling: ClipSampling | None
) -> tuple[Path, Path]:
    """The file of these features, and the one that has all layers: both hold the final one."""
    key = {
        "extraction": EXTRACTION,
        "torch": ".".join(torch.__version__.split(".")[:2]),
        "timm": timm.__version__,
        "encoder": spec_to_json(spec_of(encoder)),
        "weights": weights_digest(encoder),
        "data": source.fingerprint,
        "views": (views, sampling),
    }

    def path(layers: bool) -> Path:
        text = json.dumps({**key, "layers": layers}, sort_keys=True, default=repr)
        return cache_folder() / "features" / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"

    return path(layers), path(True)


def weights_digest(encoder: nn.Module) -> str:
    """SHA-256 of every weight and buffer: its name, type, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _read(path: Path, layers: bool) -> Features | None:
    """The features in a file; None if it is broken, and then it is removed."""
    try:
        with safe_open(path, framework="pt") as file:
            names = json.loads(file.metadata()["layers"])
            final, index = file.get_tensor(FINAL), file.get_tensor("index")
            found = {name: file.get_tensor(name) for name in names} if layers else {}
        if not len(final) == len(index) == len(found.get(FINAL, final)) > 0:
            raise ValueError("the number of rows is wrong")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("computing features again, as the cached ones in %s are damaged: %s", path, error)
        path.unlink(missing_ok=True)
        return None
    return Features(final, index, found)


def _write(features: Features, path: Path) -> None:
    """Whole or not at all, also beside another process that writes the same. A full disk costs time later, not now."""
    tensors = {**features.layers, FINAL: features.final, "index": features.index}
    partial = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        os.close(handle)
        save_file(tensors, partial, metadata={"layers": json.dumps(list(features.layers))})
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        logger.warning("features are not kept for next time, as %s cannot be written: %s", path.parent, error)
        if partial:
            Path(partial).unlink(missing_ok=True)
