"""SwAV is the paper's: equal assignments to prototypes, predicted from the other views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clustering_methods import SMALL, FakeRun, check_gradients_and_eval, end_step, some_batch, started
from sslzoo_plugins.context.swav import SwAV, codes
from torch import Tensor

from sslzoo.nn.multi_crop import cross_view_entropy, encode_crops
from sslzoo.nn.prototypes import Prototypes

WITHOUT_QUEUE = replace(SMALL[SwAV], queue_length=0)


def cosines(views: int = 12, prototypes: int = 5) -> Tensor:
    return torch.rand(views, prototypes, generator=torch.Generator().manual_seed(0)) * 2 - 1


def projected(method: SwAV, views: list[Tensor]) -> Tensor:
    """(B, V, dim) as ``forward`` has them: one pass of the projector."""
    features = encode_crops(method.encoder, views)
    return method.projector(features.flatten(0, 1)).unflatten(0, features.shape[:2])


def test_codes_are_listing_1_of_the_paper() -> None:
    q = np.exp(cosines().double().numpy() / 0.05).T
    q /= q.sum()
    prototypes, views = q.shape
    for _ in range(3):
        q *= (1 / prototypes / q.sum(1))[:, None]
        q *= (1 / views / q.sum(0))[None]
    np.testing.assert_allclose(codes(cosines(), 0.05, 3).numpy(), (q / q.sum(0)).T, rtol=1e-3, atol=1e-6)


def test_codes_are_distributions_in_equal_parts() -> None:
    assigned = codes(cosines(), 0.05, 50)
    torch.testing.assert_close(assigned.sum(1), torch.ones(12))
    torch.testing.assert_close(assigned.sum(0), torch.full((5,), 12 / 5), rtol=1e-3, atol=1e-3)
    equal = codes(torch.zeros(12, 5), 0.05, 3)
    torch.testing.assert_close(equal, torch.full((12, 5), 1 / 5))


def test_all_views_predict_the_codes_of_the_large_ones() -> None:
    method, batch = started(SwAV, WITHOUT_QUEUE).eval(), some_batch(SwAV)
    with torch.no_grad():
        scores = method.prototypes(projected(method, batch["views"]))
        by_hand = []
        for target in range(2):
            q = codes(scores[:, target], 0.05, 3)
            for view in {0, 1, 2, 3} - {target}:
                by_hand.append(-(q * F.log_softmax(scores[:, view] / 0.1, dim=1)).sum(1).mean())
        torch.testing.assert_close(method(dict(batch))["loss"], torch.stack(by_hand).mean())


def test_scores_are_cosines() -> None:
    prototypes = Prototypes(4, 3)
    features = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = F.cosine_similarity(features[:, :, None], prototypes.weight[None, None], dim=-1)
    torch.testing.assert_close(prototypes(features), expected)


def test_prototypes_come_back_to_the_sphere_after_each_step() -> None:
    method = started(SwAV, replace(WITHOUT_QUEUE, freeze_epochs=0))
    method(some_batch(SwAV))
    with torch.no_grad():
        method.prototypes.weight.mul_(torch.arange(1.0, 6.0)[:, None]).add_(0.1)
        expected = F.normalize(method.prototypes.weight, dim=1)
    end_step(method, step=1)
    torch.testing.assert_close(method.prototypes.weight, expected)


def test_prototypes_stand_still_in_the_first_epoch() -> None:
    method = started(SwAV)
    at_first = method.prototypes.weight.detach().clone()
    for step in (1, 2, 3):
        method(some_batch(SwAV))
        with torch.no_grad():
            method.prototypes.weight.add_(1.0)  # the optimizer
        run = end_step(method, step)
        moved = not torch.allclose(method.prototypes.weight, at_first, atol=1e-6)
        assert moved == (step == 3) and (run.forgotten == [method.prototypes]) == (step < 3)


def test_older_projections_join_the_assignment() -> None:
    method, batch = started(SwAV, step=2).train(), some_batch(SwAV)  # the second epoch uses the queue
    assert method.queue_is_used
    rows = method.queue.rows.clone()
    with torch.no_grad():
        projections = projected(method, batch["views"])
        scores = method.prototypes(projections)
        expected = []
        for view in range(2):
            older = method.prototypes(rows.unflatten(1, (2, 8))[:, view])
            expected.append(codes(torch.cat([older, scores[:, view]]), 0.05, 3)[12:])
        loss = cross_view_entropy(torch.stack(expected, 1), scores / 0.1)
    torch.testing.assert_close(method(dict(batch))["loss"].detach(), loss, rtol=1e-4, atol=1e-5)
    assert torch.equal(method.queue.rows, rows)
    end_step(method)
    large = F.normalize(projections[:, :2], dim=-1).flatten(1)
    torch.testing.assert_close(method.queue.rows[:8], large, rtol=1e-4, atol=1e-4)
    assert torch.equal(method.queue.rows[8:], rows[8:])


def test_the_queue_is_used_from_its_epoch_on() -> None:
    method = started(SwAV, replace(SMALL[SwAV], queue_start_epoch=2))
    used = []
    for epoch in range(4):
        method.on_epoch_start(FakeRun(step=2 * epoch))
        used.append(bool(method.queue_is_used))
    assert used == [False, False, True, True]


def test_gradients_and_eval() -> None:
    check_gradients_and_eval(SwAV)


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = SwAV.defaults, SwAV.Config()
    assert (recipe.optimizer, recipe.weight_decay) == ("lars", 1e-6)
    assert recipe.lr * 4096 / recipe.base_batch_size == pytest.approx(4.8)
    assert (recipe.batch_size, recipe.epochs, recipe.warmup_epochs, recipe.schedule) == (4096, 800, 10, "cosine")
    assert (config.prototypes, config.projection_dim, config.queue_length, config.local_crops) == (3000, 128, 0, 6)
    assert (config.temperature, config.epsilon, config.sinkhorn_iterations) == (0.1, 0.05, 3)
