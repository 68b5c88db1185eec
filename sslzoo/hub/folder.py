"""An encoder folder: config.json and model.safetensors, as timm, transformers and the Hub read them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import nn

from sslzoo.checkpoint import flush_folder
from sslzoo.encoders import spec_of
from sslzoo.hub.blank import build_blank
from sslzoo.hub.fingerprint import fingerprint
from sslzoo.hub.timm_config import CONFIG, compose_config, config_text
from sslzoo.hub.weights import WEIGHTS, load_strictly, write_weights


def save_encoder(encoder: nn.Module, folder: Path, provenance: dict[str, Any]) -> None:
    """Write ``encoder`` so that plain timm loads it, bit for bit, without sslzoo (if of clips, with its encoders).

    What is written is the state of an encoder built anew from ``encoder.spec``: on the CPU, contiguous, in timm's own
    number format, wherever and however ``encoder`` was trained. ``folder`` appears by a rename when it is whole, in
    place of an older one only when the disk has it. Without an older one that is left to the system, as with timm; a
    run waits for it at its end.

    Args:
        encoder: made by ``sslzoo.encoders``; it is not changed.
        folder: usually ``<run>/encoder``.
        provenance: plain JSON for the entry ``sslzoo`` of config.json: method, category, family, method_config,
            dataset, dataset_fingerprint, … What timm has a field for (tag, license, description, origin_url,
            paper_name, paper_ids) goes there instead.

    Raises:
        UsageError: if the encoder has no spec.
        UserError: if its spec does not describe it, or its features are not finite.
    """
    rebuilt = build_blank(spec_of(encoder))
    complaint = "the encoder is not what its spec describes: save what create_encoder made"
    load_strictly(rebuilt, encoder.state_dict(), complaint, in_place=True)
    new, old = (folder.with_name(f".{folder.name}.{age}") for age in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)  # of a save that was killed
    new.mkdir(parents=True)
    try:
        taken = fingerprint(rebuilt)
        digest = write_weights(rebuilt.state_dict(), new / WEIGHTS)
        config = compose_config(rebuilt, {"tag": _tag(provenance)} | provenance, digest, taken)
        (new / CONFIG).write_text(config_text(config), encoding="utf-8")
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():
        flush_folder(new)
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _tag(provenance: dict[str, Any]) -> str:
    """Timm's word for the origin of weights, such as ``rotation_cliparts``."""
    words = [str(provenance[key]) for key in ("method", "dataset") if provenance.get(key)]
    return "_".join("".join(c if c.isalnum() else "_" for c in word).strip("_").lower() for word in words) or "sslzoo"
