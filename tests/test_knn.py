"""k-NN against its definition, and against scikit-learn's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from tiny_source import TinySource
from torch import Tensor

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluations import nearest
from sslzoo.evaluations.knn import KNN, KNNConfig, vote
from sslzoo.evaluations.labelled import accuracy, balanced_accuracy, recalls
from sslzoo.features import Features

TRAIN = TinySource(60)
TEST = TinySource(30, "tiny[test]", seed=1)


def random_features(samples: int, dim: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=generator)
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    return centres[labels] + 2 * torch.randn(samples, dim, generator=generator), labels


def vote_by_hand(train: Tensor, labels: Tensor, test: Tensor, k: int, temperature: float) -> list[int]:
    """The definition, one sample at a time, in Python's own numbers."""

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    predicted = []
    for image in test.tolist():
        similar = [(cosine(image, other), place) for place, other in enumerate(train.tolist())]
        votes: dict[int, float] = {}
        for similarity, place in sorted(similar, key=lambda pair: (-pair[0], pair[1]))[:k]:
            label = int(labels[place])
            votes[label] = votes.get(label, 0.0) + math.exp(similarity / temperature)
        predicted.append(min(votes, key=lambda label: (-votes[label], label)))
    return predicted


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.5), (50, 0.01)])
def test_the_vote_is_the_one_of_the_paper(k: int, temperature: float) -> None:
    train, labels = random_features(50, 8, 4, seed=0)
    test, _ = random_features(30, 8, 4, seed=1)
    assert vote(train, labels, test, k, temperature).tolist() == vote_by_hand(train, labels, test, k, temperature)


@pytest.mark.parametrize("k", [1, 20, 100])
def test_the_vote_is_scikit_learns_weighted_one(k: int) -> None:
    train, labels = random_features(600, 32, 7, seed=0)
    test, truth = random_features(400, 32, 7, seed=1)
    theirs = KNeighborsClassifier(k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
    expected = theirs.fit(train.double().numpy(), labels.numpy()).predict(test.double().numpy())
    found = vote(train, labels, test, k, 0.07)
    assert found.tolist() == expected.tolist()
    assert balanced_accuracy(found, truth) == pytest.approx(balanced_accuracy_score(truth, expected))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    train, labels = random_features(300, 16, 5, seed=0)
    test, _ = random_features(200, 16, 5, seed=1)
    whole = vote(train, labels, test, 20, 0.07)
    monkeypatch.setattr(nearest, "_CHUNK", 1)
    monkeypatch.setattr(nearest, "_BLOCK", 70)
    assert torch.equal(vote(train, labels, test, 20, 0.07), whole)


def test_of_equal_neighbours_the_earlier_vote() -> None:
    train, labels = torch.ones(40, 4), torch.tensor([2] * 5 + [1] * 35)
    assert vote(train, labels, torch.ones(3, 4), 5, 0.07).tolist() == [2, 2, 2]
    assert vote(train, labels, torch.ones(3, 4), 11, 0.07).tolist() == [1, 1, 1]


def test_of_equally_supported_classes_the_first_wins() -> None:
    train = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert vote(train, torch.tensor([3, 1, 0]), torch.tensor([[2.0, 0.0]]), 2, 0.07).tolist() == [1]


def test_a_very_low_temperature_leaves_the_nearest_neighbour() -> None:
    train, labels = random_features(50, 8, 4, seed=0)
    test, _ = random_features(30, 8, 4, seed=1)
    assert torch.equal(vote(train, labels, test, 50, 1e-6), vote(train, labels, test, 1, 0.07))


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur() -> None:
    labels = torch.tensor([0, 0, 0, 0, 2, 2, 5])
    predicted = torch.tensor([0, 0, 0, 1, 2, 0, 4])
    assert recalls(predicted, labels) == {0: 0.75, 2: 0.5, 5: 0.0}
    assert balanced_accuracy(predicted, labels) == pytest.approx((0.75 + 0.5 + 0) / 3)
    assert accuracy(predicted, labels) == pytest.approx(4 / 7)


def test_equal_balanced_accuracies_are_equal_whichever_classes_they_are_of() -> None:
    labels = torch.arange(6).repeat_interleave(17)
    found = set()
    for hits in ([16, 17, 14, 15, 15, 11], [17, 16, 15, 14, 11, 15], [11, 14, 15, 15, 16, 17], [17, 17, 17, 17, 17, 3]):
        predicted = torch.cat([torch.tensor([one] * right + [6] * (17 - right)) for one, right in enumerate(hits)])
        found.add(balanced_accuracy(predicted, labels))
    assert found == {round(88 / 102, 12)}


def test_the_evaluation_reports_scores_and_recall_by_name() -> None:
    encoder = create_encoder("test_resnet", 32, seed=0).eval()
    result = KNN(KNNConfig(k=5)).run(encoder, TRAIN, TEST)
    assert result.metrics.keys() == {"balanced_accuracy", "accuracy"}
    recall = result.details["recall"]
    assert list(recall) == ["red", "green", "blue"]
    assert result.metrics["balanced_accuracy"] == pytest.approx(sum(recall.values()) / 3)
    assert result.metrics["accuracy"] > 0.9, "colours are easy"
    assert result.details["readable"] == {"train": 60, "test": 30} and result.details["feature"] == "final"
    assert result.selected == {}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (KNNConfig(k=61), r"k=61 is more than the 60 samples of tiny\[train\]"),
        (KNNConfig(k=0), "k >= 1"),
        (KNNConfig(temperature=0.0), "temperature above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config: KNNConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        KNN(config).run(create_encoder("test_resnet", 32, seed=0), TRAIN, TEST)


def relabelled(source: TinySource, label: Callable[[Tensor], Tensor]) -> TinySource:
    """The same data with other labels."""
    labels = label(source.labels())
    copy = TinySource(source.samples, source.name, source.seed, source.class_names)
    copy.labels = lambda: labels  # type: ignore[method-assign]
    return copy


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (TRAIN, TinySource(30, "t", classes=("red", "green")), "do not have the same classes: they differ in blue"),
        (TRAIN, TinySource(30, "t", classes=("green", "red", "blue")), "their order differs"),
        (TRAIN, relabelled(TEST, lambda labels: labels - 1), "10 of 30 samples of .*no known label .-1.*kept secret"),
        (relabelled(TRAIN, torch.zeros_like), TEST, "one class only"),
    ],
)
def test_labels_that_do_not_fit_are_refused(train: TinySource, test: TinySource, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        KNN(KNNConfig(k=5)).run(create_encoder("test_resnet", 32, seed=0), train, test)


def test_features_that_are_not_finite_are_an_error_that_names_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Features(torch.full((60, 4), torch.nan), torch.arange(60))
    monkeypatch.setattr("sslzoo.evaluations.labelled.cached_features", lambda *arguments: broken)
    with pytest.raises(UserError, match=r"features of tiny\[train\] are not finite in layer final"):
        KNN(KNNConfig(k=5)).run(create_encoder("test_resnet", 32, seed=0), TRAIN, TEST)


def test_classes_without_names_are_numbered() -> None:
    train, test = TinySource(30), TinySource(30, "t", seed=1)
    train.class_names = test.class_names = ()
    train.labels = test.labels = lambda: torch.arange(30) % 3  # type: ignore[method-assign]
    train.read = test.read = TinySource(30).read  # type: ignore[method-assign]
    result = KNN(KNNConfig(k=5)).run(create_encoder("test_resnet", 32, seed=0).eval(), train, test)
    assert list(result.details["recall"]) == ["0", "1", "2"]
