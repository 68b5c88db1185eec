"""The order in which a run sees its samples: a function of seed and epoch, cut into steps and processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from sslzoo.config import UsageError
from sslzoo.views.keyed import Draw

Reference = tuple
"""What a loader is asked for: (index, key) of a sample, or (cell, index, key) of a stream's."""


class Order(Sampler[list[Reference]], ABC):
    """This process's micro-batches of one epoch, each a list of references."""

    def __init__(
        self, num_samples: int, batch_size: int, *, accumulate: int = 1, rank: int = 0, world: int = 1, seed: int = 0
    ) -> None:
        """``batch_size`` is over all ``world`` processes and ``accumulate`` micro-batches.

        Raises:
            UsageError: if it does not divide by them, or there are fewer samples.
        """
        self.num_samples = num_samples
        self.steps_per_epoch = steps_per_epoch(num_samples, batch_size, accumulate, world)
        self.share = batch_size // (accumulate * world)
        self.accumulate, self.rank, self.world, self.seed = accumulate, rank, world, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        """What the next iteration gives: ``epoch``, from ``start_step`` on."""
        self.epoch, self.start_step = epoch, start_step

    def __len__(self) -> int:
        """Micro-batches that are left of the epoch."""
        return (self.steps_per_epoch - self.start_step) * self.accumulate

    @abstractmethod
    def __iter__(self) -> Iterator[list[Reference]]:
        """The micro-batches that are left of the epoch, of ``share`` references each."""


class KeyedOrder(Order):
    """The samples of a source, as (index, key).

    An epoch is a permutation of all samples. A step takes the next ``batch_size`` of it, its micro-batches equal parts
    of that in order, and a process its equal part of each; what is left at the end waits for another epoch. So the
    union over processes and micro-batches is the same however many there are.
    """

    def __iter__(self) -> Iterator[list[Reference]]:
        root = Draw.root(self.seed)
        order = root.at("order", self.epoch).of(torch.arange(self.num_samples)).bits("order").argsort(stable=True)
        keys = root.at("sample", self.epoch).of(order).key
        for part in range(self.start_step * self.accumulate, self.steps_per_epoch * self.accumulate):
            start = (part * self.world + self.rank) * self.share
            mine = slice(start, start + self.share)
            yield list(zip(order[mine].tolist(), keys[mine].tolist(), strict=True))


def in_order(num_samples: int, batch_size: int, seed: int) -> list[list[Reference]]:
    """References to all samples in their order, with keys that never change; the last batch may be short."""
    keys = Draw.root(seed).at("validation").of(torch.arange(num_samples)).key.tolist()
    references: list[Reference] = list(enumerate(keys))
    return [references[start : start + batch_size] for start in range(0, num_samples, batch_size)]


def steps_per_epoch(num_samples: int, batch_size: int, accumulate: int, world: int) -> int:
    """Whole batches in an epoch.

    Raises:
        UsageError: if a batch does not divide by the processes and micro-batches, or there are too few samples for one.
    """
    parts = accumulate * world
    if batch_size % parts or batch_size < 1:
        nearest = max(1, round(batch_size / parts)) * parts
        raise UsageError(
            f"batch size {batch_size} does not divide by {world} processes times {accumulate} micro-batches: "
            f"use --batch-size {nearest}"
        )
    if num_samples < batch_size:
        largest = num_samples // parts * parts
        remedy = f"use --batch-size {largest}, or more data" if largest else f"use at least {parts} samples"
        raise UsageError(f"the data set has {num_samples} samples, fewer than one batch of {batch_size}: {remedy}")
    return num_samples // batch_size
