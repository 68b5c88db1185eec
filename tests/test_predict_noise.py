"""Predicting noise is the paper's: fixed targets on the sphere, exchanged within batches."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from clustering_methods import SAMPLES, FakeRun, check_gradients_and_eval, some_batch, started
from sslzoo_plugins.context.predict_noise import PredictNoise, best_exchange, squared_distance
from torch import Tensor
from view_samples import picture

from sslzoo.encoders import InputSpec
from sslzoo.views.color import denormalize


def vectors(count: int = 6, dim: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_the_squared_distance_on_the_sphere() -> None:
    features, targets = vectors(), torch.nn.functional.normalize(vectors(seed=1), dim=1)
    by_hand = 0.0
    for f, t in zip(features.tolist(), targets.tolist(), strict=True):
        by_hand += sum((x / math.hypot(*f) - y) ** 2 for x, y in zip(f, t, strict=True)) / 6
    assert float(squared_distance(features, targets)) == pytest.approx(by_hand, rel=1e-5)


def test_an_exchange_is_the_best_of_all_permutations() -> None:
    features, targets = vectors(), torch.nn.functional.normalize(vectors(seed=1), dim=1)
    best = min(itertools.permutations(range(6)), key=lambda order: float(squared_distance(features, targets[[*order]])))
    assert best_exchange(features, targets).tolist() == list(best) != list(range(6))


def test_targets_are_fixed_and_uniform_on_the_sphere() -> None:
    method = started(PredictNoise)
    targets = method.targets(torch.arange(4000))
    torch.testing.assert_close(targets.norm(dim=1), torch.ones(4000))
    torch.testing.assert_close(targets.mean(0), torch.zeros(8), rtol=0, atol=0.02)
    torch.testing.assert_close(targets.T @ targets / 4000, torch.eye(8) / 8, rtol=0, atol=0.01)
    assert torch.equal(method.targets(torch.tensor([7, 3])), targets[[7, 3]])
    assert not torch.equal(method.targets(torch.arange(4), "held-out"), targets[:4])


def test_pictures_of_a_batch_exchange_their_targets_and_keep_them() -> None:
    method, batch = started(PredictNoise), some_batch(PredictNoise)
    batch["index"] = torch.tensor([3, 19, 0, 7, 12, 1, 5, 9])
    with torch.no_grad():
        features = method.head(method.encoder(batch["views"][0]))
    before = method.owned.clone()
    assert torch.equal(before, torch.arange(SAMPLES))
    expected = before[batch["index"]][best_exchange(features, method.targets(before[batch["index"]]))]
    loss = method(dict(batch))["loss"]
    assert torch.equal(method.owned[batch["index"]], expected) and not torch.equal(method.owned, before)
    torch.testing.assert_close(loss, squared_distance(features, method.targets(expected)))
    assert sorted(method.owned.tolist()) == list(range(SAMPLES))  # no two pictures with one target
    others = [i for i in range(SAMPLES) if i not in batch["index"]]
    assert torch.equal(method.owned[others], before[others])


def test_targets_are_exchanged_every_third_epoch() -> None:
    method, batch = started(PredictNoise), some_batch(PredictNoise)
    changes = []
    for epoch in range(7):
        with torch.no_grad():
            method.owned.copy_(torch.arange(SAMPLES))
            method.on_epoch_start(FakeRun(step=2 * epoch))
            method(dict(batch))
        changes.append(not torch.equal(method.owned, torch.arange(SAMPLES)))
    assert changes == [True, False, False, True, False, False, True]


def test_held_out_pictures_are_matched_with_new_targets() -> None:
    method, batch = started(PredictNoise).eval(), some_batch(PredictNoise)
    with torch.no_grad():
        features = method.head(method.encoder(batch["views"][0]))
        new = method.targets(batch["index"], "held-out")
        expected = squared_distance(features, new[best_exchange(features, new)])
        torch.testing.assert_close(method(dict(batch))["loss"], expected)


def test_a_view_is_a_square_of_seven_eighths_anywhere() -> None:
    ramp = picture(64, 128)  # its upper half is a ramp from left to right
    make = PredictNoise.views(PredictNoise.Config(), InputSpec.square(56))
    batch = make([{"image": ramp, "index": 0, "key": key} for key in range(100)])
    rows = denormalize(batch["views"][0], (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))[:, 0, 10]
    width = (rows[:, -1] - rows[:, 0]).abs()
    torch.testing.assert_close(width, torch.full_like(width, 55 / 127), rtol=0, atol=0.02)
    assert 30 < int((rows[:, -1] > rows[:, 0]).sum()) < 70  # half of them mirrored
    assert rows.amin() < 0.03 and rows.amax() > 0.97


def test_gradients_and_eval() -> None:
    check_gradients_and_eval(PredictNoise)


def test_the_default_recipe_is_the_authors() -> None:
    recipe, config = PredictNoise.defaults, PredictNoise.Config()
    assert (recipe.optimizer, recipe.momentum, recipe.weight_decay, recipe.schedule) == ("sgd", 0, 0, "constant")
    assert recipe.lr * recipe.batch_size / recipe.base_batch_size == 0.01 * 256  # theirs is a sum over 256
    assert (recipe.batch_size, recipe.epochs) == (256, 100)
    assert (config.target_dim, config.exchange_every) == (2048, 3)
