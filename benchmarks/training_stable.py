"""The side of stable-pretraining in ``training.py``: SimCLR as its README trains it.

Its transforms on PIL pictures by the table that all sides have, ``FromTorchDataset``, its ``forward.simclr`` and
``NTXEntLoss``, and its ``Manager`` on a Lightning trainer in bf16, where the processor has it. Without probes, logger,
checkpoints and progress bar, as the other sides have none; its other callbacks stay. Two loader workers, as for
lightly: its README has eight or more, for machines with as many cores.
"""

from __future__ import annotations

import time
from typing import Any

import lightning
import stable_pretraining as spt
import torch
from lightning.pytorch.callbacks import Callback
from stable_pretraining.data import dataset_stats, transforms
from stable_pretraining.forward import simclr
from torch.utils.data import ConcatDataset, DataLoader
from torchvision.datasets import ImageFolder
from training_bare import projector
from training_cases import BATCH, SIZE, Turn

from sslzoo.machine import best_precision


class Ended(Callback):
    """When each step did."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter())


def stable_pretraining(turn: Turn) -> dict[str, float]:
    """Samples per second."""
    spt.set(progress_bar="none", verbose="ERROR")
    views = transforms.MultiViewTransform([_view(), _view()])
    dataset = spt.data.FromTorchDataset(ImageFolder(turn.photographs), names=["image", "label"], transform=views)
    # One long epoch, with some to spare: the workers neither start anew nor run out of work while time counts.
    repeated = ConcatDataset([dataset] * (turn.case.epochs + 1))
    loader = DataLoader(repeated, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=2)
    encoder = turn.case.build_encoder()
    module = spt.Module(
        backbone=encoder,
        projector=projector(encoder.num_features),
        forward=simclr,
        simclr_loss=spt.losses.NTXEntLoss(temperature=0.5),
        optim={"optimizer": {"type": "SGD", "lr": 0.06, "momentum": 0.9}, "scheduler": "ConstantLR"},
    )
    ended = Ended()
    trainer = lightning.Trainer(
        max_epochs=1,
        limit_train_batches=turn.steps,
        accelerator="cpu",
        precision="bf16-mixed" if best_precision(torch.device("cpu")) == "bf16" else "32-true",
        callbacks=[ended],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    spt.Manager(trainer=trainer, module=module, data=spt.data.DataModule(train=loader), seed=0)()
    return {"samples_per_second": turn.speed(ended.times)}


def _view() -> transforms.Compose:
    return transforms.Compose(
        transforms.RGB(),
        transforms.RandomResizedCrop((SIZE, SIZE), scale=(0.08, 1.0)),
        transforms.RandomHorizontalFlip(p=0.5),
        transforms.ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, p=0.8),
        transforms.RandomGrayscale(p=0.2),
        transforms.PILGaussianBlur(sigma=[0.1, 2.0], p=0.5),
        transforms.ToImage(**dataset_stats.ImageNet),
    )
