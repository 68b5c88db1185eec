"""What is measured of an encoder in training, without touching the run: no gradient, no state, no random number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from sslzoo.config import PretrainConfig, UsageError
from sslzoo.data.loader import Prepare
from sslzoo.data.samples import InOrder
from sslzoo.data.source import Source
from sslzoo.data.stream import Stream
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.evaluations.holdout import holdout
from sslzoo.evaluations.knn import KNNConfig, vote
from sslzoo.evaluations.labelled import balanced_accuracy, check_labels
from sslzoo.features import extract
from sslzoo.features.frozen import frozen
from sslzoo.features.geometry import effective_rank, rankme, spectra, uniformity
from sslzoo.nn.spread import spread

SAMPLES, FEWEST = 256, 64
"""Images whose features are examined, and at least: of fewer no rank could be told from a collapsed one."""
_READ, _PART = 16, 64  # images decoded at a time, and images that go through the encoder at a time
_MEASURED = ("effective_rank", "rankme", "feature_std", "uniformity")
EVERY = 10
"""Logged steps from one examination to the next: it costs about as much as a step of 64 images (0.4 to 1 step)."""
VOTED_ON = 0.2
"""Share of the labelled data that the rest votes on."""


class Spread:
    """How different the encoder's features of a training batch are: 0 when all are equal, about 1 on the sphere.

    Read from the encoder's own forward pass, so it costs nothing.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.feature: Tensor | None = None
        encoder.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if module.training and isinstance(output, Tensor) and output.ndim == 2 and len(output) > 1:
            self.feature = output.detach()

    def __call__(self) -> dict[str, Tensor]:
        """``feature_std`` of the last batch, a scalar; nothing where a method never calls ``encoder(x)``."""
        return {} if self.feature is None else {"feature_std": spread(self.feature)}


class Monitor:
    """All that is measured of one run: each batch's spread, and if asked for, an examination and k-NN scores."""

    def __init__(
        self,
        encoder: nn.Module,
        config: PretrainConfig,
        source: Source | Stream,
        labelled: Source | None,
        accelerator: Accelerator,
        workers: int,
    ) -> None:
        """``encoder`` is the one in training; ``source`` is examined, ``labelled`` scored, by ``workers``.

        Raises:
            UsageError: if the data does not suit.
        """
        self.spread, self.steps = Spread(encoder), EVERY * config.log_every
        self.examination = Examination(source, spec_of(encoder).input, accelerator) if config.monitor_features else None
        self.knn = None if labelled is None else OnlineKNN(labelled, accelerator, workers)

    def look(self, encoder: nn.Module, step: int, ended: bool) -> dict[str, Any]:
        """What is to be logged at ``step`` of ``encoder``, as it would be published now.

        An examination at every tenth logged step and at the end of an epoch, then also the score.
        """
        found: dict[str, Any] = {}
        if self.examination is not None and (ended or step % self.steps == 0):
            found = {"monitor": measured} if (measured := self.examination(encoder)) else {}
        if self.knn is not None and ended:
            found |= self.knn(encoder)
        return found


class Examination:
    """The geometry of an encoder's features of a few images, the same ones each time, as evaluation crops.

    Only the main process looks, and tells the others: of batch statistics its count.
    """

    def __init__(self, source: Source | Stream, spec: InputSpec, accelerator: Accelerator) -> None:
        """
        Raises:
            UsageError: if ``source`` is a stream, or does not have ``FEWEST`` images.
        """
        if isinstance(source, Stream):
            raise UsageError(
                f"--monitor-features looks at the same images again, and {source.name} is a stream: see --validation"
            )
        self.accelerator = accelerator
        self.images = _images(source, spec).to(accelerator.device) if accelerator.is_main_process else None

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        """``effective_rank``, ``rankme``, ``feature_std`` and ``uniformity``; nothing if features are not finite."""
        found = torch.zeros(len(_MEASURED), device=self.accelerator.device)
        if self.images is not None:
            with frozen(encoder, None):
                features = torch.cat([encoder(part).float() for part in self.images.split(_PART)])
            found = found.new_tensor(_measure(features))
        values = self.accelerator.reduce(found, "sum")
        return dict(zip(_MEASURED, values.tolist(), strict=True)) if values.isfinite().all() else {}


class OnlineKNN:
    """The k-NN score of an encoder in training: the labelled data's larger part votes on the rest, as ``knn`` does."""

    def __init__(self, source: Source, accelerator: Accelerator, workers: int) -> None:
        """
        Raises:
            UsageError: if ``source`` has no labels, hides some, or not two classes of which a sample can be held out.
        """
        self.source, self.accelerator, self.workers = source, accelerator, workers
        labels = source.labels()
        check_labels(source, source.class_names or tuple(map(str, range(1 + int(labels.max())))))
        if len(labels.unique()) < 2 or len(labels.unique()) == len(labels):
            raise UsageError(f"{source.name} needs two classes and two samples of one for --monitor-knn; name another")

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        """``knn``, the balanced accuracy in [0, 1]; nothing if features are not finite. Each process does its share."""
        with _first_statistics(encoder, self.accelerator):
            found = extract(encoder, self.source, workers=self.workers, accelerator=self.accelerator)
        if not found.final.isfinite().all():
            return {}
        labels = self.source.labels()[found.index]
        held, usual = holdout(labels, found.index, VOTED_ON), KNNConfig()
        k = min(usual.k, int((~held).sum()))
        predicted = vote(found.final[~held], labels[~held], found.final[held], k, usual.temperature)
        return {"knn": balanced_accuracy(predicted, labels[held])}


def _images(source: Source, spec: InputSpec) -> Tensor:
    """(N, C, H, W): at most ``SAMPLES`` that can be read, from all over the data set."""
    count = min(SAMPLES, len(source))
    places = [len(source) * place // count for place in range(count)]
    samples, prepare = InOrder(source, spec), Prepare(spec)
    parts = [torch.empty(0, *spec.shape)]
    for start in range(0, count, _READ):
        batch = prepare(samples.__getitems__(places[start : start + _READ]))
        if "error" in batch:
            raise batch["error"]
        parts.append(batch["image"])
    images = torch.cat(parts)
    if len(images) < FEWEST:
        raise UsageError(
            f"--monitor-features needs {FEWEST} images, and {source.name} has {len(images)}: name more, or leave it out"
        )
    return images


def _measure(features: Tensor) -> list[float]:
    """In the order of ``_MEASURED``."""
    if not features.isfinite().all():
        return [math.nan] * len(_MEASURED)
    found = spectra(features)
    return [effective_rank(found.covariance), rankme(found.gram), float(spread(features)), uniformity(features)]


@contextmanager
def _first_statistics(encoder: nn.Module, accelerator: Accelerator) -> Iterator[None]:
    """For the time, the first process's batch statistics on all of them; then each has its own again."""
    buffers = list(encoder.buffers()) if accelerator.num_processes > 1 else []
    own = [buffer.clone() for buffer in buffers]
    broadcast(buffers)
    try:
        yield
    finally:
        for buffer, value in zip(buffers, own, strict=True):
            buffer.copy_(value)
