"""Quality without labels: how many dimensions features fill, how evenly, and how near the views of an image stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from accelerate.utils import send_to_device
from matplotlib.figure import Figure
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.data.loader import train_loader
from sslzoo.data.source import Source
from sslzoo.data.tally import UnreadableTally
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.labelled import finite_features
from sslzoo.features import geometry
from sslzoo.features.frozen import frozen
from sslzoo.figures import ACCENT, INK, SECOND
from sslzoo.nn.spread import spread
from sslzoo.views.keyed import Draw
from sslzoo.views.multi_crop import Crop, MultiCrop
from sslzoo.views.two_views import Augmentation

_ROWS = 256  # images that go through the encoder at a time


@dataclass(frozen=True)
class QualityConfig:
    samples: int = 1000
    """Images of which views are made, from all over the split; all of them if there are fewer."""
    views: int = 5
    """Augmented views of each of these. LiDAR's paper has 50, which take ten times as long."""


@final
class Quality(Evaluation):
    """What can be said of an encoder without labels, by the geometry of its final features.

    Of all images, as evaluation crops: ``effective_rank`` and, as a share of the dimensions, ``rank_share``;
    ``rankme``, ``nesum``, ``alpha_req`` and ``feature_std``. Of augmented views (SimCLR's, the same for every encoder;
    LiDAR's paper takes those of the method, which an encoder does not tell): ``lidar``, ``alignment`` of the first two,
    and the mean ``uniformity`` of these. ``sslzoo.features.geometry`` has the formulas and their papers.

    No number is good by itself: ranks compare encoders of one architecture on one data set. They are at most the number
    of images, so a small split bounds them; ``lidar`` is less than ``samples``.
    """

    info = EvaluationInfo(
        name="quality",
        version=2,
        metric="rank_share",
        modalities=("image",),
        summary="Rank, spectrum, alignment and uniformity of features, without labels.",
        fits=False,
        numbers=(
            "effective_rank",
            "rankme",
            "lidar",
            "nesum",
            "alpha_req",
            "feature_std",
            "alignment",
            "uniformity",
        ),
    )
    Config = QualityConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Look at the images of ``test``.

        Raises:
            UsageError: if there are fewer than two images, or the settings ask for fewer than two samples or views.
            UserError: if features are not finite.
        """
        if self.config.samples < 2 or self.config.views < 2:
            raise UsageError(f"quality needs two samples and two views at least, not {self.config}")
        if len(test) < 2:
            raise UsageError(f"{test.name} has {len(test)} image, and ranks need two at least; choose another split")
        features = finite_features(encoder, test).final.to(next(encoder.parameters()).device)
        views = self._views(encoder, test)
        spectra = geometry.spectra(features)
        effective, alpha = geometry.effective_rank(spectra.covariance), geometry.alpha_req(spectra.covariance)
        first, second = views[:, 0], views[:, 1]
        return Result(
            metrics={
                "rank_share": effective / features.shape[1],
                "effective_rank": effective,
                "rankme": geometry.rankme(spectra.gram),
                "lidar": geometry.lidar(views),
                "nesum": geometry.nesum(spectra.covariance),
                **({} if alpha is None else {"alpha_req": alpha}),
                "feature_std": float(spread(features)),
                "alignment": geometry.alignment(first, second),
                "uniformity": (geometry.uniformity(first) + geometry.uniformity(second)) / 2,
            },
            details={
                "feature": "final",
                "dim": features.shape[1],
                "spectrum": spectra.covariance.tolist(),
                "samples": len(views),
                "views": views.shape[1],
                "readable": {"test": len(features)},
            },
        )

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        """The eigenvalues of the covariance as shares of their sum, on logarithmic axes."""
        return {"quality_spectrum": _spectrum_figure(results)}

    @torch.no_grad()
    def _views(self, encoder: nn.Module, source: Source) -> Tensor:
        """(n, q, D) features of q augmented views of n images.

        Raises:
            UserError: if they are not finite.
        """
        config, spec = self.config, spec_of(encoder).input
        loader = train_loader(
            source,
            _augmented(spec, config.views),
            channels=spec.size[0],
            sampler=_references(len(source), config.samples, max(1, _ROWS // config.views)),
            workers=0,
            augment_in_workers=False,
        )
        tally = UnreadableTally(source.name, len(source))
        rows: list[Tensor] = []
        with frozen(encoder, None) as device:
            for batch in loader:
                tally.add(batch.pop("unreadable", ()), len(batch["index"]))
                views = _augmented(spec, config.views).augment(send_to_device(batch, device))["views"]
                found = encoder(torch.cat(views)).float()
                rows.append(found.unflatten(0, (len(views), -1)).transpose(0, 1))
        features = torch.cat(rows)
        if not features.isfinite().all():
            raise UserError(f"the encoder's features of views of {source.name} are not finite, so it has diverged")
        return features


def _augmented(spec: InputSpec, count: int) -> MultiCrop:
    return MultiCrop(spec, (Crop(spec.size[1:], (0.08, 1.0), Augmentation()),) * count)


def _references(available: int, wanted: int, batch: int) -> list[list[tuple]]:
    """Samples from all over the data set, with keys that are the same each time, in batches."""
    count = min(available, wanted)
    index = torch.arange(count) * available // count
    keys = Draw.root(0).at("evaluation", "quality").of(index).key
    pairs = list(zip(index.tolist(), keys.tolist(), strict=True))
    return [pairs[start : start + batch] for start in range(0, count, batch)]


def _spectrum_figure(results: dict[str, Result]) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for (name, result), color in zip(results.items(), (ACCENT, SECOND), strict=False):
        spectrum = [value for value in result.details["spectrum"] if value > 0]
        shares = [value / sum(spectrum) for value in spectrum]
        label = f"{name}: effective rank {result.metrics['effective_rank']:.3g} of {result.details['dim']}"
        style = "-" if name == "trained" else "--"
        axes.loglog(range(1, len(shares) + 1), shares, style, color=color, marker=".", markersize=4, label=label)
    axes.set_xlabel("direction, by variance", color=INK)
    axes.set_ylabel("share of the variance", color=INK)
    axes.set_title("quality: spectrum of the covariance of features", loc="left", color=INK, fontsize=11)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, labelcolor=INK)
    return figure
