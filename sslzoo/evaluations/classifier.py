"""An encoder with a linear classifier on top, trained as a whole."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.config import UserError
from sslzoo.data.loader import VIEWS, train_loader
from sslzoo.data.order import KeyedOrder
from sslzoo.data.source import Source
from sslzoo.data.tally import UnreadableTally
from sslzoo.encoders import InputSpec, feature_dim, spec_of
from sslzoo.evaluations.tuning import repeatable, workers_for
from sslzoo.features import extract
from sslzoo.machine import best_precision
from sslzoo.nn.channels_last import channels_last, weights_channels_last
from sslzoo.nn.schedules import rate_factor
from sslzoo.nn.small_maps import pad_small_maps
from sslzoo.optimizers import parameter_groups, set_rate
from sslzoo.views import Batch, Sample, Views, draw_for
from sslzoo.views.clips import ClipSampling
from sslzoo.views.color import normalize, to_float
from sslzoo.views.crop import Interpolation, random_resized_crop

WARMUP = 0.1
"""Share of the steps over which the rates rise: Adam's first moments are of a few steps only."""


class Diverged(UserError):
    """A loss that was finite at first no longer is."""


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained."""

    lr: float
    """AdamW's peak rate for the encoder."""
    head_lr: float
    """The classifier's."""
    epochs: int
    batch_size: int
    """At most; fewer samples are one batch."""


@dataclass(frozen=True)
class Look:
    """How samples meet the encoder."""

    views: Views
    """In training: they give ``image``, as the encoder takes it."""
    windows: int = VIEWS
    """In evaluation, of a clip: the logits of so many are averaged."""
    sampling: ClipSampling | None = None
    """What a window is, if not the next frames in a row."""


class Classifier(nn.Module):
    """Images (B, C, H, W), or clips, to logits (B, K). The linear layer starts at zero, so no random number decides
    it."""

    def __init__(self, encoder: nn.Module, classes: int, look: Look | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.look = look or Look(RandomCrops(spec_of(encoder).input))
        self.head = nn.Linear(feature_dim(encoder), classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images))

    def predict(self, source: Source) -> tuple[Tensor, Tensor]:
        """(N,) classes of the readable samples of ``source``, and (N,) their positions in it; in fp32, in ``eval()``.

        Raises:
            Diverged: if features are not finite.
        """
        logits, index = self.logits(source)
        return logits.argmax(dim=1), index

    def logits(self, source: Source) -> tuple[Tensor, Tensor]:
        """(N, K) in place of their classes, as ``predict``."""
        device, look = self.head.weight.device, self.look
        workers = workers_for(device)
        features = extract(self.encoder, source, workers=workers, views=look.windows, sampling=look.sampling)
        if not features.final.isfinite().all():
            raise Diverged(f"the fine-tuned encoder's features of {source.name} are not finite; choose lower --lrs")
        with torch.no_grad():
            return self.head(features.final.to(device)).cpu(), features.index


class Part(Source):
    """Some samples of a source, by their positions in it."""

    def __init__(self, whole: Source, index: Tensor) -> None:
        self.whole, self.index = whole, index.tolist()
        self.name, self.class_names = whole.name, whole.class_names

    def __len__(self) -> int:
        return len(self.index)

    def read(self, index: int) -> Sample:
        return self.whole.read(self.index[index])

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.whole.fingerprint} {self.index}".encode()).hexdigest()


@dataclass(frozen=True)
class RandomCrops(Views):
    """A random box of each image, mirrored half of the time: ``image`` (B, C, H, W), normalised as the encoder is."""

    spec: InputSpec

    def crop(self, samples: list[Sample]) -> Batch:
        images, size = [sample["image"] for sample in samples], self.spec.size[1:]
        interpolation = cast(Interpolation, self.spec.interpolation)
        return {"image": random_resized_crop(images, size, draw_for(samples), interpolation=interpolation)}

    def augment(self, batch: Batch) -> Batch:
        return {**batch, "image": normalize(to_float(batch["image"]), self.spec.mean, self.spec.std)}


def fit(
    encoder: nn.Module, source: Source, targets: Tensor, classes: int, recipe: Recipe, look: Look | None = None
) -> Classifier:
    """A classifier on a copy of ``encoder``, trained on ``source``, whose samples have the classes ``targets`` (N,).

    Without a ``look`` it is trained on random crops of images.

    Raises:
        Diverged: if the loss stops being finite.
        UserError: if it never was, or more than 1 % of the samples cannot be read.
    """
    device = next(encoder.parameters()).device
    with repeatable(device):
        model = Classifier(copy.deepcopy(encoder), classes, look).to(device)
        weights_channels_last(model)
        pad_small_maps(model)
        batches = _Batches(source, spec_of(encoder).input, recipe.batch_size, device, model.look.views)
        _train(model.requires_grad_(True).train(), batches, targets.to(device), recipe)
    return model


def _train(model: Classifier, batches: _Batches, targets: Tensor, recipe: Recipe) -> None:
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.0, {"head.": recipe.head_lr / recipe.lr}), lr=recipe.lr)
    total, step, device = recipe.epochs * batches.order.steps_per_epoch, 0, targets.device
    half = best_precision(device) == "bf16"
    for epoch in range(recipe.epochs):
        for batch in batches.of(epoch):
            set_rate(optimizer, recipe.lr * rate_factor(step, total, warmup_steps=WARMUP * total))
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                logits = model(batch["image"])
            loss = F.cross_entropy(logits.float(), targets[batch["index"].to(device)])
            if not step and not loss.isfinite():
                raise UserError(f"the encoder's features of {batches.name} are not finite, so it has diverged")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        if not loss.isfinite():
            raise Diverged(f"fine-tuning with --lrs {recipe.lr:g} diverged in epoch {epoch + 1}; choose lower ones")


class _Batches:
    """Augmented batches on a device."""

    def __init__(self, source: Source, spec: InputSpec, batch_size: int, device: torch.device, views: Views) -> None:
        self.order = KeyedOrder(len(source), min(batch_size, len(source)))
        self.name = source.name
        self._views, self._device = views, device
        self._tally = UnreadableTally(source.name, len(source))
        self._loader = train_loader(
            source,
            self._views,
            channels=spec.size[0],
            sampler=self.order,
            workers=workers_for(device),
            augment_in_workers=device.type == "cpu",
        )

    def of(self, epoch: int) -> Iterator[Batch]:
        """Those of an epoch."""
        self.order.set_epoch(epoch)
        for batch in self._loader:
            self._tally.add(batch.get("unreadable", ()), seen=len(batch["index"]))
            image = channels_last(batch["image"].to(self._device, non_blocking=True))
            batch = {**batch, "image": image}
            yield batch if self._device.type == "cpu" else self._views.augment(batch)
