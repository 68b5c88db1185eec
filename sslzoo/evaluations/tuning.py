"""Training what stands on an encoder's feature maps, and the encoder with it if asked: one loop for all dense tasks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.evaluations.annotated import Annotated, AnnotatedImages
from sslzoo.nn.schedules import rate_factor
from sslzoo.optimizers import parameter_groups, set_rate
from sslzoo.views.keyed import Draw

WARMUP = 0.05
"""Share of the steps over which the learning rate rises."""
CLIP = 1.0
"""Largest norm of a step's gradient."""


@dataclass(frozen=True)
class TuningConfig:
    """How heads of dense tasks are trained. The learning rates are fixed, so nothing is chosen on any data."""

    finetune: bool = False
    """Train the encoder too, on a copy of it; batch statistics stay those of its pretraining."""
    image_size: int = 0
    """Pixels of the side of the square that images are fitted into; 0 doubles the encoder's own if it takes that."""
    epochs: int = 10
    """Passes over the training split."""
    batch_size: int = 16
    """Images of a step."""
    lr: float = 5e-3
    """AdamW's rate for what is new; it rises over the first 5 % of the steps, then falls along a cosine."""
    encoder_lr: float = 1e-4
    """The same of the encoder, if it is trained."""
    weight_decay: float = 0.01
    """AdamW's; norms and biases are spared."""


def check_settings(config: TuningConfig) -> None:
    """Of those numbers that every dense task has.

    Raises:
        UsageError: if a number makes no sense.
    """
    for name in ("epochs", "batch_size", "lr", "encoder_lr"):
        if not getattr(config, name) > 0:
            raise UsageError(f"{name} must be above 0, not {getattr(config, name)}")
    if config.image_size < 0 or config.weight_decay < 0:
        raise UsageError("image_size and weight_decay must not be below 0")


def workers_for(device: torch.device) -> int:
    """Processes that read images: none where the CPU is needed for the encoder."""
    return 0 if device.type == "cpu" else min(8, os.cpu_count() or 1)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """The same random numbers each time, for weights, dropout, sampled boxes; those of the caller go on untouched."""
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(0)
        yield


def tune(
    model: nn.Module,
    images: AnnotatedImages,
    config: TuningConfig,
    loss: Callable[[list[Annotated], Tensor], Tensor],
    encoder_prefix: str,
) -> list[float]:
    """Train all of ``model`` that wants gradients, and return the mean loss of each epoch.

    Each epoch sees all samples in an order of its own, each mirrored or not. ``loss`` is given the samples of a step,
    and (B,) bool: which of them are to be mirrored. Parameters under ``encoder_prefix`` are the encoder's.

    Raises:
        UserError: if the loss is not finite, or too many samples cannot be read.
    """
    groups = parameter_groups(model, config.weight_decay, {encoder_prefix: config.encoder_lr / config.lr})
    optimizer = torch.optim.AdamW(groups, lr=config.lr)
    trained = [parameter for group in groups for parameter in group["params"]]
    total = config.epochs * math.ceil(len(images) / config.batch_size)
    draw = Draw.root(0).at("evaluation", "tuning")
    losses = []
    step = 0
    for epoch in range(config.epochs):
        order = draw.at(epoch).permutation("order", len(images))[0].tolist()
        found = []
        for samples in images.batches(order, config.batch_size):
            index = torch.tensor([sample.index for sample in samples])
            value = loss(samples, draw.at(epoch).of(index).bernoulli("mirrored", 0.5))
            if not value.isfinite():
                raise UserError(
                    f"the loss is {value.item()} at step {step} of {total}; choose a lower --lr"
                    + (" and --encoder-lr" if config.finetune else "")
                )
            set_rate(optimizer, config.lr * rate_factor(step, total, warmup_steps=WARMUP * total))
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(trained, CLIP)
            optimizer.step()
            found.append(value.item())
            step += 1
        losses.append(sum(found) / len(found))
    return losses
