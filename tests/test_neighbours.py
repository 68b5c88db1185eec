"""Nearest neighbours within a split: the right ones, never the image itself, and scored by label where there is one."""

from __future__ import annotations

import pytest
import torch
from matplotlib.patches import Rectangle
from tiny_source import TinySource
from torch import Tensor
from torch.nn import functional as F

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluation import Result
from sslzoo.evaluations import nearest
from sslzoo.evaluations.neighbours import Neighbours, NeighboursConfig, nearest_others, same_label
from sslzoo.features import Features
from sslzoo.figures import ACCENT, SECOND

SOURCE = TinySource(30)


def unlabelled() -> TinySource:
    source = TinySource(30)

    def none() -> Tensor:
        raise UsageError("there are none")

    source.labels = none  # type: ignore[method-assign]
    return source


def found(config: NeighboursConfig, source: TinySource = SOURCE) -> Result:
    return Neighbours(config).run(create_encoder("test_resnet", 32, seed=0), source, source)


def test_neighbours_are_the_most_alike_by_cosine_and_never_the_image_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(150, 8, generator=torch.Generator().manual_seed(0))
    similar = F.cosine_similarity(rows[:, None], rows[None], dim=2).fill_diagonal_(-2)
    expected = similar.argsort(dim=1, descending=True)[:, :4]
    assert torch.equal(nearest_others(rows, 4), expected)
    monkeypatch.setattr(nearest, "_CHUNK", 1)
    assert torch.equal(nearest_others(rows, 4), expected)


def test_a_double_is_a_neighbour_but_the_image_is_not() -> None:
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert nearest_others(rows, 1)[:2, 0].tolist() == [1, 0]


def test_the_score_is_the_mean_over_classes() -> None:
    near = torch.tensor([[1, 2], [0, 3], [0, 3], [0, 1]])
    labels = torch.tensor([0, 0, 0, 1])
    # Of class 0 the neighbours are right 2, 1 and 1 times of 2; of class 1 never.
    assert same_label(near, labels) == pytest.approx(((1 + 0.5 + 0.5) / 3 + 0) / 2)


def test_frames_tell_whether_the_label_is_the_same() -> None:
    result = found(NeighboursConfig(k=4, queries=3))
    assert result.metrics["same_label"] > 0.9, "colours are easy"
    assert result.visuals["shown"].shape == (3, 5, 3, 32, 32)
    assert sorted(result.visuals["names"]) == ["blue", "green", "red"], "queries are of different classes"
    result.visuals["same"][:] = torch.tensor([True, True, True, False])
    figure = Neighbours(NeighboursConfig(k=4, queries=3)).draw({"trained": result, "untrained": result})["neighbours"]
    frames = [patch.get_edgecolor() for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    blue, orange = (Rectangle((0, 0), 1, 1, edgecolor=colour).get_edgecolor() for colour in (ACCENT, SECOND))
    assert (frames.count(blue), frames.count(orange), len(frames)) == (2 * 3 * 3, 2 * 3, 3 + 2 * 3 * 4)


def test_without_labels_there_are_pictures_and_no_score() -> None:
    result = found(NeighboursConfig(k=2, queries=4), unlabelled())
    assert result.metrics == {} and result.visuals["same"] is None
    figure = Neighbours(NeighboursConfig(k=2, queries=4)).draw({"trained": result})["neighbours"]
    assert len(figure.axes[0].images) == 4 * 3
    assert not any("%" in text.get_text() or "framed" in text.get_text() for text in figure.axes[0].texts)


def test_unreadable_images_are_nobodys_neighbours() -> None:
    source = TinySource(150, broken=(3,))
    result = found(NeighboursConfig(k=3, queries=5), source)
    assert result.details["readable"] == {"test": 149} and result.visuals["shown"].shape[:2] == (5, 4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            NeighboursConfig(k=30),
            r"k=30 neighbours need more than the 30 images of tiny\[train\]; choose a smaller --k",
        ),
        (NeighboursConfig(k=0), "a neighbour and an image to draw, not k=0"),
        (NeighboursConfig(queries=0), "queries=0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config: NeighboursConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        found(config)


def test_features_that_are_not_finite_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Features(torch.full((30, 4), torch.nan), torch.arange(30))
    monkeypatch.setattr("sslzoo.evaluations.labelled.cached_features", lambda *arguments: broken)
    with pytest.raises(UserError, match=r"features of tiny\[train\] are not finite"):
        found(NeighboursConfig())
