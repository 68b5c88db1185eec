"""Linear probes: multinomial logistic regression on the frozen features of every layer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from sslzoo.config import UsageError
from sslzoo.data.source import Source
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.holdout import holdout
from sslzoo.evaluations.labelled import Labelled, accuracy, balanced_accuracy, labelled_pair, recall_by_name
from sslzoo.evaluations.logistic import LogisticFit, fit_path

logger = logging.getLogger(__name__)

RULE = (
    "highest balanced accuracy on a validation part of the training split, stratified and never the test split; "
    "of equal C the smallest, of equal layers the last"
)


@dataclass(frozen=True)
class LinearConfig:
    strengths: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    """Values of C (scikit-learn's: a larger one penalises less) to choose from, for each layer."""
    validation: float = 0.2
    """Share of the training split to choose on; the chosen probe is fitted on all of it."""


@final
class Linear(Evaluation):
    """How well the classes can be told apart by a linear function of each layer's features.

    A layer is one of timm's ``forward_intermediates``, averaged over space, or ``final``, the encoder's own output, to
    which ``balanced_accuracy`` and ``accuracy`` belong; ``best_layer_balanced_accuracy`` is that of the layer which was
    best on validation data. Features are standardised by the data that is fitted.

    For each layer C is chosen on a part of ``train`` (``holdout`` says which; a class of one sample is not validated),
    then the probe is fitted on all of ``train``, and scored once on ``test``. Classes that ``train`` lacks count as
    missed.
    """

    info = EvaluationInfo(
        name="linear",
        version=1,
        metric="balanced_accuracy",
        modalities=("image", "clip"),
        summary="Logistic regression on the frozen features of every layer.",
    )
    Config = LinearConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Fit on ``train``, choose on parts of it, score once on ``test``.

        Raises:
            UsageError: if the strengths, the validation share or the splits' labels do not suit.
            UserError: if features are not finite.
        """
        strengths = self._strengths()
        fitted, scored = labelled_pair(encoder, train, test, layers=True)
        held = holdout(fitted.labels, fitted.features.index, self.config.validation)
        if not held.any():
            raise UsageError(f"no class of {train.name} has two samples, so none can be held out to choose C on")
        device = next(encoder.parameters()).device
        probes = {name: _probe(name, fitted, scored, held, strengths, device) for name in fitted.features.layers}
        return _result(probes, fitted, scored)

    def _strengths(self) -> list[float]:
        strengths, share = sorted(set(self.config.strengths)), self.config.validation
        if not strengths or strengths[0] <= 0:
            raise UsageError(f"strengths must be numbers above 0, not {self.config.strengths}")
        if not 0 < share < 1:
            raise UsageError(f"the validation share must be between 0 and 1, not {share}")
        return strengths


@dataclass(frozen=True, eq=False)
class _Probe:
    """What one layer gave."""

    strength: float
    validation: float
    dim: int
    predicted: Tensor
    """(M,) classes of the test samples."""


def _probe(
    name: str, train: Labelled, test: Labelled, held: Tensor, strengths: list[float], device: torch.device
) -> _Probe:
    """Choose C on the held-out part, fit on everything, predict the test samples."""
    rows = train.features.layers[name].to(device)
    chosen = choose(name, rows, train.labels.to(device), held.to(device), strengths)
    predicted = chosen.classifier(test.features.layers[name].to(device))
    return _Probe(chosen.strength, chosen.validation, rows.shape[1], predicted.cpu())


@dataclass(frozen=True, eq=False)
class Classifier:
    """Standardisation and logistic regression."""

    mean: Tensor
    std: Tensor
    fit: LogisticFit
    present: Tensor
    """(K,): the classes it tells apart."""

    def __call__(self, rows: Tensor) -> Tensor:
        """(N, D) features to (N,) classes."""
        return self.present[self.logits(rows).argmax(1)]

    def logits(self, rows: Tensor) -> Tensor:
        """(N, D) features to (N, K) of the classes ``present``."""
        return self.fit.logits(_standardised(rows, self.mean, self.std))


@dataclass(frozen=True, eq=False)
class Choice:
    """A classifier fitted on everything, with the strength that was best on the part held out."""

    classifier: Classifier
    strength: float
    validation: float
    """Balanced accuracy on the held-out part, of the classifier that was fitted without it."""


def choose(layer: str, rows: Tensor, labels: Tensor, held: Tensor, strengths: list[float]) -> Choice:
    """The best of ascending ``strengths`` for features (N, D) and labels (N,), by the part ``held`` (N,) bool."""
    candidates = _fit(layer, rows[~held], labels[~held], strengths)
    validation = [balanced_accuracy(candidate(rows[held]), labels[held]) for candidate in candidates]
    best = max(range(len(strengths)), key=lambda place: (validation[place], -place))
    return Choice(_fit(layer, rows, labels, strengths[best : best + 1])[0], strengths[best], validation[best])


def _fit(layer: str, rows: Tensor, labels: Tensor, strengths: list[float]) -> list[Classifier]:
    """A classifier for each strength; mean and deviation are those of ``rows``."""
    present, targets = labels.unique(return_inverse=True)
    mean = rows.mean(0, dtype=torch.float64).float()
    std = (rows - mean).square().mean(0, dtype=torch.float64).sqrt().float()
    std[std <= 1e-6 * mean.abs()] = 1  # constant, but for the rounding of float32
    fits = fit_path(_standardised(rows, mean, std), targets, len(present), strengths)
    for fit in fits:
        if not fit.converged:
            logger.warning("the probe of %s with C=%g stopped at a gradient of %.1e", layer, fit.strength, fit.gradient)
    return [Classifier(mean, std, fit, present) for fit in fits]


def _standardised(rows: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """In float32, which the solver is twice as fast in as in float64, to the same scores."""
    return (rows - mean) / std


def _result(probes: dict[str, _Probe], train: Labelled, test: Labelled) -> Result:
    names = list(probes)
    final, best = names[-1], max(names, key=lambda name: (probes[name].validation, names.index(name)))
    scores = {name: balanced_accuracy(probe.predicted, test.labels) for name, probe in probes.items()}
    layers: dict[str, dict[str, Any]] = {
        name: {
            "validation": probe.validation,
            "balanced_accuracy": scores[name],
            "accuracy": accuracy(probe.predicted, test.labels),
            "C": probe.strength,
            "dim": probe.dim,
        }
        for name, probe in probes.items()
    }
    return Result(
        metrics={
            "balanced_accuracy": scores[final],
            "accuracy": layers[final]["accuracy"],
            "best_layer_balanced_accuracy": scores[best],
        },
        selected={"layer": best, "C": {name: probe.strength for name, probe in probes.items()}, "rule": RULE},
        details={
            "layers": layers,
            "recall": recall_by_name(probes[final].predicted, test),
            "readable": {"train": len(train.labels), "test": len(test.labels)},
        },
    )
