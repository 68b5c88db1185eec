"""BYOL is the paper's."""

from __future__ import annotations

import math

import pytest
import torch
from sslzoo_plugins.context.byol import BYOL, regression
from two_view_methods import check_gradients_and_eval, end_step, small, some_batch

from sslzoo.nn.spread import spread


def test_the_loss_is_the_distance_of_normalised_vectors() -> None:
    predictions, targets = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)).unbind(0)
    by_hand = 0.0
    for p, t in zip(predictions.tolist(), targets.tolist(), strict=True):
        by_hand += sum((x / math.hypot(*p) - y / math.hypot(*t)) ** 2 for x, y in zip(p, t, strict=True)) / 6
    assert float(regression(predictions, targets)) == pytest.approx(by_hand, rel=1e-5)


def test_the_loss_is_lightlys() -> None:
    loss = pytest.importorskip("lightly.loss", reason="lightly is not installed")
    predictions, targets = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)).unbind(0)
    theirs = 2 + 2 * loss.NegativeCosineSimilarity()(predictions, targets)
    torch.testing.assert_close(regression(predictions, targets), theirs, rtol=1e-5, atol=1e-5)


def test_each_view_predicts_the_teachers_projection_of_the_other() -> None:
    method, batch = small(BYOL).eval(), some_batch(BYOL)
    first, second = batch["views"]
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.mul_(1.1)
        predictions = [method.predictor(method.projector(method.encoder(view))) for view in (first, second)]
        targets = [method.teacher(view) for view in (first, second)]
        expected = regression(predictions[0], targets[1]) + regression(predictions[1], targets[0])
        assert torch.equal(method(batch)["loss"], expected)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_the_teachers_momentum_rises_from_0_996_to_1(fraction: float) -> None:
    method = small(BYOL)
    before = [p.clone() for p in method.teacher.parameters()]
    student = [*method.encoder.parameters(), *method.projector.parameters()]
    assert all(torch.equal(p, q) for p, q in zip(before, student, strict=True))
    with torch.no_grad():
        for parameter in student:
            parameter.add_(1.0)
    end_step(method, fraction)
    moved = (1 - 0.996) * (math.cos(math.pi * fraction) + 1) / 2
    for now, then in zip(method.teacher.parameters(), before, strict=True):
        torch.testing.assert_close(now, then + moved, rtol=0, atol=1e-6)


def test_the_students_encoder_is_published() -> None:
    method = small(BYOL)
    assert method.trained_encoder() is method.encoder


def test_gradients_and_eval() -> None:
    check_gradients_and_eval(BYOL)


def test_spread_is_0_for_one_direction_and_1_for_all() -> None:
    wide = torch.randn(4096, 64, generator=torch.Generator().manual_seed(0))
    assert float(spread(wide)) == pytest.approx(1, abs=0.02)
    assert float(spread(torch.rand(8, 1) * torch.ones(64))) == pytest.approx(0, abs=1e-5)


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = BYOL.defaults, BYOL.Config()
    assert (recipe.optimizer, recipe.lr, recipe.base_batch_size, recipe.weight_decay) == ("lars", 0.2, 256, 1.5e-6)
    assert (recipe.batch_size, recipe.epochs, recipe.warmup_epochs, recipe.schedule) == (4096, 1000, 10, "cosine")
    assert (config.hidden_dim, config.projection_dim, config.teacher_momentum) == (4096, 256, 0.996)
