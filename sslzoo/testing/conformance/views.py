"""The data side: are views functions of content and key?"""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslzoo.config import UserError
from sslzoo.data.columns import LABEL_NAMES
from sslzoo.data.loader import train_loader
from sslzoo.data.order import KeyedOrder
from sslzoo.method import Batch, Sample, Views
from sslzoo.testing.conformance.subject import BATCH, Subject

Verdict = tuple[str, str]
"""A promise's name, and how it is broken: empty if it is kept."""

TOLERANCE = 1e-4
"""Of batched arithmetic, which may add in another order when there are more samples."""


def check_views(subject: Subject, folder: Path) -> Iterator[Verdict]:
    """Promises of the data side; nothing is written to ``folder``."""
    views = subject.views()
    yield "picklable-views", unpicklable("the views", views)
    samples = subject.samples()
    unlabelled = _needs_label(views, samples)
    if unlabelled:
        yield "blind-to-labels", unlabelled
        return
    yield "keyed-views", _moved_by_globals(views, samples) or _moved_by_workers(subject)
    yield "separate-samples", _moved_by_others(views, samples) or _moved_by_index(views, samples)
    yield "blind-to-labels", _moved_by_labels(views, samples)


def difference(one: Any, other: Any, *, where: str = "batch", tolerance: float = 0.0) -> str:
    """Where two batches first differ; empty if they are equal."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return "" if _close(one, other, tolerance) else where
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(f"{where}[{name!r}]", one[name], other[name]) for name in one]
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = [(f"{where}[{i}]", a, b) for i, (a, b) in enumerate(zip(one, other, strict=True))]
    else:
        return "" if type(one) is type(other) and bool(one == other) else where
    return next(filter(None, (difference(a, b, where=part, tolerance=tolerance) for part, a, b in pairs)), "")


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if tolerance and one.is_floating_point():
        return torch.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
    return torch.equal(one, other)


def _made(views: Views, samples: list[Sample]) -> Batch:
    """A batch of copies of these samples."""
    return views([dict(sample) for sample in samples])


def unpicklable(name: str, value: Any) -> str:
    """Why ``value`` cannot be sent to a process that loads data, as Python does by pickle; nothing is kept or read."""
    try:
        pickle.loads(pickle.dumps(value))
    except Exception as error:  # pickle raises whatever an object's own methods do
        return f"pickling {name} raises {type(error).__name__}: {' '.join(str(error).split())}"
    return ""


def _needs_label(views: Views, samples: list[Sample]) -> str:
    """A view that cannot do without the label."""
    try:
        _made(views, samples)
    except KeyError as error:
        if error.args and error.args[0] in LABEL_NAMES:
            return f"the views ask each sample for its {error.args[0]!r}, and no sample has one"
        raise
    return ""


def _moved_by_globals(views: Views, samples: list[Sample]) -> str:
    """Twice the same keys, with other states of the global generators."""
    made, moved = [], []
    for seed in (1, 2):
        before = _seed_all(seed)
        made.append(_made(views, samples))
        moved = [name for name, state in _states().items() if state != before[name]]
    where = difference(*made)
    if moved:
        return f"the views draw from the global generator of {' and '.join(moved)}"
    return f"{where} differs between two calls with the same keys" if where else ""


def _seed_all(seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    return _states()


def _states() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),
        "random": random.getstate(),
    }


def _moved_by_workers(subject: Subject) -> str:
    """The batches of an epoch, loaded here and by two workers."""
    epochs = []
    for workers in (0, 2):
        order = KeyedOrder(len(subject.source()), BATCH, accumulate=1, rank=0, world=1, seed=0)
        loader = train_loader(
            subject.source(),
            subject.views(),
            channels=subject.spec.size[0],
            sampler=order,
            workers=workers,
            augment_in_workers=True,
        )
        epochs.append(list(loader))
    where = difference(*epochs, where="epoch")
    return f"{where} differs between loading here and with two workers" if where else ""


def _moved_by_others(views: Views, samples: list[Sample]) -> str:
    """Each sample alone, against its rows of the batch."""
    together = _made(views, samples)
    for place, sample in enumerate(samples[:3]):
        alone = _made(views, [sample])
        where = difference(alone, _rows(together, place, len(samples)), tolerance=TOLERANCE)
        if where:
            return f"{where} of a sample is another when the sample is alone in its batch"
    return ""


def _rows(batch: Any, place: int, size: int) -> Any:
    """What a batch holds of one sample."""
    if isinstance(batch, dict):
        return {name: _rows(value, place, size) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return [_rows(value, place, size) for value in batch]
    if isinstance(batch, Tensor) and batch.ndim and len(batch) == size:
        return batch[place : place + 1]
    raise UserError(f"a batch holds tensors with one row per sample, not {_kind(batch)}")


def _kind(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _moved_by_index(views: Views, samples: list[Sample]) -> str:
    """The same content and keys at other places of the data set."""
    elsewhere = [{**sample, "index": sample["index"] + 1} for sample in samples]
    made = [{**_made(views, some), "index": None} for some in (samples, elsewhere)]
    where = difference(*made)
    return f"{where} depends on the sample's index" if where else ""


def _moved_by_labels(views: Views, samples: list[Sample]) -> str:
    """The same samples with one label and with another, under every usual name."""

    def labelled(label: int) -> list[Sample]:
        return [{**dict.fromkeys(LABEL_NAMES, label), **sample} for sample in samples]

    where = difference(_made(views, labelled(0)), _made(views, labelled(1)))
    return f"{where} follows the human label" if where else ""
