"""A data set that is read from its first row to its last, and never held whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import datasets
import pyarrow as pa
import torch
from datasets.distributed import split_dataset_by_node
from datasets.exceptions import DatasetsError

from sslzoo.config import UsageError, UserError
from sslzoo.data.columns import Columns
from sslzoo.data.order import Order, Reference
from sslzoo.data.rows import undecoded
from sslzoo.views.keyed import Draw

_BUFFER = 1000


class Stream:
    """The encoded images, or videos, of a ``datasets.IterableDataset``.

    The main process reads it, so workers change nothing.
    """

    def __init__(
        self,
        dataset: datasets.IterableDataset,
        name: str,
        length: int = 0,
        identity: Sequence[str] = (),
        license: str | None = None,
        image_column: str = "",
        label_column: str = "",
    ) -> None:
        """``length`` is 0 where it is not known; ``identity`` tells the data apart from any other.

        Raises:
            UsageError: if the image column is not found.
        """
        if dataset.features is None:
            raise UsageError(f"{name} does not say what columns it has: leave out --streaming")
        columns = Columns.of(dataset.features, name, image_column, label_column)
        self.name = name
        self.license = license
        self.length = length
        self._column = columns.image
        self.kind = columns.kind
        self._images = undecoded(dataset.select_columns([columns.image]), columns.kind)
        self._identity = list(identity)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what names the data (id, config, split, commit or file sizes): a stream is not read for it."""
        return hashlib.sha256(json.dumps(self._identity).encode()).hexdigest()

    def cells(self, seed: int, epoch: int, rank: int, world: int) -> Iterator[Any]:
        """The encoded images that process ``rank`` reads in an epoch, shuffled; again from the start after the last.

        Whole files are dealt to the processes where their number divides, else single rows.

        Raises:
            UserError: if the stream breaks off, or this process's part of it is empty.
        """
        images = split_dataset_by_node(self._images.shuffle(seed=seed, buffer_size=_BUFFER), rank, world)
        images.set_epoch(epoch)
        while True:
            count = 0
            try:
                for row in images:
                    yield row[self._column]
                    count += 1
            except (OSError, pa.ArrowException, DatasetsError) as error:
                raise UserError(f"{self.name} broke off after {count} rows: {' '.join(str(error).split())}") from error
            if not count:
                raise UserError(f"{self.name} has no rows for process {rank} of {world}: use fewer processes")


class StreamedOrder(Order):
    """The samples of a stream, as (encoded image, index, key). What comes before the start step is read and dropped.

    ``index`` is ``rank + world * position``, where the position counts what this process has read in the epoch.
    """

    def __init__(self, stream: Stream, batch_size: int, *, samples_per_epoch: int = 0, **part: int) -> None:
        """``samples_per_epoch`` is the length of an epoch, needed for a stream that does not know its own.

        Raises:
            UsageError: if neither is known, or ``batch_size`` does not fit (see ``Order``, which takes ``part``).
        """
        length = samples_per_epoch or stream.length
        if not length:
            raise UsageError(f"{stream.name} does not say how many samples it has: set --samples-per-epoch")
        self.stream = stream
        super().__init__(length, batch_size, **part)

    def __iter__(self) -> Iterator[list[Reference]]:
        share = self.share
        keys = Draw.root(self.seed).at("sample", self.epoch)
        start = self.start_step * self.accumulate * share
        cells = islice(self.stream.cells(self.seed, self.epoch, self.rank, self.world), start, None)
        for first in range(start, self.steps_per_epoch * self.accumulate * share, share):
            index = self.rank + self.world * torch.arange(first, first + share)
            batch = list(islice(cells, share))
            yield list(zip(batch, index.tolist(), keys.of(index).key.tolist(), strict=True))
