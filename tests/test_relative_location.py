"""Context prediction is the paper's."""

from __future__ import annotations

import math
from collections import Counter

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
from sslzoo_plugins.context.relative_location import (
    NEIGHBOURS,
    PAIRS,
    PatchGrid,
    RelativeLocation,
    RelativeLocationConfig,
    coarsen_,
    drop_colors,
    equalize,
)
from torch import Tensor
from view_samples import draw_of

from sslzoo.encoders import InputSpec

CONFIG = RelativeLocationConfig(hidden_dim=32)


def some_patches(count: int = 4, size: int = 24) -> Tensor:
    return torch.rand(count, 9, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_the_grid_at_the_papers_size_is_the_papers() -> None:
    grid = PatchGrid(CONFIG, InputSpec.square(224)).grid
    assert (grid.size, grid.pitch - grid.size, grid.play) == (96, 48, 2 * 7)
    assert grid.extent == 3 * 96 + 2 * 48 + 2 * 7


@pytest.mark.parametrize(("image_size", "patch_size"), [(32, 0), (64, 0), (64, 16), (96, 33)])
def test_at_any_size_there_is_a_gap_of_half_a_patch(image_size: int, patch_size: int) -> None:
    config = RelativeLocationConfig(patch_size=patch_size)
    grid = PatchGrid(config, InputSpec.square(image_size)).grid
    assert grid.size == (patch_size or round(image_size * 96 / 224))
    assert grid.pitch - grid.size == grid.size // 2
    assert grid.pitch - grid.size - grid.play > 0  # even if both move towards each other


def test_pairs_are_all_neighbours_of_the_grid_with_the_authors_labels() -> None:
    expected = {}
    for y in range(3):  # the authors' pos2lbl: 1 2 3 above, 4 and 5 beside, 6 7 8 below; here from 0
        for x in range(3):
            for label, (dy, dx) in enumerate([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]):
                if 0 <= y + dy < 3 and 0 <= x + dx < 3:
                    expected[3 * y + x, 3 * (y + dy) + x + dx] = label
    assert {(first, second): label for first, second, label in PAIRS} == expected
    assert len(PAIRS) == 40
    # Opposite labels are as frequent; of the middle patch's pairs each label is one.
    assert Counter(label for _, _, label in PAIRS) == {0: 4, 1: 6, 2: 4, 3: 6, 4: 6, 5: 4, 6: 6, 7: 4}
    assert sorted(label for first, _, label in PAIRS if first == 4) == list(range(8))


def test_patches_lie_where_the_grid_has_them_give_or_take_their_jitter() -> None:
    views = PatchGrid(RelativeLocationConfig(coarse=0.0), InputSpec.square(64))
    grid = views.grid
    # Every pixel says where it is, the row in steps of 16 levels and the column in single ones, in all channels alike.
    place = torch.arange(grid.extent)
    image = ((place[:, None] // 8) * 16 + place[None] // 8).to(torch.uint8).expand(200, 3, -1, -1)
    key = draw_of(200).key
    seen = torch.stack(views.augment({"image": image.clone(), "key": key})["views"], dim=1)
    offsets = set()
    for sample in range(40):
        for cell in range(9):
            found = [
                (dy, dx)
                for dy in range(grid.play + 1)
                for dx in range(grid.play + 1)
                if same_but_for_scale(seen[sample, cell], patch_at(image[sample], grid, cell, dy, dx))
            ]
            assert found, (sample, cell)
            offsets |= set(found)
    assert len(offsets) > (grid.play + 1) ** 2 / 2


def patch_at(image: Tensor, grid, cell: int, dy: int, dx: int) -> Tensor:  # type: ignore[no-untyped-def]
    top, left = cell // 3 * grid.pitch + dy, cell % 3 * grid.pitch + dx
    return image[0, top : top + grid.size, left : left + grid.size].float()


def same_but_for_scale(seen: Tensor, patch: Tensor) -> bool:
    """Whether the sum over channels, which is the kept one and a little noise, is the patch."""
    both = torch.stack([seen.sum(0).flatten(), patch.flatten()])
    return float(torch.corrcoef(both)[0, 1]) > 0.999


def test_one_channel_is_kept_and_the_others_are_noise_of_one_grey_level() -> None:
    patches = some_patches()
    dropped = drop_colors(patches, draw_of(4))
    kept = []
    for mine, theirs in zip(dropped.flatten(0, 1), patches.flatten(0, 1), strict=True):
        same = [torch.allclose(mine[c], theirs[c] - theirs[c].mean(), atol=1e-6) for c in range(3)]
        assert sum(same) == 1
        noise = mine[[not kept for kept in same]]
        assert noise.abs().max() <= 0.5 / 255 and abs(float(noise.std()) - 1 / 255 / math.sqrt(12)) < 2e-4
        kept.append(same.index(True))
    assert set(kept[:9]) == set(kept[9:18]) == {0, 1, 2}, "each patch keeps a channel of its own"


def test_a_grey_picture_has_no_colours_to_drop() -> None:
    patches = some_patches()[:, :, :1]
    torch.testing.assert_close(drop_colors(patches, draw_of(4)), patches - patches.mean((-1, -2), keepdim=True))


def test_patches_have_one_contrast_and_empty_ones_stay_empty() -> None:
    patches = some_patches() - 0.5
    patches[0, 0] = 0
    made = equalize(patches).numpy()
    by_hand = (
        patches.numpy()
        / np.maximum(np.sqrt((patches.numpy() ** 2).mean(axis=(2, 3, 4))), 1 / 255)[..., None, None, None]
    )
    np.testing.assert_allclose(made, by_hand, rtol=1e-5)
    np.testing.assert_allclose((made[1:] ** 2).mean(axis=(2, 3, 4)), 1, rtol=1e-5)
    assert (made[0, 0] == 0).all()


def test_a_third_of_the_patches_lose_their_detail_and_the_others_nothing() -> None:
    patches = some_patches(count=60)
    before = patches.clone()
    coarsen_(patches, draw_of(60), 1 / 3)
    changed = (patches != before).flatten(2).any(dim=2)
    assert abs(float(changed.float().mean()) - 1 / 3) < 0.06
    # What is left are averages: noise gets smoother by as much as pixels were lost, a flat patch is what it was.
    spread = (patches.flatten(2).std(dim=2) / before.flatten(2).std(dim=2))[changed]
    assert spread.max() < 0.95 and spread.min() < 0.35
    flat = torch.full((60, 9, 3, 24, 24), 0.3)
    coarsen_(flat, draw_of(60), 1.0)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.3))


def test_views_depend_on_picture_and_key_alone() -> None:
    check_views_depend_on_picture_and_key_alone(RelativeLocation, CONFIG, size=64)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_loss_is_the_mean_over_all_pairs_of_all_pictures(encoder: str) -> None:
    method = built(RelativeLocation, CONFIG, encoder).eval()
    batch = batch_of(RelativeLocation, CONFIG)
    total, right, size = 0.0, 0, batch["views"][0].shape[-1]
    with torch.no_grad():
        losses = method(batch)
        for sample in range(4):
            patches = [view[sample : sample + 1] for view in batch["views"]]
            if encoder == "test_vit":
                assert size < 32
                patches = [torch.nn.functional.interpolate(p, (32, 32), mode="bilinear") for p in patches]
            features = [method.encoder(patch)[0] for patch in patches]
            for first in range(9):
                for second in range(9):
                    offset = (second // 3 - first // 3, second % 3 - first % 3)
                    if offset in NEIGHBOURS:
                        logits = method.head(torch.cat([features[first], features[second]]))
                        label = NEIGHBOURS.index(offset)
                        total += float(logits.logsumexp(0) - logits[label])
                        right += int(logits.argmax() == label)
    assert math.isclose(float(losses["loss"]), total / 160, rel_tol=1e-5)
    assert math.isclose(float(losses["accuracy"]), right / 160, rel_tol=1e-6)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(RelativeLocation, CONFIG, encoder) == []


def test_pictures_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(RelativeLocation, CONFIG)


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(RelativeLocation, CONFIG) == []


def test_illustrations_move_one_neighbour_to_where_it_is_predicted() -> None:
    method = built(RelativeLocation, CONFIG, size=64).eval()
    batch = batch_of(RelativeLocation, CONFIG, size=64, count=9)
    with torch.no_grad():
        lying, predicted = method.illustrate(batch).values()
        logits = method.logits(batch)
    size = batch["views"][0].shape[-1]
    assert lying.shape == predicted.shape == (9, 3, 3 * size + 4, 3 * size + 4)
    assert lying.min() >= 0 and lying.max() <= 1
    around = [pair for pair, (first, _, _) in enumerate(PAIRS) if first == 4]
    for sample in range(9):
        truth = sample % 8
        answer = int(logits[sample, around[truth]].argmax())
        cells = []
        for shown, label in ((lying, truth), (predicted, answer)):
            row, column = 1 + NEIGHBOURS[label][0], 1 + NEIGHBOURS[label][1]
            tiles = shown[sample].unfold(1, size, size + 2).unfold(2, size, size + 2)
            assert {(int(y), int(x)) for y, x in (tiles != 1).any(dim=-1).any(dim=-1).any(dim=0).nonzero()} == {
                (1, 1),
                (row, column),
            }
            cells.append(tiles[:, row, column])
        assert torch.equal(*cells)
