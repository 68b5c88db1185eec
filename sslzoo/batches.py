"""The batches of a run: training, held-out, and the few that are drawn in its picture."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object, send_to_device
from torch import Tensor

from sslzoo.config import PretrainConfig
from sslzoo.data.loader import Loader, train_loader
from sslzoo.data.order import KeyedOrder, Order, in_order
from sslzoo.data.source import Source
from sslzoo.data.stream import Stream, StreamedOrder
from sslzoo.data.tally import UnreadableTally
from sslzoo.encoders import frames_of
from sslzoo.nn.channels_last import channels_last
from sslzoo.views import Batch, Views

SHOWN = 8
"""Samples in the picture of a run."""


class Batches:
    """Loaders over a source and perhaps a validation source, on the device of an accelerator."""

    def __init__(
        self,
        source: Source | Stream,
        validation: Source | None,
        views: Views,
        config: PretrainConfig,
        workers: int,
        accelerator: Accelerator,
    ) -> None:
        self.source, self.validation, self.views, self.config = source, validation, views, config
        self.accelerator = accelerator
        self.workers = workers
        self.order = self._order()
        self.tally = UnreadableTally(source.name, 0 if isinstance(source, Stream) else len(source))
        self._training = self._loader(source, self.order)
        if validation is not None:
            size = config.batch_size // config.accumulate
            self._held_out = self._loader(validation, in_order(len(validation), size, config.seed))
            self._held_out_tally = UnreadableTally(validation.name, len(validation))

    def steps(self, epoch: int, start_step: int) -> Iterator[list[Batch]]:
        """The micro-batches of each step of an epoch, from ``start_step`` on."""
        self.order.set_epoch(epoch, start_step)
        batches = (self._arrived(batch, self.tally) for batch in self._training)
        while micro_batches := list(islice(batches, self.config.accumulate)):
            yield micro_batches

    def held_out(self) -> Iterator[Batch]:
        """All of the validation source, in order and with the same views every time; nothing if there is none."""
        if self.validation is not None:
            for batch in self._held_out:
                yield self._arrived(batch, self._held_out_tally)

    def shown(self) -> Batch:
        """Held-out samples, or else training samples, from all over the data set."""
        source = self.validation or self.source
        if isinstance(source, Stream):
            return next(self.steps(0, 0))[0]
        references = in_order(len(source), len(source), self.config.seed)[0]
        chosen = [references[len(references) * place // SHOWN] for place in range(min(SHOWN, len(references)))]
        return self._arrived(next(iter(self._loader(source, [chosen], workers=0))), UnreadableTally(source.name))

    def share_tally(self) -> None:
        """Tell all processes of what each could not read."""
        if self.accelerator.num_processes > 1:
            self.tally.add(gather_object(self.tally.state_dict()["unreadable"]), seen=0)

    def _order(self) -> Order:
        config = self.config
        part = {
            "accumulate": config.accumulate,
            "rank": self.accelerator.process_index,
            "world": self.accelerator.num_processes,
            "seed": config.seed,
        }
        if isinstance(self.source, Stream):
            return StreamedOrder(self.source, config.batch_size, samples_per_epoch=config.samples_per_epoch, **part)
        return KeyedOrder(len(self.source), config.batch_size, **part)

    def _loader(self, source: Source | Stream, references: Any, workers: int | None = None) -> Loader:
        return train_loader(
            source,
            self.views,
            channels=self.config.channels,
            sampler=references,
            workers=self.workers if workers is None else workers,
            augment_in_workers=self.accelerator.device.type == "cpu",
        )

    def _arrived(self, batch: Batch, tally: UnreadableTally) -> Batch:
        """A batch on the device, augmented there unless the workers did it."""
        tally.add(batch.pop("unreadable", []), seen=len(batch["index"]))
        batch = send_to_device(batch, self.accelerator.device, non_blocking=True)
        if self.accelerator.device.type != "cpu":
            batch = self.views.augment(batch)
        if not self.config.channels_last:
            return batch
        # Of an image encoder's batch, what has five dimensions are several images of each sample.
        dims = (4, 5) if frames_of(self.config.encoder, {}) else (4,)
        return {name: _channels_last(value, dims) for name, value in batch.items()}


def _channels_last(value: Any, dims: tuple[int, ...]) -> Any:
    """Images and clips of a batch in the memory layout of the weights."""
    if isinstance(value, list):
        return [_channels_last(item, dims) for item in value]
    if isinstance(value, Tensor) and value.ndim in dims and value.is_floating_point():
        return channels_last(value)
    return value
