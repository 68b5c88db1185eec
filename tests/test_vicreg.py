"""VICReg is the authors'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sslzoo_plugins.context.vicreg import VICReg, covariance, invariance, variance
from torch import Tensor
from two_view_methods import check_gradients_and_eval, small, some_batch


def two_views(count: int = 7, dim: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.8 * torch.randn(count, dim, generator=generator) + 1 for _ in range(2)]


def test_the_terms_are_equations_1_to_5() -> None:
    first, second = two_views()
    a, b = first.numpy().astype(float), second.numpy().astype(float)
    shortfall = [max(0.0, 1 - np.sqrt(a[:, j].var(ddof=1) + 1e-4)) for j in range(5)]
    assert 0 < sum(value == 0 for value in shortfall) < 5  # both sides of the hinge
    assert float(variance(first)) == pytest.approx(np.mean(shortfall), rel=1e-5)
    between = np.cov(a.T)
    squares = sum(between[i, j] ** 2 for i in range(5) for j in range(5) if i != j)
    assert float(covariance(first)) == pytest.approx(squares / 5, rel=1e-5)
    assert float(invariance(first, second)) == pytest.approx(((a - b) ** 2).sum() / (7 * 5), rel=1e-5)


def test_a_collapsed_batch_is_seen_by_the_variance_alone() -> None:
    collapsed = torch.ones(6, 4)
    assert float(variance(collapsed)) == pytest.approx(0.99)  # 1 - sqrt(0.0001)
    assert covariance(collapsed) == 0 and invariance(collapsed, collapsed) == 0


def test_the_loss_is_lightlys() -> None:
    loss = pytest.importorskip("lightly.loss", reason="lightly is not installed")
    first, second = two_views()
    ours = (
        25 * invariance(first, second)
        + 25 * (variance(first) + variance(second)) / 2
        + covariance(first)
        + covariance(second)
    )
    torch.testing.assert_close(ours, loss.VICRegLoss()(first, second), rtol=1e-5, atol=1e-5)


def test_the_method_weighs_the_terms_of_both_views() -> None:
    method, batch = small(VICReg).eval(), some_batch(VICReg)
    with torch.no_grad():
        scores = method(batch)
        first, second = (method.projector(method.encoder(view)) for view in batch["views"])
    torch.testing.assert_close(scores["invariance"], invariance(first, second))
    torch.testing.assert_close(scores["variance"], (variance(first) + variance(second)) / 2)
    torch.testing.assert_close(scores["covariance"], covariance(first) + covariance(second))
    expected = 25 * scores["invariance"] + 25 * scores["variance"] + scores["covariance"]
    torch.testing.assert_close(scores["loss"], expected)


def test_gradients_and_eval() -> None:
    check_gradients_and_eval(VICReg)


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = VICReg.defaults, VICReg.Config()
    assert (recipe.optimizer, recipe.lr, recipe.base_batch_size, recipe.weight_decay) == ("lars", 0.2, 256, 1e-6)
    assert (recipe.batch_size, recipe.epochs, recipe.warmup_epochs, recipe.schedule) == (2048, 1000, 10, "cosine")
    assert config.projection_dim == 8192
    assert (config.invariance_weight, config.variance_weight, config.covariance_weight) == (25, 25, 1)
