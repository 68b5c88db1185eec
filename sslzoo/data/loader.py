"""Loaders: from a source or stream and its order to batches, the same with any number of workers and processes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset

from sslzoo.config import UsageError, UserError
from sslzoo.data.order import Order, Reference
from sslzoo.data.samples import InOrder, Read, Samples, StreamedSamples
from sslzoo.data.source import Source, Unreadable
from sslzoo.data.stopwatch import Stopwatch
from sslzoo.data.stream import Stream
from sslzoo.encoders import InputSpec
from sslzoo.views import Batch, Sample, Views, collate
from sslzoo.views.clips import ClipSampling
from sslzoo.views.color import normalize, to_float
from sslzoo.views.crop import AnyImage, Interpolation, resize_center_crop

VIEWS = 4
"""Frames, or windows, of a clip that an encoder looks at in evaluation."""


class Loader(DataLoader):
    """A ``DataLoader`` that raises a worker's ``UserError`` as it was, and leaves torch's global generator alone."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # a generator does for us
        for batch in super().__iter__():
            if "error" in batch:
                raise batch.pop("error")  # popped, or the traceback would keep the workers alive
            yield batch


def train_loader(
    source: Source | Stream,
    views: Views,
    *,
    channels: int,
    sampler: Order | list[list[Reference]],
    workers: int,
    augment_in_workers: bool,
    timed: bool = False,
) -> Loader:
    """Micro-batches of ``views`` in the order of ``sampler``; set its epoch before each iteration.

    A batch has ``unreadable`` (a list of "name: reason") if samples could not be read and others stand in for them, and
    if ``timed`` it has ``seconds``, what its making took by part.
    """
    samples = (
        StreamedSamples(source.name, channels, views.sampling, source.kind)
        if isinstance(source, Stream)
        else Samples(source, channels, views.sampling)
    )
    return Loader(
        Timed(samples) if timed else samples,
        batch_sampler=sampler,
        collate_fn=Collate(views, augment_in_workers),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
        worker_init_fn=start_worker,
    )


def eval_loader(
    source: Source,
    spec: InputSpec,
    batch_size: int,
    workers: int,
    *,
    views: int = VIEWS,
    sampling: ClipSampling | None = None,
) -> Loader:
    """All samples in order as an encoder takes them: ``image`` (B, C, H, W) float32 normalised, ``index`` (B,).

    Of clips it is (B * views, C, H, W), frames from all over each clip one after the other, for an encoder of images;
    (B * views, C, T, H, W), windows of as many frames as it takes, for one of clips. See ``InOrder`` for ``sampling``.
    Unreadable samples are left out of their batch and named in its ``unreadable`` ("name: reason" each).
    """
    return Loader(
        InOrder(source, spec, views, sampling),
        batch_size=batch_size,
        collate_fn=Prepare(spec),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
        worker_init_fn=start_worker,
    )


class Timed(Dataset):
    """Samples, and the watch that measured how long they took to read."""

    def __init__(self, samples: Samples | StreamedSamples) -> None:
        self.samples = samples

    def __getitems__(self, references: Sequence[Any]) -> tuple[Read, Stopwatch]:
        watch = Stopwatch()
        with watch("decode"):
            read = self.samples.__getitems__(references)
        return read, watch


@dataclass(frozen=True)
class Collate:
    """Samples to a batch of ``views``, whose second half may be left to the device."""

    views: Views
    augment: bool

    def __call__(self, read: Read | tuple[Read, Stopwatch]) -> Batch:
        timed = isinstance(read, tuple)
        read, watch = read if isinstance(read, tuple) else (read, Stopwatch())
        if isinstance(read, UserError):
            return {"error": read}
        samples, unreadable = _sort_out(read)
        try:
            with watch("crop"):
                batch = collate(self.views, [_Fields(sample) for sample in samples])
            if self.augment:
                with watch("augment"):
                    batch = self.views.augment(batch)
        except UserError as error:
            return {"error": error}
        told = {"unreadable": unreadable} if unreadable else {}
        return {**batch, **told, **({"seconds": watch.seconds} if timed else {})}


class _Fields(dict):
    """A sample that says what it lacks."""

    def __missing__(self, name: str) -> None:
        have = ", ".join(field for field in self if field not in ("index", "key"))
        raise UsageError(f"the data has no {name}, which this method works on, only {have}: choose another --dataset")


@dataclass(frozen=True)
class Prepare:
    """Samples to the images, or clips, that ``spec`` describes."""

    spec: InputSpec

    def __call__(self, read: Read) -> Batch:
        if isinstance(read, UserError):
            return {"error": read}
        samples, unreadable = _sort_out(read)
        image = torch.empty(0, *self.spec.shape)
        if samples:
            pixels = resize_center_crop(
                [picture for sample in samples for picture in _pictures(sample)],
                self.spec.size[1:],
                self.spec.crop_pct,
                cast(Interpolation, self.spec.interpolation),
            )
            image = normalize(to_float(pixels), self.spec.mean, self.spec.std)
            if self.spec.frames:
                image = image.unflatten(0, (-1, self.spec.frames)).transpose(1, 2)
        index = torch.tensor([sample["index"] for sample in samples], dtype=torch.int64)
        batch: Batch = {"image": image, "index": index}
        return {**batch, "unreadable": unreadable} if unreadable else batch


def start_worker(worker: int) -> None:
    """Ctrl-C reaches the whole process group; the step that is under way still needs its batches.

    A worker hands each tensor over from a second thread, which Python lets wait for 5 ms for the one that crops.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(2e-4)


def _pictures(sample: Sample) -> Sequence[AnyImage]:
    """The image; or all frames of a clip (V, T, C, H, W), one after the other."""
    return sample["clip"].flatten(0, 1).unbind() if "clip" in sample and "image" not in sample else [sample["image"]]


def _sort_out(read: list[Sample | Unreadable]) -> tuple[list[Sample], list[str]]:
    samples = [sample for sample in read if not isinstance(sample, Unreadable)]
    return samples, [str(sample) for sample in read if isinstance(sample, Unreadable)]
