"""The end of a run: from a trained method to the folder that is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from sslzoo.card import write_card
from sslzoo.checkpoint import atomic_write
from sslzoo.figures import pretraining_figure, save_figure
from sslzoo.hub.folder import save_encoder
from sslzoo.method import Batch, PretextMethod
from sslzoo.record import write_record


def hand_over(method: PretextMethod, encoder: nn.Module, record: dict[str, Any], out: Path, batch: Batch) -> None:
    """Write encoder/, heads.safetensors, figures/ and the card; then, last of all, mark the run finished."""
    draw(method, record, out, batch)
    save_heads(method, out / "heads.safetensors")
    save_encoder(encoder, out / "encoder", provenance(record))
    write_record(out, record)
    write_card(out)


def draw(method: PretextMethod, record: dict[str, Any], out: Path, batch: Batch) -> None:
    """One figure: the method's own pictures, where it has any, and the loss curve."""
    method.eval()
    with torch.no_grad():
        pictures = {title: images.cpu() for title, images in method.illustrate(batch).items()}
    title = f"{record['method']['name']}: {record['method']['summary']}"
    save_figure(pretraining_figure(out / "log.jsonl", pictures, title), out / "figures" / "pretraining.png")


def save_heads(method: PretextMethod, path: Path) -> None:
    """The method's own parts, without the encoder: to illustrate, and to pretrain further."""
    heads = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in method.state_dict().items()
        if not name.startswith("encoder.")
    }
    with atomic_write(path) as partial:
        save_file(heads, partial, metadata={"format": "pt"})


def provenance(record: dict[str, Any]) -> dict[str, Any]:
    """What config.json says of where the encoder comes from."""
    method, dataset = record["method"], record["dataset"]
    return {
        "run": record["id"],
        "method": method["name"],
        "category": method["category"],
        "family": method["family"],
        "paper": method["paper"]["url"],
        "method_config": record["method_config"],
        "dataset": dataset["name"],
        "dataset_fingerprint": dataset["fingerprint"],
        "steps": record["steps"],
        "command": record["command"],
    }
