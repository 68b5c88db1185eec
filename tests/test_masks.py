"""Masks are where they should be, as large as they should be, and functions of the key."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from view_samples import draw_of

from sslzoo.views.keyed import Draw
from sslzoo.views.masks import block_mask, center_mask, patch_chances, patch_order, pixel_mask, region_mask

DRAWN = {
    "blocks": lambda draw, size: block_mask(draw, size, 6, 0.25),
    "region": lambda draw, size: region_mask(draw, size, 0.25),
    "pixels": lambda draw, size: pixel_mask(draw, size, 0.25),
}


def rows_of(mask: Tensor) -> list[str]:
    return ["".join(".#"[int(pixel)] for pixel in row) for row in mask]


def test_the_center_is_half_the_height_and_half_the_width() -> None:
    assert rows_of(center_mask((4, 8))[0, 0]) == ["........", "..####..", "..####..", "........"]


def test_a_margin_makes_the_center_smaller_on_all_sides() -> None:
    mask = center_mask((8, 8), margin=1)[0, 0]
    assert rows_of(mask) == ["........"] * 3 + ["...##..."] * 2 + ["........"] * 3


def test_one_block_is_a_rectangle_that_may_be_anywhere() -> None:
    masks = block_mask(draw_of(3000), (8, 12), 1, 0.25)[:, 0]
    corners = set()
    for mask in masks:
        rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
        assert (len(rows), len(columns)) == (4, 6) and int(mask.sum()) == 24
        corners.add((int(rows[0]), int(columns[0])))
    assert corners == {(top, left) for top in range(5) for left in range(7)}


def test_blocks_are_the_union_of_their_rectangles() -> None:
    draw = draw_of(20)
    top, left = draw.integers("block top", 16 - 3 + 1, (4,)), draw.integers("block left", 16 - 3 + 1, (4,))
    expected = np.zeros((20, 1, 16, 16), dtype=bool)
    for sample in range(20):
        for block in range(4):
            row, column = int(top[sample, block]), int(left[sample, block])
            expected[sample, 0, row : row + 3, column : column + 3] = True
    made = block_mask(draw, (16, 16), 4, 4 * 3 * 3 / 256)
    np.testing.assert_array_equal(made.numpy(), expected)
    assert made.float().mean(dim=(1, 2, 3)).max() <= 4 * 9 / 256


@pytest.mark.parametrize("kind", ["region", "pixels"])
@pytest.mark.parametrize("size", [(64, 64), (30, 50), (4, 4)])
def test_exactly_a_quarter_of_the_pixels_is_missing(kind: str, size: tuple[int, int]) -> None:
    masks = DRAWN[kind](draw_of(50), size)
    assert masks.shape == (50, 1, *size) and masks.dtype == torch.bool
    assert (masks.sum(dim=(1, 2, 3)) == round(0.25 * size[0] * size[1])).all()


@pytest.mark.parametrize("kind", ["region", "pixels"])
def test_every_pixel_is_missing_as_often_as_any_other(kind: str) -> None:
    often = DRAWN[kind](draw_of(8000), (32, 32)).float().mean(dim=0)
    assert (often - 0.25).abs().max() < 0.035  # chance alone reaches 0.02


def test_regions_are_connected_shapes_and_pixels_are_not() -> None:
    edges = {}
    for kind in ("region", "pixels"):
        mask = DRAWN[kind](draw_of(200), (64, 64))
        edges[kind] = float((mask[..., 1:] != mask[..., :-1]).float().mean())
    assert edges["pixels"] == pytest.approx(2 * 0.25 * 0.75, abs=0.01)
    assert edges["region"] < 0.12


def test_regions_do_not_keep_to_a_grid() -> None:
    """The places where a row's regions begin are as often at one column as at any other."""
    mask = region_mask(draw_of(3000), (64, 64), 0.25)
    begins = (mask[..., 1:] & ~mask[..., :-1]).float().mean(dim=(0, 1, 2))
    assert begins.max() < 1.25 * begins.mean() and begins.min() > 0.75 * begins.mean()


@pytest.mark.parametrize("kind", DRAWN)
def test_a_mask_is_a_function_of_its_samples_key(kind: str) -> None:
    draw = draw_of(6)
    together = DRAWN[kind](draw, (32, 32))
    alone = torch.cat([DRAWN[kind](Draw(key), (32, 32)) for key in draw.key.split(1)])
    assert torch.equal(together, alone)
    assert len({tuple(mask.flatten().tolist()) for mask in together}) == 6


def test_no_share_is_no_mask() -> None:
    assert not pixel_mask(draw_of(3), (8, 8), 0.0).any()


def test_an_order_holds_every_patch_once_and_puts_any_of_them_first() -> None:
    order = patch_order(patch_chances(draw_of(6000), (32, 32)), 16)
    assert torch.equal(order.sort(dim=1).values, torch.arange(16).expand(6000, 16))
    visible = torch.zeros(6000, 16).scatter_(1, order[:, :4], 1.0)
    assert (visible.mean(dim=0) - 0.25).abs().max() < 0.03
    together = (visible.T @ visible / 6000)[~torch.eye(16, dtype=torch.bool)]
    assert (together - 4 * 3 / (16 * 15)).abs().max() < 0.015  # no two patches are seen together more often


def test_there_are_chances_for_patches_of_two_pixels() -> None:
    assert patch_chances(draw_of(2), (32, 48)).shape == (2, 16 * 24)
