"""Images and their nearest neighbours in feature space (as Wu et al., Unsupervised Feature Learning via Non-Parametric
Instance-level Discrimination, CVPR 2018, Fig. 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.config import UsageError
from sslzoo.data.source import Source
from sslzoo.encoders import spec_of
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.canvas import Canvas
from sslzoo.evaluations.labelled import finite_features
from sslzoo.evaluations.nearest import largest, similarities
from sslzoo.evaluations.pictures import by_turns, class_name, known_labels, read_pictures
from sslzoo.figures import ACCENT, FRAME, LINE, MARGIN, SECOND, WIDTH

_GAP, _BETWEEN, _NAME = 6, 18, 16


@dataclass(frozen=True)
class NeighboursConfig:
    k: int = 5
    """Neighbours of each image."""
    queries: int = 8
    """Images that are drawn with theirs, of as many classes as there are."""


@final
class Neighbours(Evaluation):
    """Which images of a split the encoder takes to be most alike: by the cosine of final features, itself left out.

    ``same_label`` is the share of an image's ``k`` nearest that have its label, averaged over the images of each class
    and then over the classes; it is there if the images have one label each. It is over all images, not only those
    that are drawn.
    """

    info = EvaluationInfo(
        name="neighbours",
        version=1,
        metric="same_label",
        modalities=("image", "clip"),
        summary="Images and their nearest neighbours by cosine; framed by whether the label is the same.",
        fits=False,
    )
    Config = NeighboursConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Find the neighbours of every image of ``test`` among the others.

        Raises:
            UsageError: if there are not more than ``k`` images, or nothing is to be drawn.
            UserError: if features are not finite, or images cannot be read.
        """
        k, queries = self.config.k, self.config.queries
        if k < 1 or queries < 1:
            raise UsageError(f"there must be a neighbour and an image to draw, not k={k} and queries={queries}")
        features = finite_features(encoder, test)
        if len(features.index) <= k:
            raise UsageError(
                f"k={k} neighbours need more than the {len(features.index)} images of {test.name}; choose a smaller --k"
            )
        near = nearest_others(features.final.to(next(encoder.parameters()).device), k).cpu()
        labels = known_labels(test)
        labels = None if labels is None else labels[features.index]
        drawn = by_turns(features.index, labels)[:queries]
        rows = torch.cat([drawn[:, None], near[drawn]], dim=1)
        order = features.index[rows].flatten().tolist()
        shown = read_pictures(test, order, len(order), spec_of(encoder).input).shown
        visuals = {"shown": shown.unflatten(0, rows.shape), "same": None, "names": [""] * len(rows)}
        if labels is not None:
            visuals["same"] = labels[rows[:, 1:]] == labels[drawn][:, None]
            visuals["names"] = [class_name(test, label) for label in labels[drawn].tolist()]
        return Result(
            metrics={} if labels is None else {"same_label": same_label(near, labels)},
            details={"feature": "final", "k": k, "readable": {"test": len(features.index)}},
            visuals=visuals,
        )

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        """A row for each query: the image, its neighbours, and beside them those by the untrained encoder."""
        first = results["trained"]
        shown, names, labelled = first.visuals["shown"], first.visuals["names"], first.visuals["same"] is not None
        k = self.config.k
        cells, gaps = 1 + k * len(results), (k - 1) * len(results) * _GAP + len(results) * _BETWEEN
        side = min(120, (WIDTH - 2 * MARGIN - gaps) // cells)
        pitch, top = side + _GAP + _NAME * labelled, Canvas.TOP + LINE
        caption = "by cosine of the final features, nearest first"
        caption += "; framed blue if the label is the same, orange if it is another" * labelled
        canvas = Canvas(WIDTH, top + len(shown) * pitch + MARGIN, "Nearest neighbours", caption)
        canvas.text("image", MARGIN, top - 6, size=10, va="bottom")
        for row, image in enumerate(shown[:, 0]):
            canvas.picture(image, MARGIN, top + row * pitch, side, side)
            canvas.text(names[row], MARGIN, top + row * pitch + side + 3, size=8, va="top")
        for number, (name, result) in enumerate(results.items()):
            start = MARGIN + side + _BETWEEN + number * (k * (side + _GAP) - _GAP + _BETWEEN)
            score = f": {100 * result.metrics['same_label']:.1f} % of all have the same label" if labelled else ""
            canvas.text(name + score, start, top - 6, size=10, va="bottom")
            for row, images in enumerate(result.visuals["shown"][:, 1:]):
                for place, image in enumerate(images):
                    frame, line = FRAME, 0.8
                    if labelled:
                        frame, line = (ACCENT if result.visuals["same"][row, place] else SECOND), 2.5
                    left = start + place * (side + _GAP)
                    canvas.picture(image, left, top + row * pitch, side, side, frame, line)
        return {"neighbours": canvas.figure}


def nearest_others(features: Tensor, k: int) -> Tensor:
    """(N, k) rows of ``features`` (N, D) that are most alike by cosine, the nearest first, and never a row itself."""
    rows = F.normalize(features, dim=1)
    found: list[Tensor] = []
    start = 0
    for similarity in similarities(rows, rows):
        similarity.diagonal(start).fill_(-torch.inf)
        found.append(largest(similarity, k)[1])
        start += len(similarity)
    return torch.cat(found)


def same_label(near: Tensor, labels: Tensor) -> float:
    """Share of neighbours ``near`` (N, k) with the label (N,) of their row, as the mean over classes."""
    share = (labels[near] == labels[:, None]).double().mean(1)
    return torch.stack([share[labels == label].mean() for label in labels.unique()]).mean().item()
