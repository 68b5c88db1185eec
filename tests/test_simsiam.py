"""SimSiam is the paper's."""

from __future__ import annotations

import math

import pytest
import torch
from sslzoo_plugins.context.simsiam import SimSiam, negative_cosine
from torch import nn
from two_view_methods import check_gradients_and_eval, small, some_batch


def test_the_loss_is_the_mean_of_negative_cosines() -> None:
    predictions, projections = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)).unbind(0)
    by_hand = 0.0
    for p, z in zip(predictions.tolist(), projections.tolist(), strict=True):
        by_hand -= sum(x * y for x, y in zip(p, z, strict=True)) / (math.hypot(*p) * math.hypot(*z)) / 6
    assert float(negative_cosine(predictions, projections)) == pytest.approx(by_hand, rel=1e-5)


def test_the_loss_is_lightlys() -> None:
    loss = pytest.importorskip("lightly.loss", reason="lightly is not installed")
    predictions, projections = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)).unbind(0)
    theirs = loss.NegativeCosineSimilarity()(predictions, projections)
    torch.testing.assert_close(negative_cosine(predictions, projections), theirs, rtol=1e-5, atol=1e-5)


def test_no_gradient_goes_through_the_projection_that_is_predicted() -> None:
    method, batch = small(SimSiam).eval(), some_batch(SimSiam)
    views = batch["views"]
    loss = method(batch)["loss"]
    gradient = torch.autograd.grad(loss, list(method.encoder.parameters()))
    targets = [method.projector(method.encoder(view)).detach() for view in views]
    predicted = [method.predictor(method.projector(method.encoder(view))) for view in views]
    alone = negative_cosine(predicted[0], targets[1]) / 2 + negative_cosine(predicted[1], targets[0]) / 2
    torch.testing.assert_close(gradient, torch.autograd.grad(alone, list(method.encoder.parameters())))


def test_the_heads_are_the_papers() -> None:
    method = small(SimSiam, config=SimSiam.Config())
    linear = [layer for layer in method.projector.modules() if isinstance(layer, nn.Linear)]
    norms = [layer for layer in method.projector.modules() if isinstance(layer, nn.BatchNorm1d)]
    assert [layer.out_features for layer in linear] == [2048] * 3 and len(norms) == 3
    assert [norm.affine for norm in norms] == [True, True, False]  # also after the output, without a ReLU
    assert list(method.projector.children())[-1] is norms[-1]
    shapes = [
        (layer.in_features, layer.out_features) for layer in method.predictor.modules() if isinstance(layer, nn.Linear)
    ]
    assert shapes == [(2048, 512), (512, 2048)]


def test_gradients_and_eval() -> None:
    check_gradients_and_eval(SimSiam)


def test_the_default_recipe_is_the_papers() -> None:
    recipe = SimSiam.defaults
    assert (recipe.optimizer, recipe.lr, recipe.base_batch_size, recipe.momentum) == ("momentum", 0.05, 256, 0.9)
    assert (recipe.batch_size, recipe.epochs, recipe.weight_decay, recipe.warmup_epochs) == (512, 100, 1e-4, 0)
