"""A map of a split in two dimensions, by t-SNE (van der Maaten & Hinton, Visualizing Data using t-SNE, JMLR 2008)."""

from __future__ import annotations

from colorsys import hls_to_rgb
from dataclasses import dataclass
from typing import Any, final

import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Source
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.canvas import Canvas
from sslzoo.evaluations.labelled import finite_features
from sslzoo.evaluations.pictures import by_turns, class_name, known_labels
from sslzoo.figures import ACCENT, FRAME, GAP, LINE, MARGIN, WIDTH

_LEAST = 5
_CLASSES = 20
"""Classes that are coloured and named: more cannot be told apart."""
_COMPONENTS = 50
_LINE, _LETTER = 0.034, 0.0185
"""Height of a name and width of a letter, as shares of a map."""


@dataclass(frozen=True)
class ProjectionConfig:
    points: int = 2000
    """Images that are drawn, at most; of a larger split, a part that is always the same, as even over classes as can
    be."""
    perplexity: float = 30.0
    """About how many neighbours each point is to keep; fewer where there are not three times as many points."""


@final
class Projection(Evaluation):
    """How a split lies in feature space, flattened: near points are alike, distances between far ones mean little.

    Final features are L2-normalised and, as the paper does, first reduced to 50 dimensions by PCA. t-SNE is
    scikit-learn's, started from the first two principal components, so a map is the same every time. Of data with one
    label for each image the 20 most frequent classes are coloured, and named at the median of their points. Labels
    have no part in where a point lies.
    """

    info = EvaluationInfo(
        name="projection",
        version=1,
        metric="",
        modalities=("image", "clip"),
        summary="A map of the images' features by t-SNE, coloured by label.",
        fits=False,
    )
    Config = ProjectionConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Lay the images of ``test`` out in two dimensions.

        Raises:
            UsageError: if there are too few images, or the settings do not suit.
            UserError: if features are not finite, or all the same.
        """
        if self.config.points < _LEAST or self.config.perplexity <= 0:
            raise UsageError(
                f"a map needs {_LEAST} points and a perplexity above 0, not points={self.config.points} and "
                f"perplexity={self.config.perplexity:g}"
            )
        features = finite_features(encoder, test)
        if len(features.index) < _LEAST:
            raise UsageError(f"a map needs {_LEAST} images, and {test.name} has {len(features.index)}")
        labels = known_labels(test)
        labels = None if labels is None else labels[features.index]
        drawn = by_turns(features.index, labels)[: self.config.points].sort().values
        rows = F.normalize(features.final[drawn], dim=1)
        if (rows - rows.mean(0)).abs().max() < 1e-6:
            raise UserError(
                f"the features of all images of {test.name} are the same: the encoder has collapsed, and there is no "
                f"map to draw; evaluate an earlier one, or train with a lower rate"
            )
        perplexity = min(self.config.perplexity, (len(rows) - 1) / 3)
        return Result(
            metrics={},
            details={"feature": "final", "points": len(rows), "perplexity": perplexity},
            visuals={
                "places": flattened(rows, perplexity),
                "labels": None if labels is None else labels[drawn],
                "names": {} if labels is None else {name: class_name(test, name) for name in labels.unique().tolist()},
            },
        )

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        """A map for each encoder, beside each other, in the same colours."""
        details, top = results["trained"].details, Canvas.TOP + LINE
        side = (WIDTH - 2 * MARGIN - GAP) // 2
        width, height = WIDTH, top + side + MARGIN
        caption = f"t-SNE of the final features of {details['points']} images, perplexity {details['perplexity']:.3g}"
        canvas = Canvas(width, height, "Map of the features", caption)
        for number, (name, result) in enumerate(results.items()):
            left = MARGIN + number * (side + GAP)
            canvas.text(name, left, top - 6, size=11, va="bottom")
            place = (left / width, MARGIN / height, side / width, side / height)
            axes = canvas.figure.add_axes(place, xticks=[], yticks=[])
            axes.spines[:].set_color(FRAME)
            _draw_map(axes, **result.visuals)
        return {"projection": canvas.figure}


def flattened(rows: Tensor, perplexity: float) -> Tensor:
    """(N, D) features to (N, 2) places by t-SNE, the same every time."""
    reduced = rows.double().numpy()
    if min(reduced.shape) > _COMPONENTS:
        reduced = PCA(_COMPONENTS, svd_solver="full").fit_transform(reduced)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=0)
    return torch.from_numpy(tsne.fit_transform(reduced)).double()


def _draw_map(axes: Axes, places: Tensor, labels: Tensor | None, names: dict[int, str]) -> None:
    least, most = places.amin(0), places.amax(0)
    places = 0.5 + (places - (least + most) / 2) / (most - least).max()
    axes.set(xlim=(-0.06, 1.06), ylim=(-0.06, 1.06))
    dots: dict[str, Any] = {"s": 10, "linewidths": 0, "alpha": 0.9}
    if labels is None:
        axes.scatter(*places.T, color=ACCENT, **dots)
        return
    values, counts = labels.unique(return_counts=True)
    frequent = values[counts.argsort(descending=True, stable=True)][:_CLASSES].tolist()
    rest = ~torch.isin(labels, torch.tensor(frequent))
    axes.scatter(*places[rest].T, color=FRAME, **dots)
    taken: list[tuple[float, float, float]] = []
    for label in frequent:
        own, colour = places[labels == label], _colour(sorted(frequent).index(label))
        axes.scatter(*own.T, color=colour, **dots)
        x, y = _clear_of(taken, _densest(own), _LETTER * len(names[label]))
        axes.text(
            x, y, names[label], color=colour, fontsize=8, weight="bold", ha="center", va="center", parse_math=False,
            path_effects=[patheffects.withStroke(linewidth=3, foreground="white")], zorder=3,
        )  # fmt: skip


def _colour(number: int) -> tuple[float, float, float]:
    """Of ``_CLASSES``: round the circle of hues, dark and light in turn."""
    return hls_to_rgb(number / _CLASSES, 0.34 if number % 2 else 0.52, 0.75)


def _densest(places: Tensor) -> tuple[float, float]:
    """The one of places (N, 2) that has most of the others about it. A median may lie where there are none."""
    near = (-(torch.cdist(places, places) / 0.05).square() / 2).exp()
    x, y = places[near.sum(1).argmax()].tolist()
    return x, y


def _clear_of(
    taken: list[tuple[float, float, float]], wanted: tuple[float, float], width: float
) -> tuple[float, float]:
    """The nearest place above or below ``wanted`` for a name that overlaps none of ``taken``, to which it is added."""
    x, y = wanted
    x = min(max(x, width / 2 - 0.05), 1.05 - width / 2)
    for step in range(2 * _CLASSES):
        at = y + (step + 1) // 2 * (-1) ** step * _LINE / 2
        apart = (abs(at - b) >= _LINE or abs(x - a) >= (width + w) / 2 for a, b, w in taken)
        if -0.04 <= at <= 1.04 and all(apart):
            break
    taken.append((x, at, width))
    return x, at
