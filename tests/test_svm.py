"""Linear SVMs: average precision by hand, and the choice and fit against scikit-learn, with one label and several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score, precision_recall_curve
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC
from test_linear import FeatureSource, splits
from tiny_source import TinySource
from torch import Tensor

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluation import Result
from sslzoo.evaluations.knn import KNN, KNNConfig
from sslzoo.evaluations.precision_recall import area, eleven_points
from sslzoo.evaluations.svm import SVM, SVMConfig
from sslzoo.features import Features
from sslzoo.testing import check_evaluation

FEW = (0.1, 10.0)


def test_average_precisions_are_those_solved_by_hand() -> None:
    """Ranked: no, yes, yes, no, yes. Precision at the hits: 1/2, 2/3, 3/5; the first is raised to 2/3."""
    truth, scores = np.array([0, 1, 1, 0, 1]), np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    assert average_precision_score(truth, scores) == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)
    assert area(truth, scores) == pytest.approx((2 / 3 + 2 / 3 + 3 / 5) / 3)
    # Recalls of 0 to 0.6 are reached at 2/3, those of 0.7 to 1 at the last hit.
    assert eleven_points(truth, scores) == pytest.approx((7 * 2 / 3 + 4 * 3 / 5) / 11)


def test_tenths_of_recall_are_reached_in_spite_of_rounding() -> None:
    """Three of ten hits first, then a miss: a recall of 0.3 is reached at a precision of 1."""
    truth = np.array([1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1])
    precision = np.array([1.0] * 4 + [10 / 11] * 7)
    assert eleven_points(truth, -np.arange(11.0)) == pytest.approx(precision.mean())


def test_the_area_is_that_under_scikit_learns_curve_once_raised() -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        truth, scores = generator.integers(0, 2, 60), generator.integers(0, 20, 60) / 7
        precision, recall, _ = precision_recall_curve(truth, scores)
        raised = [max(precision[:-1][recall[:-1] >= level]) for level in recall[:-1]]
        assert area(truth, scores) == pytest.approx(-np.sum(np.diff(recall) * raised))
        assert area(truth, scores) >= average_precision_score(truth, scores)
    assert area(truth, truth.astype(float)) == eleven_points(truth, truth.astype(float)) == 1.0


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features come from the ``FeatureSource``."""
    monkeypatch.setattr(
        "sslzoo.evaluations.labelled.cached_features",
        lambda encoder, source, layers: Features(source.layers["final"], torch.arange(len(source)), source.layers),
    )


def run(train: FeatureSource, test: FeatureSource, **settings: Any) -> Result:
    return SVM(SVMConfig(**{"strengths": FEW, **settings})).run(create_encoder("test_resnet", 32, seed=0), train, test)


def unit(rows: Tensor) -> np.ndarray:
    return (rows.double() / rows.double().norm(dim=1, keepdim=True)).numpy()


def by_scikit_learn(train: FeatureSource, test: FeatureSource, layer: str, strength: float) -> np.ndarray:
    """(M, K) decision values of its own one-against-rest machine, by the dual problem."""
    rows, columns = unit(train.layers[layer]), []
    for k in range(5):
        machine = LinearSVC(C=strength, class_weight={0: 1, 1: 2}, dual=True, tol=1e-7, max_iter=100_000)
        machine.fit(rows, (train.targets == k).numpy().astype(int))
        columns.append(machine.decision_function(unit(test.layers[layer])))
    return np.stack(columns, axis=1)


@pytest.mark.usefixtures("given")
def test_each_layer_is_scored_as_scikit_learn_would() -> None:
    train, test = splits()
    result = run(train, test)
    assert list(result.details["layers"]) == ["stage0", "stage1", "final"]
    for name, found in result.details["layers"].items():
        scores = by_scikit_learn(train, test, name, found["C"])
        truth = test.targets.numpy()
        precisions = [area(truth == k, scores[:, k]) for k in range(5)]
        assert found["mean_average_precision"] == pytest.approx(np.mean(precisions), abs=1e-3)
        assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, scores.argmax(1)), abs=0.01)
    assert result.metrics["mean_average_precision"] == found["mean_average_precision"]
    assert result.details["average_precision"] == pytest.approx(dict(zip("abcde", precisions, strict=True)), abs=1e-3)
    assert set(result.details["recall"]) == set("abcde")


@pytest.mark.usefixtures("given")
def test_one_strength_is_chosen_by_average_precision_on_folds_of_each_class() -> None:
    train, test = splits()
    found = run(train, test, folds=4).details["layers"]["final"]
    rows, scores = unit(train.layers["final"]), {}
    for strength in FEW:
        machine = LinearSVC(C=strength, class_weight={0: 1, 1: 2}, dual=False, random_state=0)
        held_out = []
        for k in range(5):
            truth = (train.targets == k).numpy().astype(int)
            for fitted, held in StratifiedKFold(4).split(rows, truth):
                decided = machine.fit(rows[fitted], truth[fitted]).decision_function(rows[held])
                held_out.append(average_precision_score(truth[held], decided))
        scores[strength] = np.mean(held_out)
    assert found["C"] == max(scores, key=scores.__getitem__)
    assert found["validation"] == pytest.approx(max(scores.values()))


@pytest.mark.usefixtures("given")
def test_the_test_split_decides_nothing() -> None:
    train, test = splits()
    usual = run(train, test)
    assert usual.selected["layer"] == "stage1" and "never the test split" in usual.selected["rule"]
    other = run(train, FeatureSource(test.name, test.layers, test.targets.flip(0)))
    noise = {name: torch.randn_like(rows) for name, rows in test.layers.items()}
    third = run(train, FeatureSource(test.name, noise, test.targets))
    assert usual.selected == other.selected == third.selected and usual.metrics != other.metrics
    best = usual.details["layers"]["stage1"]["mean_average_precision"]
    assert usual.metrics["best_layer_mean_average_precision"] == best > usual.metrics["mean_average_precision"]


def several(source: FeatureSource, more: int = 0) -> FeatureSource:
    """The same split with labels (N, K): each image has its class, and every seventh one ``more`` beside it."""
    labels = torch.nn.functional.one_hot(source.targets, 5)
    labels[::7, more] = 1
    return FeatureSource(source.name, source.layers, labels)


@pytest.mark.usefixtures("given")
def test_with_several_labels_each_class_is_ranked_alone_and_there_is_no_accuracy() -> None:
    train, test = splits()
    plain = run(train, test)
    found = run(several(train), several(test))
    assert found.metrics.keys() == {
        *("mean_average_precision", "mean_average_precision_11_points", "best_layer_mean_average_precision"),
    }
    assert "recall" not in found.details
    one_hot = run(*(FeatureSource(s.name, s.layers, torch.eye(5).long()[s.targets]) for s in (train, test)))
    assert one_hot.details["average_precision"] == plain.details["average_precision"]
    assert found.details["average_precision"]["a"] != plain.details["average_precision"]["a"]


@pytest.mark.usefixtures("given")
def test_what_is_not_to_be_counted_is_neither_fitted_nor_scored() -> None:
    train, test = several(splits()[0]), several(splits()[1])
    usual = run(train, test)
    for source in (train, test):  # images of nothing, in which the first class may or may not be
        nowhere = torch.tensor([[-1, 0, 0, 0, 0]]).expand(20, 5)
        source.layers = {name: torch.cat([rows, -rows[:20]]) for name, rows in source.layers.items()}
        source.targets, source.samples = torch.cat([source.targets, nowhere]), len(source) + 20
    found = run(train, test)
    strengths = {name: layer["C"] for name, layer in usual.details["layers"].items()}
    assert found.selected["C"] == strengths
    precision = found.details["average_precision"]
    assert precision["a"] == usual.details["average_precision"]["a"]
    assert precision["b"] != usual.details["average_precision"]["b"]


@pytest.mark.usefixtures("given")
def test_a_class_that_only_one_split_has_is_missed_or_left_out() -> None:
    train, test = splits()
    kept = train.targets != 4
    fewer = FeatureSource(train.name, {name: rows[kept] for name, rows in train.layers.items()}, train.targets[kept])
    found = run(fewer, test)
    assert found.details["average_precision"]["e"] == 0.0 and found.details["recall"]["e"] == 0.0
    shown = test.targets != 2
    part = FeatureSource(test.name, {name: rows[shown] for name, rows in test.layers.items()}, test.targets[shown])
    assert set(run(train, part).details["average_precision"]) == set("abde")


@pytest.mark.usefixtures("given")
def test_a_class_with_fewer_images_than_folds_is_fitted_and_does_not_choose() -> None:
    train, test = splits()
    few = torch.cat([(train.targets != 4).nonzero()[:, 0], (train.targets == 4).nonzero()[:2, 0]])
    thin = FeatureSource(train.name, {name: rows[few] for name, rows in train.layers.items()}, train.targets[few])
    assert run(thin, test).details["average_precision"]["e"] > 0
    with pytest.raises(UsageError, match="no class of synthetic.train. has 3 images with it"):
        few = {name: rows[:10] for name, rows in train.layers.items()}
        run(FeatureSource(train.name, few, torch.arange(10) % 5), test)


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strengths": ()}, "strengths"),
        ({"strengths": (0.0, 1.0)}, "strengths"),
        ({"folds": 1}, "at least 2 folds"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(*splits(), **settings)


@pytest.mark.usefixtures("given")
def test_labels_that_make_no_sense_are_refused() -> None:
    train, test = splits()
    with pytest.raises(UsageError, match="one class only"):
        run(FeatureSource(train.name, train.layers, torch.zeros(300, dtype=torch.int64)), test)
    with pytest.raises(UsageError, match=r"labels of synthetic\[test\] are broken: .* its 5 classes"):
        run(several(train), FeatureSource(test.name, test.layers, torch.full((200, 5), 2)))
    with pytest.raises(UsageError, match="are broken"):
        run(several(train), FeatureSource(test.name, test.layers, torch.ones(200, 4, dtype=torch.int64)))
    with pytest.raises(UsageError, match="no image of .* has any of its classes"):
        run(several(train), FeatureSource(test.name, test.layers, torch.zeros(200, 5, dtype=torch.int64)))
    with pytest.raises(UsageError, match=r"synthetic\[train\] have one label each, those of synthetic\[test\] several"):
        run(train, several(test))
    with pytest.raises(UserError, match=r"features of synthetic\[test\] are not finite in layer stage1"):
        test.layers["stage1"][7, 3] = torch.nan
        run(train, test)


@pytest.mark.usefixtures("given")
def test_other_evaluations_refuse_several_labels() -> None:
    train, test = (several(split) for split in splits())
    with pytest.raises(UsageError, match=r"images of synthetic\[train\] have several labels each.*use svm"):
        KNN(KNNConfig()).run(create_encoder("test_resnet", 32, seed=0), train, test)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_every_layer_of_an_encoder_is_fitted_and_twice_gives_the_same(architecture: str) -> None:
    encoder = create_encoder(architecture, 32, seed=0).eval()
    train, test = TinySource(60), TinySource(30, "tiny[test]", seed=1)
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    result = SVM(SVMConfig(strengths=FEW)).run(encoder, train, test)
    assert len(result.details["layers"]) == len(encoder.feature_info) + 1
    assert result.metrics["balanced_accuracy"] > 0.9 and result.metrics["mean_average_precision"] > 0.9, "easy colours"
    assert result == SVM(SVMConfig(strengths=FEW)).run(encoder, train, test)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.slow
def test_it_keeps_the_promises_of_an_evaluation() -> None:
    check_evaluation("svm", strengths=(1.0,), folds=2).raise_for_failures()
