"""The end of a run: from a trained method to the folder that is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sslzoo.card import write_card
from sslzoo.checkpoint import atomic_write, flush, flush_folder
from sslzoo.config import UsageError
from sslzoo.figures import illustration_sheet, pretraining_figure, save_figure
from sslzoo.hub.folder import save_encoder
from sslzoo.hub.layout import SOUND_ENCODER
from sslzoo.hub.weights import load_strictly, read_weights
from sslzoo.method import Batch, PretextMethod
from sslzoo.record import write_record


def hand_over(method: PretextMethod, encoder: nn.Module, record: dict[str, Any], out: Path, batch: Batch) -> None:
    """Write the encoders, heads.safetensors, figures/ and the card; mark the run finished when the disk has them."""
    draw(method, record, out, batch)
    save_heads(method, out / "heads.safetensors")
    save_encoder(encoder, out / "encoder", provenance(record))
    sounds = method.trained_sound_encoder()
    if sounds is not None:
        save_encoder(sounds, out / SOUND_ENCODER, provenance(record))
        flush_folder(out / SOUND_ENCODER)
    flush_folder(out / "encoder")
    flush(out)
    write_record(out, record)
    write_card(out)


def draw(method: PretextMethod, record: dict[str, Any], out: Path, batch: Batch) -> None:
    """One figure: the method's own pictures, where it has any, and the loss curve."""
    figure = pretraining_figure(out / "log.jsonl", illustrations(method, batch), _title(record))
    save_figure(figure, out / "figures" / "pretraining.png")


@torch.no_grad()
def illustrations(method: PretextMethod, batch: Batch) -> dict[str, Tensor]:
    """What the method draws of a batch, which leaves it as it was."""
    training = method.training
    method.eval()
    pictures = {title: images.cpu() for title, images in method.illustrate(batch).items()}
    method.train(training)
    return pictures


def _title(record: dict[str, Any]) -> str:
    return f"{record['method']['name']}: {record['method']['summary']}"


class Sheet:
    """What the method makes of a few samples, drawn again and again: one can watch it learn."""

    def __init__(self, method: PretextMethod, record: dict[str, Any], out: Path, batch: Batch) -> None:
        """
        Raises:
            UsageError: if the method has nothing to draw.
        """
        self.method, self.title, self.batch = method, _title(record), batch
        self.path = out / "figures" / "illustration.png"
        if not illustrations(method, batch):
            raise UsageError(f"{record['method']['name']} has nothing to draw: leave out --illustrate")

    def draw(self, when: str, scores: dict[str, float]) -> None:
        """The pictures as they are now, under the loss that ``scores`` has: the held-out one, if it is there."""
        loss = "held-out loss" if "held-out loss" in scores else "loss"
        caption = f"{when}: {loss} {scores[loss]:.4g}"
        save_figure(illustration_sheet(illustrations(self.method, self.batch), self.title, caption), self.path)


def save_heads(method: PretextMethod, path: Path) -> None:
    """The method's own parts, without the encoder: to illustrate, and to pretrain further."""
    heads = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in method.state_dict().items()
        if not name.startswith("encoder.")
    }
    with atomic_write(path) as partial:
        save_file(heads, partial, metadata={"format": "pt"})


def load_heads(method: PretextMethod, encoder: nn.Module, path: Path) -> None:
    """Make of a ``method``, freshly built, that of a finished run, from the published ``encoder`` and its heads.

    Where a teacher or an average of the weights was published, it also stands in for the student, whose encoder no run
    keeps.

    Raises:
        UserError: if the file cannot be read, or holds another method's parts.
    """
    heads = read_weights(path)
    for name, buffer in list(method.named_buffers()):
        if name in heads and buffer.shape != heads[name].shape:  # a memory with a row for each sample
            module, _, own = name.rpartition(".")
            setattr(method.get_submodule(module), own, torch.empty_like(heads[name]))
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    load_strictly(method, heads | weights, f"{path} does not fit {method.info.name} as it is installed")


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
