"""DeepPermNet is the paper's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from method_samples import (
    batch_of,
    built,
    changed_by_held_out_scores,
    check_any_number_of_channels,
    check_views_depend_on_picture_and_key_alone,
    without_gradient,
)
from sslzoo_plugins.context.deep_permnet import DeepPermNet, DeepPermNetConfig, PermutedTiles, likeliest
from view_samples import draw_of

from sslzoo.encoders import InputSpec
from sslzoo.nn.sinkhorn import log_sinkhorn

CONFIG = DeepPermNetConfig(tile_dim=8, hidden_dim=16)


def test_order_says_from_which_cell_each_tile_was_cut() -> None:
    views = PermutedTiles(CONFIG, InputSpec.square(64))
    place = torch.arange(views.grid.extent) // views.grid.pitch
    cell = (3 * place[:, None] + place).to(torch.uint8)
    batch = views.augment({"image": cell.expand(200, 3, -1, -1).clone(), "key": draw_of(200).key})
    tiles = torch.stack(batch["views"], dim=1)[:, :, 0] * 0.229 + 0.485  # of ImageNet's red
    assert torch.equal((tiles * 255).round().long(), batch["order"][:, :, None, None].expand(-1, -1, 18, 18))


def test_all_cells_are_equally_likely_in_all_places() -> None:
    order = PermutedTiles(CONFIG, InputSpec.square(32)).augment(
        {"image": torch.zeros(3600, 3, 33, 33, dtype=torch.uint8), "key": draw_of(3600).key}
    )["order"]
    assert torch.equal(order.sort(dim=1).values, torch.arange(9).expand(3600, 9))
    counts = torch.stack([place.bincount(minlength=9) for place in order.T]).double()
    assert float(((counts - 400) ** 2 / 400).sum()) < 64 + 5 * (2 * 64) ** 0.5  # chi-square of 64 free counts
    assert len(order.unique(dim=0)) > 3550


def test_views_depend_on_picture_and_key_alone() -> None:
    check_views_depend_on_picture_and_key_alone(DeepPermNet, CONFIG)


@pytest.mark.parametrize("iterations", [1, 4])
def test_the_loss_is_the_cross_entropy_with_the_permutation_matrix(iterations: int) -> None:
    config = DeepPermNetConfig(tile_dim=8, hidden_dim=16, iterations=iterations)
    method = built(DeepPermNet, config).eval()
    batch = batch_of(DeepPermNet, config)
    total, right = 0.0, 0
    with torch.no_grad():
        losses = method(batch)
        for sample in range(4):
            known = [method.tile(method.encoder(view[sample : sample + 1]))[0] for view in batch["views"]]
            matrix = np.exp(method.head(torch.cat(known)).reshape(9, 9).double().numpy())
            for _ in range(iterations):
                matrix = matrix / matrix.sum(axis=1, keepdims=True)
                matrix = matrix / matrix.sum(axis=0, keepdims=True)
            truth = np.eye(9)[batch["order"][sample]]
            total -= (truth * np.log(matrix)).sum()
            right += (matrix.argmax(axis=1) == truth.argmax(axis=1)).sum()
    assert math.isclose(float(losses["loss"]), total / 4, rel_tol=1e-5)
    assert math.isclose(float(losses["accuracy"]), right / 36, rel_tol=1e-6)


def test_knowing_nothing_costs_nine_times_the_logarithm_of_nine() -> None:
    method = built(DeepPermNet, CONFIG).eval()
    torch.nn.init.zeros_(method.head[-1].weight)
    torch.nn.init.zeros_(method.head[-1].bias)
    with torch.no_grad():
        assert float(method(batch_of(DeepPermNet, CONFIG))["loss"]) == pytest.approx(9 * math.log(9))


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(DeepPermNet, CONFIG, encoder) == []


def test_pictures_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(DeepPermNet, CONFIG)


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(DeepPermNet, CONFIG) == []


def test_the_likeliest_permutation_is_found_where_rows_disagree() -> None:
    # Both first rows want the first column; the second gives way, because it loses less.
    scores = torch.tensor([[[0.0, -9.0, -9.0], [0.0, -1.0, -9.0], [-9.0, -9.0, 0.0]]])
    assert likeliest(scores).tolist() == [[0, 1, 2]]
    scores = log_sinkhorn(torch.randn(20, 5, 5, generator=torch.Generator().manual_seed(0)), 3)
    for matrix, found in zip(scores, likeliest(scores), strict=True):
        sums = {
            order: sum(float(matrix[i, j]) for i, j in enumerate(order)) for order in itertools.permutations(range(5))
        }
        assert sums[tuple(found.tolist())] == pytest.approx(max(sums.values()))


def test_the_default_recipe_is_the_authors_solver() -> None:
    recipe = DeepPermNet.defaults
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("momentum", 0.001, 0.9, 5e-4)
    steps = recipe.epochs * 1_281_167 / recipe.batch_size
    assert steps == pytest.approx(400_000, rel=0.01)
    assert [share * steps for share in recipe.milestones] == pytest.approx([150_000, 300_000], rel=0.01)


def test_illustrations_put_every_tile_where_the_likeliest_permutation_has_it() -> None:
    method = built(DeepPermNet, CONFIG, size=64).eval()
    batch = batch_of(DeepPermNet, CONFIG, size=64)
    with torch.no_grad():
        shown, solved = method.illustrate(batch).values()
        predicted = likeliest(method.log_matrix(batch))
    size = batch["views"][0].shape[-1]
    assert shown.shape == solved.shape == (4, 3, 3 * size + 4, 3 * size + 4)
    assert shown.min() >= 0 and shown.max() <= 1
    for sample in range(4):
        for place, cell in enumerate(predicted[sample].tolist()):
            top, left = place // 3 * (size + 2), place % 3 * (size + 2)
            tile = shown[sample, :, top : top + size, left : left + size]
            mean, std = (torch.tensor(v)[:, None, None] for v in (InputSpec.square(64).mean, InputSpec.square(64).std))
            torch.testing.assert_close(tile, batch["views"][place][sample] * std + mean, rtol=0, atol=1e-5)
            top, left = cell // 3 * (size + 2), cell % 3 * (size + 2)
            assert torch.equal(solved[sample, :, top : top + size, left : left + size], tile)
