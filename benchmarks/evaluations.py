"""k-NN and linear probes beside scikit-learn's, on the same features, to the same scores.

    python benchmarks/evaluations.py

The features are those of an untrained encoder on ``cliparts``, and clusters of the size of larger data sets. A probe is
what ``linear`` does for one layer: standardise, fit each C on four fifths, choose, fit on all, predict. Of scikit-learn
it is ``LogisticRegression`` with the same values of C, one after the other with ``warm_start``: until the gradient of
the same objective is as small as ours, and, "by default", as small as scikit-learn wants it if nothing is said, which
leaves some scores short of their place. And it is ``KNeighborsClassifier`` by brute force with the Euclidean distance
of normalised features, as its cosine distance takes longer. ``evaluations.json`` keeps all of it, and both sides'
scores. Everything runs on one thread: on more, how long scikit-learn takes depends on what else the machine does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from budgets import EVALUATIONS, verdict
from side_by_side import line, measure, write
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize
from threadpoolctl import threadpool_limits
from torch import Tensor

from sslzoo.api import open_dataset
from sslzoo.encoders import create_encoder
from sslzoo.evaluations.holdout import holdout
from sslzoo.evaluations.knn import KNNConfig, vote
from sslzoo.evaluations.labelled import balanced_accuracy
from sslzoo.evaluations.linear import LinearConfig, choose
from sslzoo.features import cached_features

KNN = KNNConfig()
STRENGTHS = sorted(LinearConfig().strengths)
CLUSTERED = {"50,000 x 128": (50_000, 2_000, 128), "50,000 x 512": (50_000, 2_000, 512)}
"""Training and test samples, and features."""


@dataclass(frozen=True)
class Arguments:
    """Time both sides, print a table and write it as JSON."""

    encoders: tuple[str, ...] = ("test_resnet", "resnet18")
    """Untrained, at 64 pixels, on cliparts."""
    turns: int = 5
    """Of each side."""
    out: Path | None = Path(__file__).with_suffix(".json")


@dataclass(frozen=True, eq=False)
class Rows:
    """Features (N, D) and labels (N,) to fit on, and to score on."""

    train: Tensor
    labels: Tensor
    test: Tensor
    targets: Tensor

    def score(self, predicted: Any) -> float:
        return balanced_accuracy(torch.as_tensor(predicted), self.targets)


def main() -> None:
    """Measure, print, write."""
    arguments = tyro.cli(Arguments, description=__doc__)
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    with threadpool_limits(1):
        for architecture in arguments.encoders:
            layers = rows_of(architecture)
            for name, theirs in (("linear", their_probe), ("linear by default", their_usual_probe)):
                compare(results, f"{name}, {architecture}", our_probe, theirs, layers, arguments.turns)
            compare(results, f"k-NN, {architecture}", our_knn, their_knn, [layers[-1]], arguments.turns)
        for name, size in CLUSTERED.items():
            compare(results, f"k-NN, {name}", our_knn, their_knn, [clusters(*size)], arguments.turns)
    write(arguments.out, arguments.turns, ("timm", "scikit-learn"), results, threads=1)


def compare(
    results: dict[str, Any],
    name: str,
    ours: Callable[[Rows], Any],
    theirs: Callable[[Rows], Any],
    layers: list[Rows],
    turns: int,
) -> None:
    """Both sides on every layer; their scores, too, for a fast wrong answer is none."""
    sides = {"scikit-learn": theirs, "sslzoo": ours}
    scores = {side: [round(rows.score(run(rows)), 4) for rows in layers] for side, run in sides.items()}
    result = measure(lambda: {side: partial(on_all, run, layers) for side, run in sides.items()}, turns)
    results[name] = {**result, "scores": scores, "features": [list(rows.train.shape) for rows in layers]}
    judged = verdict(result["wall"]["ratio"], EVALUATIONS)
    print(line(name, result), f"| budget {EVALUATIONS}: {judged} | {scores}", flush=True)


def on_all(run: Callable[[Rows], Any], layers: list[Rows]) -> None:
    for rows in layers:
        run(rows)


def our_knn(rows: Rows) -> Tensor:
    return vote(rows.train, rows.labels, rows.test, KNN.k, KNN.temperature)


def their_knn(rows: Rows) -> np.ndarray:
    train, test = normalize(rows.train.numpy()), normalize(rows.test.numpy())
    model = KNeighborsClassifier(KNN.k, algorithm="brute", weights=lambda d: np.exp((1 - d**2 / 2) / KNN.temperature))
    return model.fit(train, rows.labels.numpy()).predict(test)


def our_probe(rows: Rows) -> Tensor:
    held = holdout(rows.labels, torch.arange(len(rows.labels)), LinearConfig().validation)
    return choose("", rows.train, rows.labels, held, STRENGTHS).classifier(rows.test)


def their_usual_probe(rows: Rows) -> np.ndarray:
    return their_probe(rows, tolerance=1e-4)


def their_probe(rows: Rows, tolerance: float = 1e-5) -> np.ndarray:
    labels = rows.labels.numpy()
    held = holdout(rows.labels, torch.arange(len(labels)), LinearConfig().validation).numpy()
    train = rows.train.numpy()
    model = LogisticRegression(tol=tolerance, max_iter=10_000, warm_start=True)
    scaler = StandardScaler().fit(train[~held])
    kept, validation = scaler.transform(train[~held]), scaler.transform(train[held])
    scores = []
    for strength in STRENGTHS:
        model.set_params(C=strength).fit(kept, labels[~held])
        scores.append(balanced_accuracy(torch.as_tensor(model.predict(validation)), rows.labels[torch.as_tensor(held)]))
    scaler = StandardScaler().fit(train)
    model = LogisticRegression(C=STRENGTHS[int(np.argmax(scores))], tol=tolerance, max_iter=10_000)
    return model.fit(scaler.transform(train), labels).predict(scaler.transform(rows.test.numpy()))


def rows_of(architecture: str) -> list[Rows]:
    """The layers of an untrained encoder on cliparts."""
    encoder = create_encoder(architecture, 64, seed=0).eval()
    train, test = (open_dataset("cliparts", split) for split in ("train", "test"))
    fitted, scored = (cached_features(encoder, source, layers=True) for source in (train, test))
    return [Rows(fitted.layers[name], train.labels(), scored.layers[name], test.labels()) for name in fitted.layers]


def clusters(samples: int, tests: int, dim: int, classes: int = 100) -> Rows:
    """Overlapping Gaussian clusters, as many of each class."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, dim, generator=generator)
    labels = torch.arange(samples + tests) % classes
    rows = centres[labels] + 4 * torch.randn(samples + tests, dim, generator=generator)
    return Rows(rows[:samples], labels[:samples], rows[samples:], labels[samples:])


if __name__ == "__main__":
    main()
