"""The linear probe: its solver against scikit-learn's, and that nothing is chosen on the test split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler
from tiny_source import TinySource
from torch import Tensor

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluation import Result
from sslzoo.evaluations import logistic
from sslzoo.evaluations.holdout import holdout
from sslzoo.evaluations.linear import Linear, LinearConfig
from sslzoo.evaluations.logistic import fit_path
from sslzoo.features import Features

STRENGTHS = [1e-4, 1e-2, 1.0, 10.0]


def problem(
    samples: int = 300, dim: int = 20, classes: int = 5, seed: int = 0, test: int = 200
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Correlated features, standardised, of overlapping classes of unequal size; the same classes for each ``seed``."""
    fixed, generator = torch.Generator().manual_seed(99), torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=fixed) * torch.logspace(0, -2, dim)[:, None]
    centres = torch.randn(classes, dim, generator=fixed)
    labels = (classes * torch.rand(samples + test, generator=generator) ** 1.5).long()
    labels[:classes] = torch.arange(classes)
    rows = ((centres[labels] + 1.5 * torch.randn(samples + test, dim, generator=generator)) @ mixing).double()
    rows = (rows - rows[:samples].mean(0)) / rows[:samples].std(0)
    return rows[:samples], labels[:samples], rows[samples:], labels[samples:]


def sklearns(rows: Tensor, labels: Tensor, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, tol=1e-8, max_iter=20000).fit(rows.numpy(), labels.numpy())


@pytest.mark.parametrize(("samples", "dim", "classes"), [(300, 20, 5), (80, 120, 4), (200, 10, 3)])
def test_the_solver_finds_scikit_learns_coefficients(samples: int, dim: int, classes: int) -> None:
    rows, labels, test, _ = problem(samples, dim, classes)
    for fit in fit_path(rows, labels, classes, STRENGTHS, tolerance=1e-8):
        theirs = sklearns(rows, labels, fit.strength)
        assert fit.converged and fit.gradient <= 1e-8
        np.testing.assert_allclose(fit.weight.numpy(), theirs.coef_, atol=2e-4 * np.abs(theirs.coef_).max())
        np.testing.assert_allclose(fit.bias.numpy(), theirs.intercept_, atol=1e-3)
        ours = fit.logits(test).softmax(1).numpy()
        np.testing.assert_allclose(ours, theirs.predict_proba(test.numpy()), atol=1e-3)


def test_single_precision_predicts_what_scikit_learn_does_in_double() -> None:
    rows, labels, test, _ = problem(600, 30, 6)
    for fit in fit_path(rows.float(), labels, 6, STRENGTHS):
        expected = sklearns(rows, labels, fit.strength).predict(test.numpy())
        assert fit.converged and fit.logits(test.float()).argmax(1).tolist() == expected.tolist()


def test_for_two_classes_scikit_learns_strength_is_twice_ours() -> None:
    rows, labels, test, _ = problem(classes=2)
    [fit] = fit_path(rows, labels, 2, [0.05], tolerance=1e-8)
    expected = sklearns(rows, labels, 0.1).predict_proba(test.numpy())
    np.testing.assert_allclose(fit.logits(test).softmax(1).numpy(), expected, atol=1e-4)


def test_a_path_ends_where_each_strength_alone_does() -> None:
    rows, labels, _, _ = problem()
    for fit in fit_path(rows, labels, 5, STRENGTHS, tolerance=1e-7):
        [alone] = fit_path(rows, labels, 5, [fit.strength], tolerance=1e-7)
        torch.testing.assert_close(fit.weight, alone.weight, rtol=1e-3, atol=1e-4)


def test_a_far_minimum_is_reached_in_fewer_steps_with_a_curvature_for_each_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, labels, _, _ = problem()
    fits = fit_path(rows, labels, 5, STRENGTHS, tolerance=1e-7)
    monkeypatch.setattr(logistic, "_CURVATURES", 0)
    others = fit_path(rows, labels, 5, STRENGTHS, tolerance=1e-7)
    assert fits[-1].steps < others[-1].steps
    for fit, other in zip(fits, others, strict=True):
        assert fit.converged and abs(fit.bias.sum()) < 1e-12 and fit.weight.sum(0).abs().max() < 1e-12
        torch.testing.assert_close(fit.weight, other.weight, rtol=1e-3, atol=1e-4)


def test_constant_columns_and_separable_classes_do_not_trouble_the_solver() -> None:
    rows, labels, _, _ = problem(60, 10, 3)
    rows[:, 3] = 0
    rows[:, 4] = 5.0 * labels
    for dtype in (torch.float32, torch.float64):
        fits = fit_path(rows.to(dtype), labels, 3, [1e-6, 1e-2, 1e2, 1e4])
        assert all(fit.converged for fit in fits)
        assert (fits[-1].logits(rows.to(dtype)).argmax(1) == labels).all()


def test_torchs_threads_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    fit_path(*problem()[:2], 5, [1.0])
    assert torch.get_num_threads() == before


def test_the_holdout_is_a_fifth_of_each_class_and_leaves_one_to_fit() -> None:
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 3 + [3] * 2 + [4])
    held = holdout(labels, torch.arange(len(labels)), 0.2)
    assert [int(held[labels == label].sum()) for label in range(5)] == [10, 2, 1, 1, 0]
    assert holdout(labels, torch.arange(len(labels)), 0.9)[labels == 3].sum() == 1


def test_the_holdout_follows_the_samples_and_no_state() -> None:
    labels, index = torch.arange(60) % 3, torch.arange(60)
    held = holdout(labels, index, 0.2)
    torch.manual_seed(1)
    assert torch.equal(held, holdout(labels, index, 0.2))
    shuffled = torch.randperm(60)
    assert torch.equal(held[shuffled], holdout(labels[shuffled], index[shuffled], 0.2))
    assert not torch.equal(held, holdout(labels, index + 60, 0.2))


class FeatureSource(TinySource):
    """A split of which a test says the features."""

    def __init__(self, name: str, layers: dict[str, Tensor], labels: Tensor, classes: int = 5) -> None:
        super().__init__(len(labels), name, classes=tuple("abcdefgh"[:classes]))
        self.layers, self.targets = layers, labels

    def labels(self) -> Tensor:
        return self.targets


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features come from the ``FeatureSource``."""

    def features(encoder: Any, source: FeatureSource, layers: bool) -> Features:
        return Features(source.layers["final"], torch.arange(len(source)), source.layers)

    monkeypatch.setattr("sslzoo.evaluations.labelled.cached_features", features)


def splits(samples: int = 300) -> tuple[FeatureSource, FeatureSource]:
    """Layers of which the first is noise, the second is good and the last is poor; far from standardised."""
    rows, labels, test, truth = problem(samples, 20, 5)
    noise = torch.randn(samples + 200, 20, generator=torch.Generator().manual_seed(5))

    def layers(good: Tensor, noise: Tensor) -> dict[str, Tensor]:
        good = good.float()
        scale = torch.logspace(-3, 3, 20)
        return {"stage0": noise, "stage1": 40 + good * scale, "final": good + 2 * noise}

    train = FeatureSource("synthetic[train]", layers(rows, noise[:samples]), labels)
    return train, FeatureSource("synthetic[test]", layers(test, noise[samples:]), truth)


def run(train: FeatureSource, test: FeatureSource, **settings: Any) -> Result:
    return Linear(LinearConfig(**settings)).run(create_encoder("test_resnet", 32, seed=0), train, test)


@pytest.mark.usefixtures("given")
def test_each_layer_is_scored_as_scikit_learn_would() -> None:
    train, test = splits()
    result = run(train, test)
    assert list(result.details["layers"]) == ["stage0", "stage1", "final"]
    for name, found in result.details["layers"].items():
        scaler = StandardScaler().fit(train.layers[name].double().numpy())
        theirs = sklearns(torch.tensor(scaler.transform(train.layers[name].double())), train.targets, found["C"])
        predicted = theirs.predict(scaler.transform(test.layers[name].double()))
        assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(test.targets, predicted))
        assert found["accuracy"] == pytest.approx(
            theirs.score(scaler.transform(test.layers[name].double()), test.targets)
        )
        assert found["dim"] == 20 and found["C"] == result.selected["C"][name]


@pytest.mark.usefixtures("given")
def test_the_headline_is_the_last_layer_and_the_best_one_beside_it() -> None:
    result = run(*splits())
    layers = result.details["layers"]
    assert result.metrics == {
        "balanced_accuracy": layers["final"]["balanced_accuracy"],
        "accuracy": layers["final"]["accuracy"],
        "best_layer_balanced_accuracy": layers["stage1"]["balanced_accuracy"],
    }
    assert result.selected["layer"] == "stage1" and "never the test split" in result.selected["rule"]
    assert (
        layers["stage1"]["balanced_accuracy"]
        > layers["final"]["balanced_accuracy"]
        > layers["stage0"]["balanced_accuracy"]
    )
    recall = result.details["recall"]
    assert sum(recall.values()) / len(recall) == pytest.approx(result.metrics["balanced_accuracy"])


@pytest.mark.usefixtures("given")
def test_the_test_split_decides_nothing() -> None:
    train, test = splits()
    usual = run(train, test)
    shuffled = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    other = run(train, FeatureSource(test.name, test.layers, test.targets[shuffled]))
    noise = {name: torch.randn_like(rows) for name, rows in test.layers.items()}
    third = run(train, FeatureSource(test.name, noise, test.targets))
    assert usual.selected == other.selected == third.selected
    assert usual.metrics != other.metrics
    validation = [
        [layer["validation"] for layer in found.details["layers"].values()] for found in (usual, other, third)
    ]
    assert validation[0] == validation[1] == validation[2]


@pytest.mark.usefixtures("given")
def test_the_validation_score_is_that_of_a_probe_fitted_on_the_rest() -> None:
    train, test = splits()
    found = run(train, test).details["layers"]["final"]
    held = holdout(train.targets, torch.arange(300), 0.2)
    rows = train.layers["final"].double()
    scaler = StandardScaler().fit(rows[~held])
    theirs = sklearns(torch.tensor(scaler.transform(rows[~held])), train.targets[~held], found["C"])
    expected = balanced_accuracy_score(train.targets[held], theirs.predict(scaler.transform(rows[held])))
    assert found["validation"] == pytest.approx(expected)


@pytest.mark.usefixtures("given")
def test_of_equal_strengths_the_smallest_and_of_equal_layers_the_last_is_chosen() -> None:
    labels = torch.arange(40) % 2
    easy = torch.stack([10.0 * labels - 5, torch.zeros(40)], dim=1)
    layers = {"stage0": easy, "stage1": easy, "final": torch.zeros(40, 2)}
    train, test = (FeatureSource(name, layers, labels, classes=2) for name in ("a[train]", "a[test]"))
    selected = run(train, test, strengths=(10.0, 1.0, 0.1)).selected
    assert selected["layer"] == "stage1" and set(selected["C"].values()) == {0.1}


@pytest.mark.usefixtures("given")
def test_columns_that_are_constant_but_for_rounding_count_for_nothing() -> None:
    train, test = splits()
    plain = run(train, test)
    for split, seed in ((train, 0), (test, 1)):
        last_bit = torch.rand(len(split), 30, generator=torch.Generator().manual_seed(seed)).round() * 2**-14
        split.layers = {name: torch.cat([rows, 1000 + last_bit], dim=1) for name, rows in split.layers.items()}
    assert run(train, test).metrics == plain.metrics


@pytest.mark.usefixtures("given")
def test_classes_that_only_one_split_has_are_handled() -> None:
    train, test = splits()
    kept = train.targets != 4
    fewer = FeatureSource(train.name, {name: rows[kept] for name, rows in train.layers.items()}, train.targets[kept])
    recall = run(fewer, test).details["recall"]
    assert recall["e"] == 0.0 and set(recall) == set("abcde")
    shown = test.targets == 1
    part = FeatureSource(test.name, {name: rows[shown] for name, rows in test.layers.items()}, test.targets[shown])
    assert set(run(train, part).details["recall"]) == {"b"}


@pytest.mark.usefixtures("given")
def test_classes_of_one_sample_are_fitted_and_not_validated() -> None:
    train, test = splits()
    few = torch.cat([torch.arange(1, 200)[train.targets[1:200] != 3], torch.tensor([3])])
    thin = FeatureSource(train.name, {name: rows[few] for name, rows in train.layers.items()}, train.targets[few])
    assert int((thin.targets == 3).sum()) == 1
    assert set(run(thin, test).details["recall"]) == set("abcde")
    with pytest.raises(UsageError, match="no class of .* has two samples"):
        five = {name: rows[:5] for name, rows in train.layers.items()}
        run(FeatureSource(train.name, five, train.targets[:5]), test)


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_features_that_are_not_finite_are_an_error_that_names_the_layer(value: float) -> None:
    train, test = splits()
    test.layers["stage1"][7, 3] = value
    with pytest.raises(UserError, match=r"features of synthetic\[test\] are not finite in layer stage1"):
        run(train, test)


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strengths": ()}, "strengths"),
        ({"strengths": (0.0, 1.0)}, "strengths"),
        ({"validation": 1.0}, "validation share"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(*splits(), **settings)


@pytest.mark.usefixtures("given")
def test_one_class_is_nothing_to_tell_apart() -> None:
    train, test = splits()
    with pytest.raises(UsageError, match="one class only"):
        run(FeatureSource(train.name, train.layers, torch.zeros(300, dtype=torch.int64)), test)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_every_layer_of_an_encoder_is_probed(architecture: str) -> None:
    encoder = create_encoder(architecture, 32, seed=0).eval()
    train, test = TinySource(60), TinySource(30, "tiny[test]", seed=1)
    result = Linear(LinearConfig(strengths=(0.01, 1.0))).run(encoder, train, test)
    assert len(result.details["layers"]) == len(encoder.feature_info) + 1
    assert result.metrics["balanced_accuracy"] > 0.9, "colours are easy"
    assert result == Linear(LinearConfig(strengths=(0.01, 1.0))).run(encoder, train, test)
