"""Classes of sounds, by a linear classifier on the frozen features of an encoder of sounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.data.clips import LazyClip
from sslzoo.data.source import Source, Unreadable
from sslzoo.data.tally import UnreadableTally
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.holdout import holdout
from sslzoo.evaluations.labelled import accuracy, balanced_accuracy, recalls, shared_classes
from sslzoo.evaluations.linear import choose
from sslzoo.features.frozen import frozen
from sslzoo.method import Sample
from sslzoo.views.clips import padded
from sslzoo.views.spectrograms import SOUND_RATE, length_heard, spectrogram

RULE = "highest balanced accuracy on a validation part of the training split, stratified and never the test split"
BATCH = 16
"""Sounds whose windows go through the encoder together."""


@dataclass(frozen=True)
class AudioConfig:
    windows: int = 10
    """Of each sound, evenly spaced, whose features are averaged."""
    validation: float = 0.2
    """Share of the training split to choose on; the chosen setting is then used with all of it."""
    strengths: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
    """Of the linear classifier: values of C (scikit-learn's: a larger one penalises less) to choose from."""


@final
class Audio(Evaluation):
    """How well sounds are told apart by a linear function of the features of an encoder of sounds.

    Such an encoder lies in the ``sound_encoder/`` of the run, or repository, of a method that sees and hears; any other
    of one channel will do, and is shown log-mel spectrograms as images of its size. What it makes of a sound is the
    mean over ``windows`` as long as it takes them, from all over it. Where Arandjelovic & Zisserman, ICCV 2017, fit a
    support vector machine, here it is the logistic regression of ``linear``, with C chosen on a part of ``train``.
    """

    info = EvaluationInfo(
        name="audio",
        version=1,
        metric="accuracy",
        modalities=("audio",),
        summary="Classes of sounds, by a linear classifier on the features of the encoder of sounds.",
        needs="sound_encoder",
    )
    Config = AudioConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Fit on ``train``, choose on parts of it, score once on ``test``.

        Raises:
            UsageError: if the encoder takes no sounds, a setting or the splits' labels do not suit, or there is no
                sound.
            UserError: if features are not finite, or sounds cannot be read.
        """
        self._check(spec_of(encoder).input)
        names = shared_classes(train, test)
        (rows, index), (scored, test_index) = (hear(encoder, source, self.config.windows) for source in (train, test))
        labels = train.labels()[index]
        held = holdout(labels, index, self.config.validation)
        if not held.any():
            raise UsageError(f"no class of {train.name} has two sounds, so none can be held out to choose C on")
        device, strengths = next(encoder.parameters()).device, sorted(set(self.config.strengths))
        chosen = choose("final", rows.to(device), labels.to(device), held.to(device), strengths)
        predicted, truth = chosen.classifier(scored.to(device)).cpu(), test.labels()[test_index]
        return Result(
            metrics={
                "accuracy": accuracy(predicted, truth),
                "balanced_accuracy": balanced_accuracy(predicted, truth),
            },
            selected={"C": chosen.strength, "rule": RULE},
            details={
                "windows": self.config.windows,
                "validation": chosen.validation,
                "recall": {names[label]: recall for label, recall in recalls(predicted, truth).items()},
                "readable": {"train": len(labels), "test": len(truth)},
            },
        )

    def _check(self, spec: InputSpec) -> None:
        config = self.config
        if spec.size[0] != 1 or spec.frames:
            raise UsageError(
                "audio needs an encoder of sounds, which takes images of one channel: name the run of a method that "
                "sees and hears, such as audio_visual_correspondence"
            )
        if config.windows < 1:
            raise UsageError(f"windows must be at least 1, not {config.windows}")
        if not 0 < config.validation < 1:
            raise UsageError(f"the validation share must be between 0 and 1, not {config.validation:g}")
        if not config.strengths or min(config.strengths) <= 0:
            raise UsageError(f"strengths must be numbers above 0, not {config.strengths}")


def hear(encoder: nn.Module, source: Source, windows: int) -> tuple[Tensor, Tensor]:
    """The mean features (N, D) of the windows of each readable sound, on the CPU, and its positions (N,).

    Raises:
        UsageError: if the data has no sound.
        UserError: if features are not finite, or more than 1 % cannot be read.
    """
    spec, rows, index = spec_of(encoder).input, [], []
    with frozen(encoder, None) as device:
        for batch, places in _batches(source, windows, length_heard(spec)):
            heard = encoder(spectrogram(batch.flatten(0, 1).to(device), spec))
            rows.append(heard.float().unflatten(0, (-1, windows)).mean(1).cpu())
            index += places
    features = torch.cat(rows)
    if not features.isfinite().all():
        raise UserError(f"the encoder's features of {source.name} are not finite, so it has diverged; train it anew")
    return features, torch.tensor(index)


def _batches(source: Source, windows: int, length: int) -> Iterator[tuple[Tensor, list[int]]]:
    """Windows (B, V, N) of sounds, with the positions of these."""
    tally = UnreadableTally(source.name, len(source))
    sounds: list[Tensor] = []
    places: list[int] = []
    for place in range(len(source)):
        try:
            sounds.append(windows_of(source.read(place), windows, length, source.name))
            places.append(place)
        except Unreadable as error:
            tally.add([str(error)], 1)
        if sounds and (len(sounds) == BATCH or place == len(source) - 1):
            yield torch.stack(sounds), places
            sounds, places = [], []


def windows_of(sample: Sample, count: int, length: int, name: str) -> Tensor:
    """(count, length): parts of a sample's sound from all over it, in the middles of equal parts; of one too short the
    whole, with silence after it.

    Raises:
        UsageError: if it has none.
        Unreadable: if it is a video that has none, or cannot be decoded.
    """
    if "sound" in sample:
        sound = sample["sound"]
        return torch.stack([padded(sound[first:], length) for first in _starts(len(sound), count, length)])
    clip = sample.get("clip")
    if not isinstance(clip, LazyClip):
        raise UsageError(f"{name} has no sound; audio needs a data set of sounds, or of videos with sound")
    rate = clip.fps / SOUND_RATE  # frames to one number of the sound; 0 of a clip without rate and sound
    starts = _starts(round(clip.num_frames / rate) if rate else 0, count, length)
    return torch.stack([clip.heard(first * rate, (first + length) * rate) for first in starts])


def _starts(whole: int, count: int, length: int) -> list[int]:
    free = max(0, whole - length)
    return [(2 * part + 1) * free // (2 * count) for part in range(count)]
