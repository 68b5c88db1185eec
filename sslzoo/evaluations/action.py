"""Action recognition: the classes of clips, from frozen features or by the whole encoder trained on, as on UCF101
(Soomro, Zamir & Shah, 2012) and HMDB51 (Kuehne et al., ICCV 2011)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from sslzoo.config import UsageError
from sslzoo.data.samples import eval_sampling
from sslzoo.data.source import Source
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.classifier import Look, Recipe, fit
from sslzoo.evaluations.finetune import choose_recipe
from sslzoo.evaluations.holdout import holdout
from sslzoo.evaluations.labelled import (
    accuracy,
    balanced_accuracy,
    finite_features,
    recalls,
    shared_classes,
    top_accuracy,
)
from sslzoo.evaluations.linear import choose
from sslzoo.views import Batch, Sample, Views, draw_for
from sslzoo.views.clips import ClipSampling, clip_random_resized_crop
from sslzoo.views.color import normalize, to_float
from sslzoo.views.crop import Interpolation

WINDOWS, FRAMES = 10, 25
"""Of each clip: windows for an encoder of clips (Tran et al., CVPR 2018), frames for one of images (Simonyan &
Zisserman, "Two-Stream Convolutional Networks", NIPS 2014)."""
TOP = 5
RULE = "highest balanced accuracy on a validation part of the training split, stratified and never the test split"


@dataclass(frozen=True)
class ActionConfig:
    finetune: bool = False
    """Train the whole encoder on, on a copy of it, in place of a linear classifier on its features."""
    windows: int = 0
    """Of a clip, evenly spaced, whose scores are averaged; 0 takes 10, or 25 frames for an encoder of images."""
    stride: int = 1
    """Frames from one of a window to the next."""
    rate: float = 0.0
    """Frames per second that clips are brought to first; 0 takes their own."""
    validation: float = 0.2
    """Share of the training split to choose on; the chosen setting is then used with all of it."""
    strengths: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
    """Of the linear classifier: values of C (scikit-learn's: a larger one penalises less) to choose from."""
    lrs: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    """Fine-tuning: learning rates of the encoder to choose from."""
    head_lr: float = 1e-2
    """Fine-tuning: that of the classifier."""
    epochs: int = 20
    """Fine-tuning: passes over the clips."""
    batch_size: int = 16
    """Fine-tuning: clips of a step."""


@final
class Action(Evaluation):
    """How well actions are told apart in clips, by an encoder of clips or by one of images over their frames.

    A clip's score is the mean over ``windows`` of it, evenly spaced, or over so many frames: 10 and 25 as in the
    papers, but each seen by its centre crop alone. The mean is of logits, where papers also have that of their softmax:
    it is what a linear classifier makes of the mean features, so on these it is fitted.

    - By default the encoder stays as it is, and the classifier is the logistic regression of ``linear`` on its final
      features, with C chosen on a part of ``train``.
    - With ``finetune`` a copy is trained on random windows (single frames for an encoder of images, as in Simonyan &
      Zisserman), cropped at random and mirrored, by AdamW as in ``finetune``; its rate is chosen on part of ``train``.

    ``accuracy`` is of the likeliest class, ``top_5_accuracy`` (where there are more classes than that) of the five
    likeliest, and in ``balanced_accuracy`` all classes count the same. UCF101 and HMDB51 have three official splits,
    whose scores papers average: this is the score of one.
    """

    info = EvaluationInfo(
        name="action",
        version=1,
        metric="accuracy",
        modalities=("clip",),
        summary="Actions in clips, by a linear classifier on frozen features or by fine-tuning.",
        variants=("finetune",),
    )
    Config = ActionConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Fit on ``train``, choose on parts of it, score once on ``test``.

        Raises:
            UsageError: if a setting or the splits' labels do not suit, or there are no clips.
            UserError: if features or losses are not finite, or clips cannot be read.
        """
        self._check()
        names = shared_classes(train, test)
        spec = spec_of(encoder).input
        sampling = eval_sampling(spec, self.config.stride, self.config.rate)
        windows = self.config.windows or (WINDOWS if spec.frames else FRAMES)
        look = Look(ClipCrops(spec, sampling), windows, sampling)
        solve = self._finetuned if self.config.finetune else self._linear
        logits, index, selected, details = solve(encoder, Clips(train), Clips(test), len(names), look)
        labels = test.labels()[index]
        predicted = logits.argmax(dim=1)
        metrics = {"accuracy": accuracy(predicted, labels), "balanced_accuracy": balanced_accuracy(predicted, labels)}
        if len(names) > TOP:
            metrics[f"top_{TOP}_accuracy"] = top_accuracy(logits, labels, TOP)
        return Result(
            metrics=metrics,
            selected=selected,
            details={
                "windows": windows,
                "recall": {names[label]: recall for label, recall in recalls(predicted, labels).items()},
                "readable": {"test": len(labels)},
                **details,
            },
        )

    def _linear(self, encoder: nn.Module, train: Source, test: Source, classes: int, look: Look) -> _Solved:
        """A linear classifier on frozen features."""
        fitted, scored = (
            finite_features(encoder, source, views=look.windows, sampling=look.sampling) for source in (train, test)
        )
        labels = train.labels()[fitted.index]
        held = holdout(labels, fitted.index, self.config.validation)
        if not held.any():
            raise UsageError(f"no class of {train.name} has two clips, so none can be held out to choose C on")
        device = next(encoder.parameters()).device
        rows, strengths = fitted.final.to(device), sorted(set(self.config.strengths))
        chosen = choose("final", rows, labels.to(device), held.to(device), strengths)
        found = chosen.classifier.logits(scored.final.to(device))
        logits = found.new_full((len(found), classes), -torch.inf)  # of a class that no clip of train has
        logits[:, chosen.classifier.present] = found
        selected = {"C": chosen.strength, "rule": RULE}
        return logits.cpu(), scored.index, selected, {"validation": {f"{chosen.strength:g}": chosen.validation}}

    def _finetuned(self, encoder: nn.Module, train: Source, test: Source, classes: int, look: Look) -> _Solved:
        """A copy of the encoder with a classifier on top, trained as a whole."""
        config, labels = self.config, train.labels()
        recipes = [Recipe(lr, config.head_lr, config.epochs, config.batch_size) for lr in sorted(set(config.lrs))]
        recipe, validation, rule = choose_recipe(
            encoder, train, torch.arange(len(labels)), recipes, config.validation, look
        )
        logits, index = fit(encoder, train, labels, classes, recipe, look).logits(test)
        return logits, index, {"lr": recipe.lr, "rule": rule}, {"validation": validation, "recipe": asdict(recipe)}

    def _check(self) -> None:
        config = self.config
        if config.windows < 0:
            raise UsageError(f"windows must not be below 0, not {config.windows}")
        if not 0 < config.validation < 1:
            raise UsageError(f"the validation share must be between 0 and 1, not {config.validation:g}")
        for name in ("strengths", "lrs"):
            if not getattr(config, name) or min(getattr(config, name)) <= 0:
                raise UsageError(f"{name} must be numbers above 0, not {getattr(config, name)}")
        if config.head_lr <= 0 or config.epochs < 1 or config.batch_size < 2:
            raise UsageError(
                f"fine-tuning needs head_lr > 0, epochs >= 1 and a batch size >= 2, not {config.head_lr:g}, "
                f"{config.epochs} and {config.batch_size}"
            )


_Solved = tuple[Tensor, Tensor, dict[str, Any], dict[str, Any]]
"""Logits (N, K) of the readable test clips, their positions (N,), what was chosen, and details."""


class Clips(Source):
    """The clips of a source, without the pictures that may come with them."""

    def __init__(self, whole: Source) -> None:
        self.whole, self.name, self.class_names = whole, whole.name, whole.class_names

    def __len__(self) -> int:
        return len(self.whole)

    def read(self, index: int) -> Sample:
        sample = self.whole.read(index)
        if "clip" not in sample:
            raise UsageError(f"{self.name} has no clips; action needs a data set of videos")
        return {"clip": sample["clip"]} | {name: sample[name] for name in ("fps",) if name in sample}

    @property
    def fingerprint(self) -> str:
        return f"{self.whole.fingerprint} clips"

    def labels(self) -> Tensor:
        return self.whole.labels()


@dataclass(frozen=True)
class ClipCrops(Views):
    """A random box of a window, the same in all its frames, mirrored half of the time: ``image`` (B, C, T, H, W),
    normalised as the encoder is; (B, C, H, W) of a single frame for one of images."""

    spec: InputSpec
    sampling: ClipSampling

    def crop(self, samples: list[Sample]) -> Batch:
        clips, size = [sample["clip"] for sample in samples], self.spec.size[1:]
        interpolation = cast(Interpolation, self.spec.interpolation)
        return {"image": clip_random_resized_crop(clips, size, draw_for(samples), interpolation=interpolation)}

    def augment(self, batch: Batch) -> Batch:
        frames = normalize(to_float(batch["image"]), self.spec.mean, self.spec.std, inplace=True)  # (B, T, C, H, W)
        return {**batch, "image": frames.transpose(1, 2) if self.spec.frames else frames[:, 0]}
