"""Linear support vector machines on frozen features, one class against the rest (Goyal, Mahajan, Gupta & Misra, Scaling
and Benchmarking Self-Supervised Visual Representation Learning, ICCV 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.config import UsageError
from sslzoo.data.source import Source
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.labelled import Labelled, accuracy, balanced_accuracy, labelled_pair, recall_by_name
from sslzoo.evaluations.precision_recall import area, eleven_points

RULE = (
    "highest average precision, averaged over classes and folds of the training split and never the test split; "
    "of equal C the smallest, of equal layers the last"
)


@dataclass(frozen=True)
class SVMConfig:
    strengths: tuple[float, ...] = (1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)
    """Values of C (a larger one penalises less) to choose from, for each layer."""
    folds: int = 3
    """Parts of the training split, each in turn scored by what was fitted on the others, to choose C."""


@final
class SVM(Evaluation):
    """How well a linear SVM per class ranks the test images, on each layer's L2-normalised features.

    Layers are those of ``linear``; ``final`` has the headline. The images may have several labels each. As in the
    paper's code an SVM has the squared hinge loss, and its class weighs twice as much as the rest. Three things differ:

    - one C is chosen for all classes of a layer, not one for each. With some thirty images of a class in a fold a
      choice per class is noise: on cliparts it cost one to three points of average precision on the test split;
    - labels of -1 (VOC's difficult) are left out when fitting too, where the paper's code takes them as absent;
    - the primal problem is solved, which converges in fewer steps, to the same solution.

    Average precision is the area under the curve as that code takes it (``precision_recall.area``), and beside it
    VOC 2007's own of eleven points, each averaged over the classes that occur in ``test``. Of images with one label
    each there is the accuracy too, of the class whose SVM is the surest. A class that ``train`` lacks counts as 0.
    """

    info = EvaluationInfo(
        name="svm",
        version=1,
        metric="mean_average_precision",
        modalities=("image", "clip"),
        summary="A linear SVM per class on the frozen features of every layer.",
    )
    Config = SVMConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Fit on ``train``, choose C by folds of it, score once on ``test``.

        Raises:
            UsageError: if the strengths, the folds or the splits' labels do not suit.
            UserError: if features are not finite.
        """
        strengths, folds = sorted(set(self.config.strengths)), self.config.folds
        if not strengths or strengths[0] <= 0:
            raise UsageError(f"strengths must be numbers above 0, not {self.config.strengths}")
        if folds < 2:
            raise UsageError(f"C is chosen by at least 2 folds, not {folds}")
        fitted, scored = labelled_pair(encoder, train, test, layers=True, several=True)
        truth = presence(fitted)
        if not (presence(scored) == 1).any():
            raise UsageError(f"no image of {test.name} has any of its classes, so there is nothing to find")
        if not any(_rarer(truth, k) >= folds for k in range(truth.shape[1])):
            raise UsageError(
                f"no class of {train.name} has {folds} images with it and {folds} without it, so C cannot be chosen by "
                f"{folds} folds; use fewer --folds, or more data"
            )
        probes = {name: _probe(name, fitted, scored, strengths, folds) for name in fitted.features.layers}
        return _result(probes, fitted, scored)


@dataclass(frozen=True, eq=False)
class _Probe:
    """What one layer gave."""

    strength: float
    validation: float
    dim: int
    scores: NDArray
    """(M, K): how sure each class's SVM is of each test image."""


def _probe(name: str, train: Labelled, test: Labelled, strengths: list[float], folds: int) -> _Probe:
    """Choose C by folds of the training split, fit on everything, score the test images."""
    rows, truth = _normalised(train, name), presence(train)
    validation = [cross_validated(rows, truth, strength, folds) for strength in strengths]
    best = max(range(len(strengths)), key=lambda place: (validation[place], -place))
    scores = decisions(rows, truth, strengths[best], _normalised(test, name))
    return _Probe(strengths[best], validation[best], rows.shape[1], scores)


def presence(found: Labelled) -> NDArray[np.int64]:
    """(N, K): 1 where an image has a class, 0 where it lacks it, -1 where that is not to be counted."""
    labels = found.labels if found.labels.ndim == 2 else F.one_hot(found.labels, len(found.class_names))
    return labels.numpy()


def cross_validated(rows: NDArray, truth: NDArray, strength: float, folds: int) -> float:
    """Average precision on held-out folds of ``rows`` (N, D), averaged over folds and the classes that all folds have.

    It is scikit-learn's ``average_precision_score``, as in the paper's code.
    """
    found = []
    for k in range(truth.shape[1]):
        if _rarer(truth, k) >= folds:
            own, known = _counted(rows, truth, k)
            for kept, held in StratifiedKFold(folds).split(own, known):
                decided = _svm(strength).fit(own[kept], known[kept]).decision_function(own[held])
                found.append(average_precision_score(known[held], decided))
    return float(np.mean(found))


def decisions(rows: NDArray, truth: NDArray, strength: float, asked: NDArray) -> NDArray:
    """(M, K): how sure each class's SVM, fitted on ``rows`` (N, D), is of each of ``asked`` (M, D).

    Minus infinity for a class that no row has, or every row.
    """
    scores = np.full((len(asked), truth.shape[1]), -np.inf)
    for k in range(truth.shape[1]):
        if _rarer(truth, k):
            scores[:, k] = _svm(strength).fit(*_counted(rows, truth, k)).decision_function(asked)
    return scores


def _svm(strength: float) -> LinearSVC:
    # Without a random_state numpy's global generator would be drawn from, for a solver that needs none.
    return LinearSVC(C=strength, class_weight={0: 1, 1: 2}, dual=False, max_iter=2000, random_state=0)


def _counted(rows: NDArray, truth: NDArray, k: int) -> tuple[NDArray, NDArray]:
    """The rows of which it is known whether they have the class, and whether they do."""
    counted = truth[:, k] >= 0
    return rows[counted], truth[counted, k]


def _rarer(truth: NDArray, k: int) -> int:
    """The number of images with the class, or of those without it if they are fewer."""
    return int(min((truth[:, k] == 1).sum(), (truth[:, k] == 0).sum()))


def _normalised(found: Labelled, layer: str) -> NDArray[np.float64]:
    return F.normalize(found.features.layers[layer].double(), dim=1).numpy()


def _result(probes: dict[str, _Probe], train: Labelled, test: Labelled) -> Result:
    names = list(probes)
    final, best = names[-1], max(names, key=lambda name: (probes[name].validation, names.index(name)))
    found = {name: _metrics(probe.scores, test) for name, probe in probes.items()}
    layers = {
        name: {"validation": probe.validation, **found[name], "C": probe.strength, "dim": probe.dim}
        for name, probe in probes.items()
    }
    details: dict[str, Any] = {"layers": layers}
    details["average_precision"] = {
        test.class_names[k]: areas for k, (areas, _) in _precisions(probes[final].scores, test).items()
    }
    if test.labels.ndim == 1:
        details["recall"] = recall_by_name(_predictions(probes[final].scores), test)
    return Result(
        metrics={**found[final], "best_layer_mean_average_precision": found[best]["mean_average_precision"]},
        selected={"layer": best, "C": {name: probe.strength for name, probe in probes.items()}, "rule": RULE},
        details={**details, "readable": {"train": len(train.labels), "test": len(test.labels)}},
    )


def _metrics(scores: NDArray, test: Labelled) -> dict[str, float]:
    """Of decision values (M, K) of the test images."""
    precisions = _precisions(scores, test).values()
    found = {
        "mean_average_precision": float(np.mean([areas for areas, _ in precisions])),
        "mean_average_precision_11_points": float(np.mean([points for _, points in precisions])),
    }
    if test.labels.ndim == 1:
        predicted = _predictions(scores)
        found["balanced_accuracy"] = balanced_accuracy(predicted, test.labels)
        found["accuracy"] = accuracy(predicted, test.labels)
    return found


def _precisions(scores: NDArray, test: Labelled) -> dict[int, tuple[float, float]]:
    """Both average precisions of each class that occurs; those of one that could not be learnt are 0."""
    truth, found = presence(test), {}
    for k in range(truth.shape[1]):
        decided, known = _counted(scores[:, k], truth, k)
        if known.any():
            learnt = np.isfinite(decided).all()
            found[k] = (area(known, decided), eleven_points(known, decided)) if learnt else (0.0, 0.0)
    return found


def _predictions(scores: NDArray) -> Tensor:
    """(M,) the class whose SVM is the surest; of equal ones the first."""
    return torch.from_numpy(scores.argmax(axis=1))
