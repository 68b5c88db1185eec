"""Reading the samples of a micro-batch in a loader's worker."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.data import Dataset

from sslzoo.config import UsageError, UserError
from sslzoo.data.cells import Kind, sample_of, stored_path
from sslzoo.data.clips import clip_with_channels, evenly_sampled, sampled
from sslzoo.data.images import with_channels
from sslzoo.data.order import Reference
from sslzoo.data.source import Source, Unreadable
from sslzoo.encoders import InputSpec
from sslzoo.views import Sample
from sslzoo.views.clips import ClipSampling
from sslzoo.views.crop import as_pixels

_TRIES = 100

Read = list[Sample | Unreadable] | UserError
"""Samples, with an ``Unreadable`` more for each that could not be read; or the error that ends the run.

The error is a value because torch would hand on the text of one that is raised in a worker with its traceback.
"""


class Samples(Dataset):
    """A source by reference: each sample decoded, with its channels as asked for, ``index`` and ``key``."""

    def __init__(self, source: Source, channels: int, sampling: ClipSampling | None = None) -> None:
        """``sampling`` says which frames are decoded of a clip."""
        self.source = source
        self.channels = channels
        self.sampling = sampling

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
                place = (index + step) % len(self.source)
                return [*tried, read_for_views(self.source, place, key, self.channels, self.sampling)]
            except Unreadable as error:
                tried.append(error)
        name = self.source.name
        raise UserError(f"{len(tried)} samples of {name} in a row cannot be read: {tried[0]}; repair the data set")


class StreamedSamples(Dataset):
    """A stream's samples, decoded from the cells that their references carry."""

    def __init__(self, name: str, channels: int, sampling: ClipSampling | None = None, kind: Kind = "image") -> None:
        """``name`` is the stream's, ``kind`` what its cells are."""
        self.name, self.kind = name, kind
        self.channels = channels
        self.sampling = sampling

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
        sample = sample_of(cell, stored_path(cell) or f"streamed sample {index}", self.kind)
        return {**_for_views(_decoded(sample, key, self.channels, self.sampling)), "index": index, "key": key}


class InOrder(Dataset):
    """A source by position, as an encoder looks at it in evaluation: an unreadable sample is left out.

    Of a clip, which an encoder of images looks at if there is no ``image``, all windows are given in a row, (V, T, C,
    H, W): of as many frames as an encoder of clips takes, or of one.
    """

    def __init__(self, source: Source, spec: InputSpec, views: int = 1, sampling: ClipSampling | None = None) -> None:
        """``views`` is the number of windows; ``sampling`` what they are, if not the next frames in a row."""
        self.source, self.spec, self.views = source, spec, views
        self.sampling = sampling or eval_sampling(spec)

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, indices: Sequence[int]) -> Read:
        read: list[Sample | Unreadable] = []
        for index in indices:
            try:
                read.append({**self._look(self.source.read(index)), "index": index, "key": 0})
            except Unreadable as error:
                read.append(error)
            except UserError as error:
                return error
        return read

    def _look(self, sample: Sample) -> Sample:
        channels = self.spec.size[0]
        if "image" in sample and not self.spec.frames:
            return {"image": with_channels(sample["image"], channels)}
        if "clip" not in sample:
            wanted = "clips" if self.spec.frames else "images or clips"
            raise UsageError(f"{self.source.name} has no {wanted}, which the encoder takes; choose another data set")
        clip = evenly_sampled(sample, self.sampling, self.views)
        return {"clip": clip_with_channels(clip, channels)}


def eval_sampling(spec: InputSpec, stride: int = 1, rate: float = 0.0) -> ClipSampling:
    """Windows of as many frames as an encoder takes, or of one.

    They are decoded at twice what is resized to, so that little is lost and a large video does not cost more than that.
    """
    side = 2 * round(min(spec.size[1:]) / spec.crop_pct)
    return ClipSampling(length=spec.frames or 1, stride=stride, rate=rate, short_side=side)


def read_for_views(source: Source, index: int, key: int, channels: int, sampling: ClipSampling | None = None) -> Sample:
    """One sample as views are given it: ``read_sample``, its picture as a tensor, which is resized faster."""
    return _for_views(read_sample(source, index, key, channels, sampling))


def _for_views(sample: Sample) -> Sample:
    return {**sample, "image": as_pixels(sample["image"])} if "image" in sample else sample


def read_sample(source: Source, index: int, key: int, channels: int, sampling: ClipSampling | None = None) -> Sample:
    """One sample with its index and key, its picture with that many channels, and the frames of a clip that
    ``sampling`` and the key say.

    Raises:
        Unreadable: if it cannot be decoded.
        UserError: if it cannot have that many channels.
    """
    return {**_decoded(source.read(index), key, channels, sampling), "index": index, "key": key}


def _decoded(sample: Sample, key: int, channels: int, sampling: ClipSampling | None) -> Sample:
    if "clip" in sample:
        sample = sampled(sample, sampling, key)
        sample["clip"] = clip_with_channels(sample["clip"], channels)
    if "image" in sample:
        sample["image"] = with_channels(sample["image"], channels)
    return sample
