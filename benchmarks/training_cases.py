"""What is trained in ``training.py``: methods, encoders and sizes, the same on all sides, and how each is timed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
from torch import nn

BATCH, SIZE, SIDE = 64, 64, 300
"""Samples of a step, and pixels of views and of photographs."""
LOCAL_CROPS, LOCAL_SIZE = 6, 32
"""DINO's small views, as many as lightly makes, and their pixels."""
DINO_HEAD = {"hidden_dim": 512, "bottleneck_dim": 64, "output_dim": 2048}
"""As in lightly's example."""
DECODER = {"dim": 96, "depth": 2, "heads": 4}
"""MAE's, as in our recipe for small pictures."""
MASKED = 0.75
"""Share of the patches that MAE's encoder does not see."""


@dataclass(frozen=True)
class Case:
    """A method with an encoder, and how long a turn of it is."""

    method: str
    encoder: str
    sides: tuple[str, ...]
    epochs: int
    """Of which the first does not count."""
    settings: Mapping[str, Any]
    """What sslzoo is told, so that it does the others' work."""
    encoder_args: Mapping[str, Any] = field(default_factory=dict)

    def build_encoder(self) -> nn.Module:
        return timm.create_model(self.encoder, num_classes=0, **self.encoder_args)


_SIDES = ("bare", "lightly", "lightly bf16", "sslzoo")
_RIVALS = ("bare", "lightly", "lightly bf16", "stable-pretraining", "sslzoo", "sslzoo no cache")
_SGD = {"optimizer": "sgd", "lr": 0.06}
_DINO = {
    "optimizer": "adam",
    "lr": 1e-3,
    "encoder_args": (),
    "local_crops": LOCAL_CROPS,
    "local_size": LOCAL_SIZE,
    "min_scale": 0.05,
    "global_scale": 0.4,
    "hidden_dim": DINO_HEAD["hidden_dim"],
    "bottleneck_dim": DINO_HEAD["bottleneck_dim"],
    "outputs": DINO_HEAD["output_dim"],
    "freeze_epochs": 0,
}
_MAE = {
    "optimizer": "adamw",
    "lr": 1.5e-4,
    "encoder_args": ("patch_size=8",),
    "masked": MASKED,
    **{f"decoder_{name}": value for name, value in DECODER.items()},
    "normalized": False,
}
CASES = {
    "simclr test_resnet": Case("simclr", "test_resnet", _RIVALS, 3, _SGD | {"temperature": 0.5}),
    "simclr resnet18": Case("simclr", "resnet18", _RIVALS, 2, _SGD | {"temperature": 0.5}),
    "rotation test_resnet": Case("rotation", "test_resnet", ("bare", "sslzoo"), 3, _SGD),
    "mae vit_tiny": Case(
        "mae", "vit_tiny_patch16_224", _SIDES, 3, _MAE, encoder_args={"img_size": SIZE, "patch_size": 8}
    ),
    "dino test_resnet": Case("dino", "test_resnet", _SIDES, 2, _DINO),
}


@dataclass(frozen=True)
class Turn:
    """One side's turn at a case."""

    case: Case
    photographs: Path
    """A folder with one folder of PNG files."""
    batches: int
    """That are in it."""

    @property
    def steps(self) -> int:
        return self.batches * self.case.epochs

    def speed(self, ended: Sequence[float]) -> float:
        """Samples per second after the first epoch, if steps ended at these times."""
        counted = ended[self.batches - 1 : self.steps]
        return BATCH * (len(counted) - 1) / (counted[-1] - counted[0])

    def timed(self, steps: Iterable[object]) -> float:
        """Samples per second after the first epoch of steps that are done one by one."""
        return self.speed([time.perf_counter() for _, _ in zip(range(self.steps), steps, strict=False)])
