"""Barlow Twins is the paper's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sslzoo_plugins.context.barlow_twins import BarlowTwins, cross_correlation, distance_from_identity
from torch import Tensor
from two_view_methods import check_gradients_and_eval, small, some_batch

from sslzoo.optimizers import build_optimizer


def two_views(count: int = 7, dim: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [3 * torch.randn(count, dim, generator=generator) + 1 for _ in range(2)]


def test_correlations_are_equation_2() -> None:
    first, second = two_views()
    a, b = ((view - view.mean(0)).numpy().astype(float) for view in (first, second))
    expected = [
        [(a[:, i] * b[:, j]).sum() / np.sqrt((a[:, i] ** 2).sum() * (b[:, j] ** 2).sum()) for j in range(5)]
        for i in range(5)
    ]
    np.testing.assert_allclose(cross_correlation(first, second).numpy(), expected, atol=1e-5)


def test_the_terms_are_equation_1() -> None:
    correlation = torch.tensor([[1.0, 0.5, 0.0], [0.25, 0.5, 0.0], [0.0, -1.0, -1.0]])
    invariance, redundancy = distance_from_identity(correlation)
    assert invariance == 0.25 + 4 and redundancy == 0.25 + 0.0625 + 1
    method, batch = small(BarlowTwins).eval(), some_batch(BarlowTwins)
    scores = method(batch)
    expected = scores["invariance"] + 0.0051 * scores["redundancy"]
    torch.testing.assert_close(scores["loss"], expected)


def test_views_that_are_equal_and_uncorrelated_have_no_loss() -> None:
    signs = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    invariance, redundancy = distance_from_identity(cross_correlation(10 * signs, 10 * signs))
    assert float(invariance) == pytest.approx(0, abs=1e-6) and float(redundancy) == pytest.approx(0, abs=1e-6)


def test_a_dimension_that_is_constant_correlates_with_nothing() -> None:
    first, second = two_views()
    first[:, 2] = 7.0
    correlation = cross_correlation(first.requires_grad_(), second)
    assert correlation[2].abs().max() < 1e-6
    sum(distance_from_identity(correlation)).backward()
    assert first.grad.isfinite().all()


def test_the_loss_is_lightlys() -> None:
    loss = pytest.importorskip("lightly.loss", reason="lightly is not installed")
    first, second = two_views()
    invariance, redundancy = distance_from_identity(cross_correlation(first, second))
    theirs = loss.BarlowTwinsLoss(lambda_param=0.005)(first, second)
    torch.testing.assert_close(invariance + 0.005 * redundancy, theirs, rtol=1e-5, atol=1e-5)


def test_biases_and_norms_learn_at_their_own_rate() -> None:
    method = small(BarlowTwins, "test_resnet")
    for group in build_optimizer(method, BarlowTwins.defaults).param_groups:
        share = 0.0048 / 0.2 if group["params"][0].ndim == 1 else 1.0
        assert group["lr_scale"] == pytest.approx(share)
        assert all((parameter.ndim == 1) == (share < 1) for parameter in group["params"])


def test_gradients_and_eval() -> None:
    check_gradients_and_eval(BarlowTwins)


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = BarlowTwins.defaults, BarlowTwins.Config()
    assert (recipe.optimizer, recipe.lr, recipe.base_batch_size, recipe.weight_decay) == ("lars", 0.2, 256, 1.5e-6)
    assert (recipe.batch_size, recipe.epochs, recipe.warmup_epochs, recipe.schedule) == (2048, 1000, 10, "cosine")
    assert (config.projection_dim, config.redundancy_weight) == (8192, 0.0051)
