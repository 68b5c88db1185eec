"""A finished run folder without the training: what the tests of hub and card read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sslzoo.encoders import create_encoder, create_sound_encoder, spec_of
from sslzoo.hub.folder import save_encoder

PROVENANCE = {
    "method": "rotation",
    "category": "context",
    "family": "geometric-transformation",
    "method_config": {"min_scale": 0.08},
    "dataset": "cliparts[unlabeled]",
    "dataset_fingerprint": "0123abcd",
}
RECORD: dict[str, Any] = {
    "format": 1,
    "id": "8f14e45fceea167a5a36dedd4bea2543",
    "method": {
        "name": "rotation",
        "category": "context",
        "family": "geometric-transformation",
        "modalities": ["image"],
        "summary": "Tell by which of four right angles a picture was turned.",
        "paper": {
            "authors": "Gidaris, Singh & Komodakis",
            "title": "Unsupervised Representation Learning by Predicting Image Rotations",
            "venue": "ICLR",
            "year": 2018,
            "url": "https://arxiv.org/abs/1803.07728",
        },
    },
    "method_config": {"min_scale": 0.08},
    "pretrain": {"epochs": 50, "batch_size": 256, "optimizer": "sgd", "lr": 0.1, "seed": 0},
    "dataset": {"name": "cliparts[unlabeled]", "fingerprint": "0123abcd", "license": "CC0-1.0", "samples": 4400},
    "environment": {
        "device": "cpu",
        "processes": 2,
        "precision": "bf16",
        "versions": {"torch": "2.15", "timm": "1.0.31"},
    },
    "command": "sslzoo pretrain rotation --dataset 'cliparts[unlabeled]' --encoder test_resnet --image-size 64",
    "finished": True,
    "seconds": 5400.0,
    "steps": 850,
}
REPORT: dict[str, Any] = {
    "format": 1,
    "evaluation": "knn",
    "protocol": "knn@1",
    "model": "run",
    "config": {"k": 20, "temperature": 0.07},
    "train": {"name": "cliparts[train]", "fingerprint": "aa", "samples": 900},
    "test": {"name": "cliparts[test]", "fingerprint": "bb", "samples": 900},
    "metrics": {"accuracy": 0.46349},
    "baseline": {"model": "random:test_resnet", "metrics": {"accuracy": 0.361}},
    "selected": {},
    "details": {},
    "seconds": 3.2,
    "versions": {},
}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63f80f0001010100"
    "1bb6ee560000000049454e44ae426082"
)


def trained(
    architecture: str = "test_resnet",
    image_size: int = 32,
    channels: int = 3,
    args: tuple[str, ...] = (),
    seed: int = 0,
) -> nn.Module:
    """An encoder as if trained."""
    return as_if_trained(create_encoder(architecture, image_size, channels, args, seed=seed), seed)


def trained_to_hear(seed: int = 0) -> nn.Module:
    """An encoder of sounds as if trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return as_if_trained(create_sound_encoder("test_resnet"), seed)


def as_if_trained(encoder: nn.Module, seed: int) -> nn.Module:
    """Nothing in it is at its initial value any more, neither gains nor statistics."""
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            noise = torch.rand(parameter.shape, generator=generator)
            if name.endswith("bias"):
                parameter.copy_(0.4 * noise - 0.2)
            elif parameter.ndim <= 1:  # gains and layer scales
                parameter.copy_(0.5 + noise)
        norms = [layer for layer in encoder.modules() if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d)]
        for momentum in (1.0, 0.1):  # with 1.0, one batch makes the statistics
            for norm in norms:
                norm.momentum = momentum
            encoder.train(momentum == 1.0)(torch.randn(8, *spec_of(encoder).input.shape, generator=generator))
    return encoder


def repository_for(test: str) -> str:
    """A repository of its own for each test."""
    return "tester/" + re.sub(r"\W+", "-", test)[:80].strip("_-")


def write_run(folder: Path, encoder: nn.Module | None = None, sounds: nn.Module | None = None) -> Path:
    """A run folder with everything in it, also what must not be published; ``sounds`` is its second encoder."""
    encoder = encoder or trained()
    save_encoder(encoder, folder / "encoder", PROVENANCE)
    if sounds is not None:
        save_encoder(sounds, folder / "sound_encoder", PROVENANCE)
    (folder / "encoder" / "README.md").write_text("---\nlicense: apache-2.0\nlibrary_name: timm\n---\n\n# A card\n")
    (folder / "run.json").write_text(json.dumps(RECORD))
    (folder / "log.jsonl").write_text('{"step": 1, "loss": 1.4}\n')
    (folder / "heads.safetensors").write_bytes(b"stays at home")
    for name, files in {
        "evaluations": {"knn.json": json.dumps(REPORT).encode(), "notes.txt": b"mine"},
        "figures": {"loss.png": PNG},
        "state": {"latest": b"stays at home"},
    }.items():
        (folder / name).mkdir()
        for file, content in files.items():
            (folder / name / file).write_bytes(content)
    return folder
