"""Fine-tuning: the whole encoder, with a linear classifier on top, on all labels or a few (Chen, Kornblith, Norouzi &
Hinton, SimCLR, ICML 2020; Grill et al., BYOL, NeurIPS 2020)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import final

import torch
from torch import Tensor, nn

from sslzoo.config import UsageError
from sslzoo.data.source import Source
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.classifier import Diverged, Look, Part, Recipe, fit
from sslzoo.evaluations.holdout import holdout, labelled_share
from sslzoo.evaluations.labelled import accuracy, balanced_accuracy, recalls, shared_classes

ENOUGH = 10
"""Labels of a class, on average, from which the learning rate is chosen on some of them."""
CHOSEN = (
    "highest balanced accuracy on a validation part of the labels, stratified and never the test split; of equal "
    "rates the smallest"
)
GIVEN = "the only one given"
FIXED = f"the middle one, as a rate cannot be chosen on fewer than {ENOUGH} labels per class"


@dataclass(frozen=True)
class FinetuneConfig:
    percent: float = 100.0
    """Percent of the training split that have labels, of each class and at least one; the others are not used."""
    lrs: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    """Learning rates of the encoder to choose from."""
    head_lr: float = 1e-2
    """That of the classifier."""
    epochs: int = 20
    """Passes over all labels; over a share of them, 1 / sqrt(share) times as many."""
    batch_size: int = 64
    """Images of a step."""
    validation: float = 0.2
    """Share of the labels to choose on; the chosen rate is then used with all of them."""


@final
class Finetune(Evaluation):
    """How well the classes are told apart when the encoder is trained on with their labels.

    A copy of it is trained with a linear classifier on its final features. The untrained encoder beside it is the same
    network supervised from scratch. As in SimCLR's protocol the images are cropped at random and mirrored, and nothing
    is regularised. Other than there:

    - the optimizer is AdamW with a short rise of its rate and a cosine, which suits transformers and convnets alike;
    - the classifier has a rate of its own, as in SwAV's protocol (Caron et al., NeurIPS 2020);
    - epochs grow with the root of what labels are missing (20, 63 and 200 at 100, 10 and 1 %), as small data sets
      would have few steps else. SimCLR has 30 at 10 % and 60 at 1 % of ImageNet.

    The labels that are kept are drawn by their place in the data set: always the same, and those of 1 % are among those
    of 10 %. The encoder's rate is chosen on ``validation`` of them, as in BYOL's protocol, if there are at least ten
    per class on average; else it is the middle one of ``lrs``. Classes that ``train`` lacks count as missed.
    """

    info = EvaluationInfo(
        name="finetune",
        version=2,
        metric="balanced_accuracy",
        modalities=("image", "clip"),
        summary="The whole encoder trained on with all labels, or a few.",
        variants=("percent",),
    )
    Config = FinetuneConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Train a copy on ``train``, choose on a part of it, score once on ``test``.

        Raises:
            UsageError: if a setting or the splits' labels do not suit.
            UserError: if no rate keeps the loss finite, or images cannot be read.
        """
        self._check()
        names = shared_classes(train, test)
        share = self.config.percent / 100
        labels = train.labels()
        kept = labelled_share(labels, torch.arange(len(labels)), share).nonzero()[:, 0]
        epochs = max(1, round(self.config.epochs / math.sqrt(share)))
        recipes = [
            Recipe(lr, self.config.head_lr, epochs, self.config.batch_size) for lr in sorted(set(self.config.lrs))
        ]
        recipe, validation, rule = choose_recipe(encoder, train, kept, recipes, self.config.validation)
        model = fit(encoder, Part(train, kept), labels[kept], len(names), recipe)
        predicted, index = model.predict(test)
        truth = test.labels()[index]
        return Result(
            metrics={
                "balanced_accuracy": balanced_accuracy(predicted, truth),
                "accuracy": accuracy(predicted, truth),
            },
            selected={"lr": recipe.lr, "rule": rule},
            details={
                "labels": len(kept),
                "recipe": asdict(recipe),
                "validation": validation,
                "recall": {names[label]: recall for label, recall in recalls(predicted, truth).items()},
                "readable": {"test": len(truth)},
            },
        )

    def _check(self) -> None:
        config = self.config
        if not 0 < config.percent <= 100:
            raise UsageError(f"percent must be above 0 and at most 100, not {config.percent:g}")
        if not config.lrs or min(config.lrs) <= 0 or config.head_lr <= 0:
            raise UsageError(f"lrs and head_lr must be above 0, not {config.lrs} and {config.head_lr:g}")
        if config.epochs < 1 or config.batch_size < 2:
            raise UsageError(
                f"fine-tuning needs epochs >= 1 and a batch size >= 2, not {config.epochs} and {config.batch_size}"
            )
        if not 0 < config.validation < 1:
            raise UsageError(f"the validation share must be between 0 and 1, not {config.validation:g}")


def choose_recipe(
    encoder: nn.Module, train: Source, kept: Tensor, recipes: list[Recipe], share: float, look: Look | None = None
) -> tuple[Recipe, dict[str, float], str]:
    """A recipe, how each did on a part of the labels (one that diverges has no score), and the rule.

    Args:
        kept: (N,) positions in ``train`` of what has labels.
        recipes: by ascending rate.
        share: of the labels to choose on.
        look: as ``fit`` takes it.
    """
    labels = train.labels()
    if len(recipes) == 1:
        return recipes[0], {}, GIVEN
    if len(kept) < ENOUGH * len(labels[kept].unique()):
        return recipes[len(recipes) // 2], {}, FIXED
    held = holdout(labels[kept], kept, share)
    fitted, judged = kept[~held], kept[held]
    scores: dict[float, float] = {}
    for recipe in recipes:
        try:
            model = fit(encoder, Part(train, fitted), labels[fitted], int(labels.max()) + 1, recipe, look)
            predicted, index = model.predict(Part(train, judged))
        except Diverged:
            continue
        scores[recipe.lr] = balanced_accuracy(predicted, labels[judged[index]])
    best = max(recipes, key=lambda recipe: (scores.get(recipe.lr, -1.0), -recipe.lr))
    return best, {f"{lr:g}": score for lr, score in scores.items()}, CHOSEN
