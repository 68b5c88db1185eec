"""Jigsaw puzzles are the paper's."""

from __future__ import annotations

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
from sslzoo_plugins.context.jigsaw import Jigsaw, JigsawConfig, ShuffledTiles, equalize
from torch import Tensor
from view_samples import draw_of

from sslzoo.encoders import InputSpec
from sslzoo.method import Batch
from sslzoo.nn.permutations import distant_permutations

CONFIG = JigsawConfig(permutations=20, tile_dim=8, hidden_dim=16)


def numbered(views: ShuffledTiles, count: int) -> Tensor:
    """Pictures in which the nth cell has the colour (20 n, 20 n + 5, 20 n + 10)."""
    place = torch.arange(views.grid.extent) // views.grid.pitch
    cell = 3 * place.clamp(max=2)[:, None] + place.clamp(max=2)
    return (20 * cell + torch.tensor([0, 5, 10])[:, None, None]).to(torch.uint8).expand(count, 3, -1, -1).clone()


def augmented(config: JigsawConfig, count: int) -> tuple[ShuffledTiles, Batch]:
    views = ShuffledTiles(config, InputSpec.square(64))
    return views, views.augment({"image": numbered(views, count), "key": draw_of(count).key})


def test_tiles_are_shown_in_the_order_of_the_target() -> None:
    views, batch = augmented(JigsawConfig(permutations=50, grey=0.0), 300)
    cells = (batch["mean"][:, :, 0, 0, 0] * 255 / 20).round().long()
    assert torch.equal(cells, distant_permutations(50, 9)[batch["target"]])
    assert (batch["target"].bincount(minlength=50) > 0).all()
    assert len(batch["views"]) == 9 and batch["views"][0].shape == (300, 3, 18, 18)


def test_no_plane_of_a_tile_leaves_its_cell() -> None:
    _, batch = augmented(JigsawConfig(permutations=50, grey=0.0), 300)
    assert all(view.abs().max() < 1e-3 for view in batch["views"])  # flat: a pixel of a neighbour would stand out
    colors = batch["mean"][..., 0, 0] * 255
    torch.testing.assert_close(
        colors - colors[:, :, :1], torch.tensor([0.0, 5, 10]).expand(300, 9, 3), rtol=0, atol=1e-3
    )


def test_planes_move_against_each_other_unless_the_picture_is_grey() -> None:
    config = JigsawConfig(permutations=50, tile_size=64)
    views = ShuffledTiles(config, InputSpec.square(64))
    ramp = torch.arange(views.grid.extent, dtype=torch.float32)
    places = (ramp[:, None] * 0.5 + ramp * 0.1).to(torch.uint8)  # no colour: any difference of planes is of place
    image = places.expand(200, 3, -1, -1).clone()
    batch = views.augment({"image": image, "key": draw_of(200).key})
    same = (batch["mean"] - batch["mean"][:, :, :1]).abs().flatten(1).amax(dim=1) < 1e-6
    assert views.shift == 2
    assert abs(float(same.float().mean()) - 0.3) < 0.1
    # The means of two planes that are 4 rows apart, the most there can be, differ by two levels, and 4 columns by 0.4.
    apart = (batch["mean"] - batch["mean"][:, :, :1]).abs().max() * 255
    assert 1.9 < apart < 2.5


def test_tiles_lie_anywhere_in_their_cells() -> None:
    views = ShuffledTiles(JigsawConfig(permutations=1, grey=1.0, tile_size=32), InputSpec.square(64))
    grid = views.grid
    rows = torch.arange(grid.extent, dtype=torch.uint8)[:, None].expand(grid.extent, grid.extent)
    batch = views.augment({"image": rows.expand(300, 3, -1, -1).clone(), "key": draw_of(300).key})
    top = (batch["mean"][:, :, 0, 0, 0] * 255 - 15.5).round().long()  # the mean of 32 rows is 15.5 below the first
    within = top - distant_permutations(1, 9)[0] // 3 * grid.pitch
    assert torch.equal(within.unique(), torch.arange(7)) and grid.play == 6
    assert (within.flatten().bincount().double() / within.numel() - 1 / 7).abs().max() < 0.03


def test_each_channel_of_each_tile_has_mean_zero_and_deviation_one() -> None:
    tiles = torch.rand(2, 9, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    tiles[0, 0] = 0.7
    made, mean, std = equalize(tiles)
    pixels = tiles.numpy()
    by_hand = (pixels - pixels.mean((3, 4), keepdims=True)) / np.maximum(pixels.std((3, 4), keepdims=True), 1 / 255)
    np.testing.assert_allclose(made.numpy(), by_hand, atol=1e-4)
    assert made[0, 0].abs().max() < 1e-4
    torch.testing.assert_close(made * std + mean, tiles)


def test_a_share_of_the_pictures_is_grey() -> None:
    batch = augmented(JigsawConfig(permutations=5, grey=0.3), 500)[1]
    grey = (batch["mean"].amax(dim=2) - batch["mean"].amin(dim=2)).flatten(1).amax(dim=1) < 1e-5
    assert abs(float(grey.float().mean()) - 0.3) < 0.07
    colored = batch["mean"][grey][:, :, 0, 0, 0] * 255 % 20  # luma of (0, 5, 10)
    torch.testing.assert_close(colored, torch.full_like(colored, 0.587 * 5 + 0.114 * 10), rtol=0, atol=0.05)


def test_views_depend_on_picture_and_key_alone() -> None:
    check_views_depend_on_picture_and_key_alone(Jigsaw, CONFIG)


def test_every_epoch_asks_for_another_order() -> None:
    views = ShuffledTiles(JigsawConfig(permutations=100), InputSpec.square(32))
    key = draw_of(1).at("epoch")
    targets = [
        int(views.augment({"image": numbered(views, 1), "key": key.at(epoch).key})["target"]) for epoch in range(20)
    ]
    assert len(set(targets)) > 15


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_loss_is_the_cross_entropy_of_the_order_given_nine_tiles(encoder: str) -> None:
    method = built(Jigsaw, CONFIG, encoder).eval()
    batch = batch_of(Jigsaw, CONFIG)
    total, right = 0.0, 0
    with torch.no_grad():
        losses = method(batch)
        for sample in range(4):
            known = []
            for view in batch["views"]:
                tile = view[sample : sample + 1]
                if encoder == "test_vit":
                    tile = torch.nn.functional.interpolate(tile, (32, 32), mode="bilinear")
                known.append(method.tile(method.encoder(tile))[0])
            logits = method.head(torch.cat(known))
            total += float(logits.logsumexp(0) - logits[batch["target"][sample]])
            right += int(logits.argmax() == batch["target"][sample])
    assert math.isclose(float(losses["loss"]), total / 4, rel_tol=1e-5)
    assert math.isclose(float(losses["accuracy"]), right / 4, rel_tol=1e-6)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(Jigsaw, CONFIG, encoder) == []


def test_pictures_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(Jigsaw, CONFIG)


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(Jigsaw, CONFIG) == []


def test_puzzles_of_numbered_cells_are_soon_solved() -> None:
    config = JigsawConfig(permutations=6, tile_dim=16, hidden_dim=32)
    method = built(Jigsaw, config)
    views = ShuffledTiles(config, InputSpec.square(32))
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    # Each tile is alike in mean and contrast, so the cell's number is written as stripes.
    stripes = torch.arange(views.grid.extent)
    cell = (stripes // views.grid.pitch).clamp(max=2)
    wave = 127 + 120 * torch.sin(stripes * (0.4 + 0.8 * cell))
    image = ((wave[:, None] + wave) / 2).to(torch.uint8).expand(32, 3, -1, -1)
    for step in range(30):
        loss = method(views.augment({"image": image.clone(), "key": draw_of(32, seed=step).key}))
        loss["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss["accuracy"] > 0.9


def test_the_default_recipe_is_the_authors_solver() -> None:
    recipe = Jigsaw.defaults
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("momentum", 0.01, 0.9, 5e-4)
    steps = recipe.epochs * 1_281_167 / recipe.batch_size
    assert steps == pytest.approx(350_000, rel=0.01)
    assert [share * steps for share in recipe.milestones] == pytest.approx([100_000, 200_000, 300_000], rel=0.01)


def test_illustrations_put_every_tile_where_the_predicted_order_has_it() -> None:
    method = built(Jigsaw, CONFIG, size=64).eval()
    batch = batch_of(Jigsaw, CONFIG, size=64)
    with torch.no_grad():
        shown, solved = method.illustrate(batch).values()
        predicted = distant_permutations(20, 9)[method.logits(batch).argmax(1)]
    size = batch["views"][0].shape[-1]
    assert shown.shape == solved.shape == (4, 3, 3 * size + 4, 3 * size + 4)
    assert shown.min() >= 0 and shown.max() <= 1

    def tile(picture: Tensor, cell: int) -> Tensor:
        top, left = cell // 3 * (size + 2), cell % 3 * (size + 2)
        return picture[:, top : top + size, left : left + size]

    for sample in range(4):
        for place in range(9):
            undone = batch["views"][place][sample] * batch["std"][sample, place] + batch["mean"][sample, place]
            torch.testing.assert_close(tile(shown[sample], place), undone.clamp(0, 1))
            assert torch.equal(tile(solved[sample], int(predicted[sample, place])), tile(shown[sample], place))
