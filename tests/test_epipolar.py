"""What moves by itself is told from what the camera makes move, by flow alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_samples import SHIFT, SIDE, SQUARE, TURN, camera_flow, relief
from view_samples import draw_of

from sslzoo.views.epipolar import off_epipolar, sampson


def test_what_stands_still_is_on_its_line_at_any_depth_and_what_moves_is_not() -> None:
    flow = torch.stack([camera_flow(relief(seed)) for seed in range(4)])
    assert flow.norm(dim=1).min() > 0.3  # nothing looks as if it stood still
    assert off_epipolar(flow, draw_of(4)).max() < 1e-3
    flow[:, :, *SQUARE] += torch.tensor([1.0, 1.5])[:, None, None]
    off = off_epipolar(flow, draw_of(4))
    square = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    square[SQUARE] = True
    assert off[:, ~square].max() < 1e-3
    assert off[:, square].min() > 0.2


def test_a_little_noise_in_the_flow_makes_little_of_a_distance() -> None:
    flow = camera_flow(relief())[None]
    flow[:, :, *SQUARE] += 2
    noise = 0.02 * torch.randn(flow.shape, generator=torch.Generator().manual_seed(0))
    off = off_epipolar(flow + noise, draw_of(1))[0]
    square = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    square[SQUARE] = True
    assert off[~square].quantile(0.99) < 0.15 < off[square].quantile(0.1)


@pytest.mark.parametrize(("turn", "shift"), [(TURN, torch.zeros(3)), (torch.eye(3), SHIFT), (torch.eye(3), -SHIFT)])
def test_a_camera_that_only_turns_or_only_travels_explains_what_stands_still_too(
    turn: torch.Tensor, shift: torch.Tensor
) -> None:
    assert off_epipolar(camera_flow(relief(), turn, shift)[None], draw_of(1)).max() < 1e-3


def test_of_a_camera_that_stands_still_the_flow_tells_all() -> None:
    flow = torch.zeros(1, 2, 30, 40)
    flow[:, 0, :10], flow[:, 1, :10] = 3.0, 4.0
    off = off_epipolar(flow, draw_of(1))
    assert off.shape == (1, 30, 40) and not off[:, 10:].any()
    torch.testing.assert_close(off[:, :10], torch.full((1, 10, 40), 5.0))


def test_where_there_is_no_flow_nothing_moves() -> None:
    flow = camera_flow(relief())[None]
    flow[:, :, *SQUARE] = torch.nan
    assert off_epipolar(flow, draw_of(1)).max() < 1e-3
    assert not off_epipolar(torch.full((1, 2, 20, 20), torch.nan), draw_of(1)).any()


def test_a_picture_is_looked_at_apart_from_others() -> None:
    flow = torch.stack([camera_flow(relief(seed)) for seed in range(3)])
    flow[1] = torch.nan
    together = off_epipolar(flow, draw_of(3))
    for place in range(3):
        draw = draw_of(3)
        draw.key = draw.key[place : place + 1]
        torch.testing.assert_close(off_epipolar(flow[place : place + 1], draw)[0], together[place])


def test_the_distance_is_sampsons() -> None:
    rng = np.random.default_rng(0)
    matrix, here, there = rng.normal(size=(3, 3)), rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    here[:, 2] = there[:, 2] = 1
    by_hand = []
    for x, y in zip(here, there, strict=True):
        line, back = matrix @ x, matrix.T @ y
        by_hand.append(abs(y @ matrix @ x) / np.sqrt(line[0] ** 2 + line[1] ** 2 + back[0] ** 2 + back[1] ** 2))
    found = sampson(torch.tensor(matrix), *(torch.tensor(points[:, :2]).mT for points in (here, there)))
    np.testing.assert_allclose(found.numpy(), by_hand)
