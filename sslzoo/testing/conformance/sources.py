"""Is a data set the same wherever it is read, and does it keep its labels to itself?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sslzoo.config import UserError
from sslzoo.data.columns import LABEL_NAMES
from sslzoo.data.source import Source
from sslzoo.data.splits import TESTING
from sslzoo.method import Sample
from sslzoo.testing.conformance.annotations import misfit
from sslzoo.testing.conformance.children import Job
from sslzoo.testing.conformance.conduct import observed
from sslzoo.testing.conformance.subject import Named
from sslzoo.testing.conformance.views import Verdict, unpicklable

LOOKED_AT = 64
"""Samples of each split that are read and compared."""
CLIPS_LOOKED_AT = 4
"""The same of data that are clips only: one of them is as much as many images."""
CONDUCT = ("quiet", "no-global-state")
_SHAPES = {"clip": (4, torch.uint8), "audio": (3, torch.float32)}
"""Dimensions and type of what is not an image: (T, C, H, W) and (1, bands, time)."""


@dataclass(frozen=True)
class DatasetSubject(Named):
    """A data set under examination."""

    def sources(self) -> dict[str, Source]:
        """Its splits by name."""
        dataset = self.plugin()()
        return {split: dataset.open(split) for split in dataset.info.splits}

    def beginnings(self) -> dict[str, Source]:
        """Of its splits, as slices: where samples are made when a source is first read, no others are."""
        dataset = self.plugin()()
        few = CLIPS_LOOKED_AT if dataset.info.modalities == ("clip",) else LOOKED_AT
        return {split: dataset.open(f"{split}[:{min(few, len(source))}]") for split, source in self.sources().items()}


def check_sources(subject: DatasetSubject, folder: Path) -> Iterator[Verdict]:
    """Promises of a data set; nothing is written to ``folder``."""
    yield "splits", _splits(subject)
    sources = subject.sources()
    samples = _first(subject)
    yield "samples", _other_than_declared(subject.plugin().info.modalities, samples)
    yield "labels-apart", _labels_in(samples)
    yield "labels", _labels(sources)
    yield "annotations", _misfits(sources) if "image" in subject.plugin().info.modalities else ""
    yield "repeatable", _other_elsewhere(subject, samples)
    yield "fingerprint", _fingerprints(sources)
    yield "picklable", next(filter(None, starmap(unpicklable, sources.items())), "")
    yield "disjoint", _shared(samples)


def check_source_conduct(subject: DatasetSubject, folder: Path) -> Iterator[Verdict]:
    """Import a data set and read from it, under observation. It may download, and keep what it downloads."""

    def read(run: Path) -> None:
        _first(subject)

    yield from observed(subject.package, folder, read, CONDUCT)


def digests(subject: DatasetSubject) -> dict[str, list[str]]:
    """What this process reads of each split: its fingerprint, and the first samples."""
    samples, sources = _first(subject), subject.sources()
    return {split: [source.fingerprint, *map(_digest, samples[split])] for split, source in sources.items()}


def _first(subject: DatasetSubject) -> dict[str, list[Sample]]:
    """By split."""
    return {
        split: [source.read(index) for index in range(len(source))] for split, source in subject.beginnings().items()
    }


def _splits(subject: DatasetSubject) -> str:
    for split, source in subject.sources().items():
        if not len(source):
            return f"the split {split} is empty"
        first = subject.plugin()().open(f"{split}[:1]")
        if len(first) != 1:
            return f"{split}[:1] has {len(first)} samples"
    try:
        subject.plugin()().open("no_such_split")
    except UserError:
        return ""
    return "a split that does not exist is opened instead of refused with a UsageError"


def _other_than_declared(modalities: tuple[str, ...], samples: dict[str, list[Sample]]) -> str:
    for split, some in samples.items():
        for index, sample in enumerate(some):
            for modality in modalities:
                if modality not in sample:
                    return f"sample {index} of {split} has no {modality}, which info.modalities promises"
                if not _fits(modality, sample[modality]):
                    return f"the {modality} of sample {index} of {split} is {_kind(sample[modality])}"
    return ""


def _fits(modality: str, value: Any) -> bool:
    if modality == "image":
        pixels = isinstance(value, Tensor) and value.ndim == 3 and value.dtype == torch.uint8
        return isinstance(value, Image.Image) or pixels
    dimensions, dtype = _SHAPES[modality]
    return isinstance(value, Tensor) and value.ndim == dimensions and value.dtype == dtype


def _kind(value: Any) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _labels_in(samples: dict[str, list[Sample]]) -> str:
    found = {name for some in samples.values() for sample in some for name in sample if name in LABEL_NAMES}
    return f"samples hold the field {sorted(found)[0]!r}" if found else ""


def _labels(sources: dict[str, Source]) -> str:
    names: dict[str, tuple[str, ...]] = {}
    for split, source in sources.items():
        try:
            labels = source.labels()
        except UserError:  # a split for pretraining may have none
            continue
        names[split] = source.class_names
        several = labels.ndim == 2
        shape = (len(source), len(source.class_names)) if several else (len(source),)
        if labels.dtype != torch.int64 or labels.shape != shape:
            return f"the labels of {split} are {_kind(labels)}, not int64 of shape {shape}"
        if several and not set(labels.unique().tolist()) <= {-1, 0, 1}:
            return f"the labels of {split}, several per sample, are others than 1, 0 and -1"
        if (
            not several
            and source.class_names
            and not 0 <= int(labels.min()) <= int(labels.max()) < len(source.class_names)
        ):
            return f"the labels of {split} run to {int(labels.max())}, with {len(source.class_names)} class names"
    return "splits name their classes differently" if len(set(names.values())) > 1 else ""


def _misfits(sources: dict[str, Source]) -> str:
    return next(filter(None, (misfit(split, source, LOOKED_AT) for split, source in sources.items())), "")


def _other_elsewhere(subject: DatasetSubject, samples: dict[str, list[Sample]]) -> str:
    """Read again here, and in another process."""
    here = digests(subject)
    for split, some in samples.items():
        for index, sample in enumerate(some):
            if _digest(sample) != here[split][1 + index]:
                return f"sample {index} of {split} is another when it is read again"
    there = Job(digests, subject).result()
    for split, found in here.items():
        if found != there[split]:
            what = "the fingerprint" if found[0] != there[split][0] else "a sample"
            return f"{what} of {split} is another in another process"
    return ""


def _fingerprints(sources: dict[str, Source]) -> str:
    found: dict[str, str] = {}
    for split, source in sources.items():
        if source.fingerprint in found:
            return f"{split} and {found[source.fingerprint]} have one fingerprint"
        found[source.fingerprint] = split
    return ""


def _shared(samples: dict[str, list[Sample]]) -> str:
    """A sample of a split for testing that is in another split too."""
    places = {split: {_digest(sample): index for index, sample in enumerate(some)} for split, some in samples.items()}
    for split in filter(TESTING.__contains__, places):
        for other in places.keys() - {split}:
            if both := places[split].keys() & places[other].keys():
                return f"sample {places[split][both.pop()]} of {split} is in {other} too"
    return ""


def _digest(sample: Sample) -> str:
    """A digest of a sample's content, field by field."""
    digest = hashlib.sha256()
    for name in sorted(sample):
        digest.update(name.encode() + np.asarray(sample[name]).tobytes())
    return digest.hexdigest()
