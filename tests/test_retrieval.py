"""Retrieval against rankings solved by hand, and against its definition."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_source import TinySource
from torch import Tensor

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluation import Result
from sslzoo.evaluations import retrieval
from sslzoo.evaluations.retrieval import Retrieval, RetrievalConfig, rank
from sslzoo.features import Features
from sslzoo.report import evaluate
from sslzoo.testing import check_evaluation


def at_angles(*degrees: float) -> Tensor:
    """Features of unit length in the plane: the nearer two angles, the more similar."""
    radians = torch.tensor(degrees) * math.pi / 180
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def test_a_ranking_is_scored_as_by_hand() -> None:
    """From the first: other, same, other, same, same. R is 3."""
    features, labels = at_angles(0, 10, 20, 30, 40, 50), torch.tensor([0, 1, 0, 1, 0, 0])
    found = rank(features, labels, torch.tensor([0]), [1, 2, 3])
    assert {name: values.item() for name, values in found.items()} == {
        "mean_average_precision_at_r": pytest.approx((1 / 2) / 3),
        "mean_average_precision": pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3),
        "r_precision": pytest.approx(1 / 3),
        "recall_at_1": 0.0,
        "recall_at_2": 1.0,
        "recall_at_3": 1.0,
    }


def test_the_metrics_are_those_of_their_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(40, 5, generator=generator), torch.randint(4, (40,), generator=generator)
    whole = rank(features, labels, torch.arange(40), [1, 5])
    monkeypatch.setattr(retrieval, "_CHUNK", 7 * 40)
    chunked = rank(features, labels, torch.arange(40), [1, 5])
    assert all(torch.equal(whole[name], chunked[name]) for name in whole)
    unit = features / features.norm(dim=1, keepdim=True)
    for query in range(40):
        others = [place for place in range(40) if place != query]
        others.sort(key=lambda place: -float(unit[query] @ unit[place]))
        same = [bool(labels[place] == labels[query]) for place in others]
        number = sum(same)
        precision = [sum(same[: place + 1]) / (place + 1) * same[place] for place in range(39)]
        assert whole["mean_average_precision"][query] == pytest.approx(sum(precision) / number)
        assert whole["mean_average_precision_at_r"][query] == pytest.approx(sum(precision[:number]) / number)
        assert whole["r_precision"][query] == pytest.approx(sum(same[:number]) / number)
        assert whole["recall_at_5"][query] == any(same[:5]) and whole["recall_at_1"][query] == same[0]


def test_length_does_not_matter_and_of_equally_similar_images_the_earlier_comes_first() -> None:
    features = at_angles(0, 0, 0) * torch.tensor([[1.0], [2.0], [4.0]])
    for labels, first in (([0, 0, 1], 1.0), ([0, 1, 0], 0.0)):
        found = rank(features, torch.tensor(labels), torch.tensor([0]), [1])
        assert found["recall_at_1"].item() == first


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features come from the source."""
    monkeypatch.setattr(
        "sslzoo.evaluations.labelled.cached_features",
        lambda encoder, source, layers: Features(source.rows, torch.arange(len(source.rows))),
    )


def split(rows: Tensor, labels: list[int]) -> Any:
    source: Any = TinySource(len(rows), "tiny[test]", classes=("red", "green", "blue"))
    source.rows = rows
    source.labels = lambda: torch.tensor(labels)
    return source


def run(source: TinySource, **settings: Any) -> Result:
    return Retrieval(RetrievalConfig(**settings)).run(create_encoder("test_resnet", 32, seed=0), source, source)


@pytest.mark.usefixtures("given")
def test_classes_count_the_same_and_one_without_another_member_only_distracts() -> None:
    """Two reds are each other's nearest; three greens find the only blue first."""
    rows = at_angles(0, 1, 90, 89, 135, 180)
    found = run(split(rows, [0, 0, 1, 2, 1, 1]), k=(1, 3))
    by_query = rank(rows, torch.tensor([0, 0, 1, 2, 1, 1]), torch.tensor([0, 1, 2, 4, 5]), [1, 3])["recall_at_1"]
    assert by_query.tolist() == [1, 1, 0, 1, 1]
    assert found.metrics["recall_at_1"] == pytest.approx((1 + 2 / 3) / 2)
    assert found.details["queries"] == 5 and found.details["left_out"] == 1
    by_class = found.details["mean_average_precision_at_r"]
    assert by_class.keys() == {"red", "green"} and by_class["red"] == 1.0
    assert found.metrics["mean_average_precision_at_r"] == pytest.approx(sum(by_class.values()) / 2)
    assert next(iter(found.metrics)) == Retrieval.info.metric


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        ([0, 1, 1], {"k": ()}, r"k must be numbers from 1 to 2"),
        ([0, 1, 1], {"k": (0, 1)}, r"k must be numbers from 1 to 2"),
        ([0, 1, 1], {"k": (1, 3)}, r"the other images of tiny\[test\], not \(1, 3\)"),
        ([0, 1, 2], {"k": (1,)}, "no class of .* has two images"),
        ([1, 1, 1], {"k": (1,)}, "one class only"),
        ([0, -1, 1], {"k": (1,)}, "no known label"),
    ],
)
def test_what_cannot_be_ranked_is_refused(labels: list[int], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(split(at_angles(0, 10, 20), labels), **settings)


@pytest.mark.usefixtures("given")
def test_features_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(UserError, match=r"features of tiny\[test\] are not finite"):
        run(split(torch.full((3, 2), torch.nan), [0, 1, 1]), k=(1,))


def test_colours_are_easy_and_only_the_test_split_is_looked_at() -> None:
    test = TinySource(30, "tiny[test]", seed=1)
    settings = RetrievalConfig(k=(1, 5))
    report = evaluate(Retrieval(settings), create_encoder("test_resnet", 32, seed=0), test, test, model="m")
    assert report.train is None and report.test["readable"] == 30
    assert report.metrics["recall_at_1"] > 0.9 and 0.3 < report.metrics["mean_average_precision_at_r"] <= 1
    assert report.baseline is not None and report.baseline["metrics"] == report.metrics, "the same weights"


@pytest.mark.slow
def test_it_keeps_the_promises_of_an_evaluation() -> None:
    check_evaluation("retrieval").raise_for_failures()
