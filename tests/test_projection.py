"""A map of features: the same every time, near points alike, and readable with many classes."""

from __future__ import annotations

import pytest
import torch
from tiny_source import TinySource
from torch import Tensor

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluation import Result
from sslzoo.evaluations import projection
from sslzoo.evaluations.projection import Projection, ProjectionConfig, flattened
from sslzoo.features import Features


def blobs(classes: int, each: int, dim: int = 8) -> tuple[Tensor, Tensor]:
    """Features about one centre for each class, and labels."""
    generator = torch.Generator().manual_seed(0)
    centres = 10 * torch.randn(classes, dim, generator=generator)
    labels = torch.arange(classes).repeat_interleave(each)
    return centres[labels] + torch.randn(len(labels), dim, generator=generator), labels


def run_on(monkeypatch: pytest.MonkeyPatch, rows: Tensor, source: TinySource, **settings: float) -> Result:
    features = Features(rows, torch.arange(len(rows)))
    monkeypatch.setattr("sslzoo.evaluations.labelled.cached_features", lambda *arguments: features)
    return Projection(ProjectionConfig(**settings)).run(create_encoder("test_resnet", 32, seed=0), source, source)  # type: ignore[arg-type]


def test_near_points_are_alike_and_the_map_is_the_same_every_time() -> None:
    rows, labels = blobs(3, 30)
    torch.manual_seed(5)
    places = flattened(rows, 10.0)
    assert torch.equal(flattened(rows, 10.0), places)
    nearest = torch.cdist(places, places).fill_diagonal_(torch.inf).argmin(1)
    assert (labels[nearest] == labels).all()


def test_many_features_are_first_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = blobs(3, 30, dim=200)
    seen = []
    original = projection.TSNE.fit_transform
    monkeypatch.setattr(projection.TSNE, "fit_transform", lambda self, x: seen.append(x.shape) or original(self, x))
    flattened(rows, 10.0)
    assert seen == [(90, 50)]


def test_a_large_split_is_thinned_evenly_over_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = blobs(3, 20)
    result = run_on(monkeypatch, rows, TinySource(60), points=12, perplexity=3.0)
    assert result.details == {"feature": "final", "points": 12, "perplexity": 3.0}
    assert result.visuals["labels"].bincount().tolist() == [4, 4, 4]


def test_few_points_have_few_neighbours_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_on(monkeypatch, blobs(2, 5)[0], TinySource(10))
    assert result.details["perplexity"] == 3.0


def test_classes_are_named_once_and_no_name_lies_on_another() -> None:
    places = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(2000) % 25
    labels[:40] = 24
    visuals = {"places": places, "labels": labels, "names": {number: f"class {number}" for number in range(25)}}
    result = Result({}, details={"points": 2000, "perplexity": 30.0}, visuals=visuals)
    figure = Projection(ProjectionConfig()).draw({"trained": result, "untrained": result})["projection"]
    figure.canvas.draw()
    for axes in figure.axes[1:]:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == 20, "the most frequent classes"
        assert "class 24" in {text.get_text() for text in axes.texts}
        assert sum(a.overlaps(b) for at, a in enumerate(boxes) for b in boxes[:at]) == 0
        assert all(axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) for box in boxes)


def test_without_labels_all_points_have_one_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    source = TinySource(20)
    source.labels = lambda: torch.full((20,), -1)  # type: ignore[method-assign]
    result = run_on(monkeypatch, blobs(2, 10)[0], source)
    assert result.visuals["labels"] is None
    axes = Projection(ProjectionConfig()).draw({"trained": result})["projection"].axes[1]
    assert len(axes.collections) == 1 and not axes.texts


@pytest.mark.parametrize(
    ("rows", "settings", "error", "message"),
    [
        (torch.rand(4, 8), {}, UsageError, r"needs 5 images, and tiny\[train\] has 4"),
        (torch.rand(9, 8), {"points": 4}, UsageError, "points=4"),
        (torch.rand(9, 8), {"perplexity": 0.0}, UsageError, "perplexity=0"),
        (torch.ones(9, 8), {}, UserError, r"all images of tiny\[train\] are the same: the encoder has collapsed"),
        (torch.full((9, 8), torch.nan), {}, UserError, r"features of tiny\[train\] are not finite"),
    ],
)
def test_what_has_no_map_is_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, rows: Tensor, settings: dict[str, float], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_on(monkeypatch, rows, TinySource(len(rows)), **settings)
