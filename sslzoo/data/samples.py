"""Reading the samples of a micro-batch in a loader's worker."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.data import Dataset

from sslzoo.config import UserError
from sslzoo.data.columns import image_of, stored_path
from sslzoo.data.images import with_channels
from sslzoo.data.order import Reference
from sslzoo.data.source import Source, Unreadable
from sslzoo.views import Sample
from sslzoo.views.crop import as_pixels

_TRIES = 100

Read = list[Sample | Unreadable] | UserError
"""Samples, with an ``Unreadable`` more for each that could not be read; or the error that ends the run.

The error is a value because torch would hand on the text of one that is raised in a worker with its traceback.
"""


class Samples(Dataset):
    """A source by reference: each sample decoded, with its channels as asked for, ``index`` and ``key``."""

    def __init__(self, source: Source, channels: int) -> None:
        self.source = source
        self.channels = channels

    def __getitems__(self, references: Sequence[Reference]) -> Read:
        """In place of an unreadable sample stands the next readable one, with the slot's key."""
        read: list[Sample | Unreadable] = []
        try:
            for index, key in references:
                read += self._read_or_next(index, key)
        except UserError as error:
            return error
        return read

    def _read_or_next(self, index: int, key: int) -> list[Sample | Unreadable]:
        tried: list[Sample | Unreadable] = []
        for step in range(min(_TRIES, len(self.source))):
            try:
                return [*tried, read_for_views(self.source, (index + step) % len(self.source), key, self.channels)]
            except Unreadable as error:
                tried.append(error)
        name = self.source.name
        raise UserError(f"{len(tried)} samples of {name} in a row cannot be read: {tried[0]}; repair the data set")


class StreamedSamples(Dataset):
    """A stream's samples, decoded from the cells that their references carry."""

    def __init__(self, name: str, channels: int) -> None:
        """``name`` is the stream's."""
        self.name = name
        self.channels = channels

    def __getitems__(self, references: Sequence[Reference]) -> Read:
        """In place of an unreadable sample stands the nearest readable one of the batch, with the slot's key."""
        samples: dict[int, Sample] = {}
        broken: list[Sample | Unreadable] = []
        for place, (cell, index, key) in enumerate(references):
            try:
                samples[place] = self._decode(cell, index, key)
            except Unreadable as error:
                broken.append(error)
            except UserError as error:
                return error
        if not samples:
            return UserError(f"a whole batch of {self.name} cannot be read: {broken[0]}; repair the data set")
        nearest = [min(samples, key=lambda good: abs(good - place)) for place in range(len(references))]
        return [{**samples[good], "key": key} for good, (_, _, key) in zip(nearest, references, strict=True)] + broken

    def _decode(self, cell: object, index: int, key: int) -> Sample:
        image = image_of(cell, stored_path(cell) or f"streamed sample {index}")
        return {"image": as_pixels(with_channels(image, self.channels)), "index": index, "key": key}


class InOrder(Dataset):
    """A source by position, for evaluation: an unreadable sample is left out."""

    def __init__(self, source: Source, channels: int) -> None:
        self.source = source
        self.channels = channels

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, indices: Sequence[int]) -> Read:
        read: list[Sample | Unreadable] = []
        for index in indices:
            try:
                read.append(read_sample(self.source, index, 0, self.channels))
            except Unreadable as error:
                read.append(error)
            except UserError as error:
                return error
        return read


def read_for_views(source: Source, index: int, key: int, channels: int) -> Sample:
    """One sample as views are given it: ``read_sample``, its picture as a tensor, which is resized faster."""
    sample = read_sample(source, index, key, channels)
    if "image" in sample:
        sample["image"] = as_pixels(sample["image"])
    return sample


def read_sample(source: Source, index: int, key: int, channels: int) -> Sample:
    """One sample with its index and key, and its picture with that many channels.

    Raises:
        Unreadable: if it cannot be decoded.
        UserError: if it cannot have that many channels.
    """
    sample = source.read(index)
    if "image" in sample:
        sample["image"] = with_channels(sample["image"], channels)
    return {**sample, "index": index, "key": key}
