"""Patches are cut where the grid says, and put together again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from view_samples import draw_of, picture

from sslzoo.views.keyed import Draw
from sslzoo.views.patches import Grid, assemble, cut, film_strip, puzzle_grid, random_squares, square_crop


def test_the_puzzle_of_the_paper() -> None:
    grid = puzzle_grid(224)
    assert grid == Grid(columns=3, size=64, pitch=75, play=11)
    assert grid.extent == 225 and grid.pitch - grid.size == 11  # the paper's mean gap


@pytest.mark.parametrize(("image_size", "tile_size"), [(32, 0), (64, 0), (96, 0), (224, 0), (64, 32), (64, 17), (8, 0)])
def test_tiles_of_a_puzzle_never_meet_and_never_leave_the_picture(image_size: int, tile_size: int) -> None:
    grid = puzzle_grid(image_size, tile_size)
    assert grid.size == (tile_size or round(image_size * 64 / 225))
    covered = torch.zeros(grid.extent, dtype=torch.int64)
    for column in range(3):
        start = int(grid.corners(torch.tensor(column))[1])
        covered[start : start + grid.size + grid.play] += 1  # all that a tile of this cell may cover
    assert covered.max() == 1 and covered.sum() == 3 * (grid.size + grid.play) <= grid.extent


def test_corners_are_numbered_by_rows() -> None:
    grid = Grid(columns=3, size=4, pitch=10, play=2)
    assert grid.extent == 26
    assert grid.corners(torch.tensor([[0, 1, 2], [3, 5, 8]])).tolist() == [
        [[0, 0], [0, 10], [0, 20]],
        [[10, 0], [10, 20], [20, 20]],
    ]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("planes", [1, 3])
def test_patches_are_the_slices_cut_by_hand(dtype: torch.dtype, planes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, 3, 20, 24), generator=generator).to(dtype)
    size = 6
    top = torch.randint(0, 20 - size + 1, (5, 4, planes), generator=generator)
    left = torch.randint(0, 24 - size + 1, (5, 4, planes), generator=generator)
    top[0], left[0] = 20 - size, 24 - size  # the last place there is
    patches = cut(images, torch.stack([top, left], dim=-1), size)
    assert patches.shape == (5, 4, 3, size, size) and patches.dtype == dtype
    for image in range(5):
        for patch in range(4):
            for channel in range(3):
                y = int(top[image, patch, channel % planes])
                x = int(left[image, patch, channel % planes])
                by_hand = images[image, channel, y : y + size, x : x + size]
                assert torch.equal(patches[image, patch, channel], by_hand)


def test_patches_do_not_share_memory_with_the_picture() -> None:
    images = torch.zeros(1, 1, 4, 4)
    cut(images, torch.zeros(1, 1, 1, 2, dtype=torch.int64), 4).fill_(1)
    assert images.sum() == 0


def test_assembled_patches_lie_in_rows_with_white_lines_between() -> None:
    patches = torch.rand(2, 6, 3, 4, 5, generator=torch.Generator().manual_seed(0)) / 2
    picture = assemble(patches, columns=3, gap=2)
    assert picture.shape == (2, 3, 2 * 4 + 2, 3 * 5 + 2 * 2)
    remaining = picture.clone()
    for patch in range(6):
        top, left = patch // 3 * 6, patch % 3 * 7
        assert torch.equal(picture[:, :, top : top + 4, left : left + 5], patches[:, patch])
        remaining[:, :, top : top + 4, left : left + 5] = 1
    assert (remaining == 1).all()


def test_cutting_and_assembling_gives_the_picture_back() -> None:
    grid = Grid(columns=3, size=8, pitch=10, play=0)
    picture = torch.rand(2, 3, grid.extent, grid.extent)
    picture[:, :, [8, 9, 18, 19]] = picture[:, :, :, [8, 9, 18, 19]] = 1
    patches = cut(picture, grid.corners(torch.arange(9).expand(2, 9))[:, :, None], 8)
    assert torch.equal(assemble(patches, columns=3), picture)


def test_squares_lie_inside_and_everywhere() -> None:
    sizes = torch.tensor([[40, 100]]).expand(4000, 2)
    top, left, height, width = random_squares(sizes, draw_of(4000), (0.5, 1.0)).unbind(1)
    assert torch.equal(height, width)
    assert height.min() == 20 and height.max() == 40 and abs(float(height.double().mean()) - 30) < 0.3
    assert top.min() == 0 and left.min() == 0 and (top + height).max() == 40 and (left + width).max() == 100
    # Where there is room, every place is as likely.
    room = (100 - width).double()
    assert abs(float((left / room).mean()) - 0.5) < 0.02
    assert (top[height == 40] == 0).all()


def test_a_share_that_is_fixed_gives_squares_of_one_size() -> None:
    sizes = torch.tensor([[256, 256], [512, 300], [1, 1]])
    boxes = random_squares(sizes, draw_of(3), (225 / 256, 225 / 256))
    assert boxes[:, 2].tolist() == [225, 264, 1]


def test_a_square_depends_on_its_own_key_and_size_alone() -> None:
    sizes, draw = torch.tensor([[30, 50], [60, 20], [44, 44]]), draw_of(3)
    together = random_squares(sizes, draw, (0.5, 1.0))
    for i in range(3):
        alone = random_squares(sizes[i : i + 1], Draw(draw.key[i : i + 1]), (0.5, 1.0))
        assert torch.equal(together[i : i + 1], alone)


def test_a_square_crop_is_the_square_resized_by_pil() -> None:
    images, draw = [picture(40 + i, 70 - i, seed=i) for i in range(4)], draw_of(4)
    crops = square_crop(images, 24, draw, (0.5, 0.9))
    boxes = random_squares(torch.tensor([[40 + i, 70 - i] for i in range(4)]), draw, (0.5, 0.9))
    for image, (top, left, side, _), crop in zip(images, boxes.tolist(), crops, strict=True):
        by_hand = image.crop((left, top, left + side, top + side)).resize((24, 24), Image.Resampling.BILINEAR)
        assert (crop.permute(1, 2, 0).numpy() == np.asarray(by_hand)).all()


@pytest.mark.parametrize(("frames", "shown"), [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (16, [0, 5, 10, 15])])
def test_a_film_strip_is_some_frames_from_the_first_to_the_last(frames: int, shown: list[int]) -> None:
    clip = torch.arange(frames)[None, :, None, None, None].expand(1, frames, 3, 4, 5) / 100
    strip = film_strip(clip)
    assert strip.shape == (1, 3, 4, 7 * len(shown) - 2)
    assert torch.equal(strip[0, 0, 0, ::7], torch.tensor(shown) / 100)
