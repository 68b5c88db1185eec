"""Geometry and errors of view synthesis, against scenes made by hand, plain loops and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from sslzoo.nn.places import sample_at
from sslzoo.nn.view_synthesis import (
    backproject,
    backwards,
    edge_aware_smoothness,
    photometric_error,
    project,
    rigid_motion,
    synthesise,
    transform,
)

HEIGHT, WIDTH = 40, 48
LENS = torch.tensor([[[50.0, 0, 21], [0, 46, 22], [0, 0, 1]]])
NORMAL, OFFSET = np.array([0.2, -0.1, 1.0]), 5.0
"""Of the plane that is looked at: NORMAL x = OFFSET in the world."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def camera_at(turn: tuple[float, float, float], place: tuple[float, float, float]) -> np.ndarray:
    """Camera to world, as the fields of a clip have it."""
    camera = np.eye(4)
    camera[:3, :3], camera[:3, 3] = Rotation.from_rotvec(turn).as_matrix(), place
    return camera


def seen_by(camera: np.ndarray) -> tuple[Tensor, Tensor]:
    """(1, 3, H, W) a smooth colour of each point of the plane, and (1, 1, H, W) its depth; pixel by pixel."""
    image, depth = np.zeros((3, HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH))
    lens = LENS[0].double().numpy()
    for row in range(HEIGHT):
        for column in range(WIDTH):
            ray = np.array([(column + 0.5 - lens[0, 2]) / lens[0, 0], (row + 0.5 - lens[1, 2]) / lens[1, 1], 1])
            turned = camera[:3, :3] @ ray
            depth[row, column] = (OFFSET - NORMAL @ camera[:3, 3]) / (NORMAL @ turned)
            point = camera[:3, 3] + depth[row, column] * turned
            image[:, row, column] = 0.5 + 0.4 * np.sin(2 * point)
    return torch.from_numpy(image)[None].float(), torch.from_numpy(depth)[None, None].float()


FIRST = camera_at((0.05, -0.1, 0.02), (0.1, 0.0, 0.2))
SECOND = camera_at((0.02, -0.04, -0.05), (0.4, -0.1, 0.7))
POSE = torch.from_numpy(np.linalg.inv(SECOND) @ FIRST)[None].float()


def test_a_frame_is_drawn_from_another_by_depth_and_camera() -> None:
    image, depth = seen_by(FIRST)
    source, _ = seen_by(SECOND)
    places = project(transform(POSE, backproject(depth, LENS)), LENS)
    inside = ((places > 0.5) & (places < torch.tensor([WIDTH, HEIGHT])[:, None, None] - 0.5)).all(dim=1)
    assert inside.float().mean() > 0.6
    away = (synthesise(source, depth, POSE, LENS) - image).abs().amax(dim=1)
    assert away[inside].max() < 0.005
    assert (source - image).abs().amax(dim=1).mean() > 0.1
    wrong = (synthesise(source, 1.3 * depth, POSE, LENS) - image).abs().amax(dim=1)
    assert wrong[inside].mean() > 20 * away[inside].mean()


def test_a_wall_seen_from_the_side_is_moved_by_whole_pixels_exactly() -> None:
    source = noise(1, 3, HEIGHT, WIDTH)
    pose = rigid_motion(torch.zeros(1, 3), torch.tensor([[3 * 4 / 50.0, -2 * 4 / 46.0, 0]]))
    drawn = synthesise(source, torch.full((1, 1, HEIGHT, WIDTH), 4.0), pose, LENS)
    torch.testing.assert_close(drawn[..., 2:, :-3], source[..., :-2, 3:], atol=1e-4, rtol=0)
    torch.testing.assert_close(drawn[..., 5:, -2:], source[..., 3:-2, -1:].expand(-1, -1, -1, 2), atol=1e-4, rtol=0)


def test_points_are_those_of_rays_through_the_middles_of_pixels() -> None:
    depth = 1 + noise(1, 1, HEIGHT, WIDTH)
    points = backproject(depth, LENS)
    far = depth[0, 0, 7, 3]
    expected = torch.stack([(3.5 - 21) / 50 * far, (7.5 - 22) / 46 * far, far])
    torch.testing.assert_close(points[0, :, 7, 3], expected)
    places = project(points, LENS)
    assert places[0, :, 0, 0].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert places[0, :, -1, -1].tolist() == pytest.approx([WIDTH - 0.5, HEIGHT - 0.5], abs=1e-4)
    images = noise(1, 2, HEIGHT, WIDTH)
    torch.testing.assert_close(sample_at(images, places), images, atol=1e-4, rtol=0)


def test_each_sample_has_its_own_lens_and_pose() -> None:
    source, depth = noise(2, 3, HEIGHT, WIDTH), 2 + noise(2, 1, HEIGHT, WIDTH)
    lenses = torch.cat([LENS, LENS * torch.tensor([1.2, 0.8, 1])[:, None]])
    poses = torch.cat([POSE, backwards(POSE)])
    together = synthesise(source, depth, poses, lenses)
    for row in (slice(0, 1), slice(1, 2)):
        torch.testing.assert_close(together[row], synthesise(source[row], depth[row], poses[row], lenses[row]))


def test_what_is_behind_the_camera_stays_finite() -> None:
    depth = (1 + noise(1, 1, HEIGHT, WIDTH)).requires_grad_()
    pose = rigid_motion(torch.zeros(1, 3), torch.tensor([[0.1, 0, -1.5]]))
    drawn = synthesise(noise(1, 3, HEIGHT, WIDTH), depth, pose, LENS)
    drawn.sum().backward()
    assert drawn.isfinite().all() and depth.grad is not None and depth.grad.isfinite().all()


def test_geometry_is_as_exact_under_autocast() -> None:
    source, depth = noise(1, 3, HEIGHT, WIDTH), 2 + noise(1, 1, HEIGHT, WIDTH)
    plain = synthesise(source, depth, backwards(POSE), LENS)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(synthesise(source, depth, backwards(POSE), LENS), plain, atol=0, rtol=0)


def test_rigid_motions_are_scipys_and_can_be_undone() -> None:
    rotation, translation = noise(5, 3) - 0.5, noise(5, 3, seed=1)
    poses = rigid_motion(rotation, translation)
    expected = torch.from_numpy(Rotation.from_rotvec(rotation.numpy()).as_matrix()).float()
    torch.testing.assert_close(poses[:, :3, :3], expected)
    torch.testing.assert_close(poses[:, :3, 3], translation)
    torch.testing.assert_close(backwards(poses) @ poses, torch.eye(4).expand(5, 4, 4), atol=1e-6, rtol=0)


def test_cameras_that_stand_still_can_be_moved_by_gradient() -> None:
    rotation = torch.zeros(1, 3, requires_grad=True)
    rigid_motion(rotation, torch.zeros(1, 3))[0, 1, 0].backward()  # the sine about z
    assert rotation.grad is not None and rotation.grad.tolist() == [[0, 0, 1]]


def test_the_photometric_error_is_the_papers() -> None:
    found, true = noise(1, 2, 6, 7), noise(1, 2, 6, 7, seed=1)
    error = photometric_error(found, true, 0.85)
    padded = [np.pad(image[0].double().numpy(), ((0, 0), (1, 1), (1, 1)), mode="reflect") for image in (found, true)]
    for row, column in [(0, 0), (3, 2), (5, 6)]:
        expected = 0.0
        for channel in range(2):
            x, y = (image[channel, row : row + 3, column : column + 3] for image in padded)
            covariance = (x * y).mean() - x.mean() * y.mean()
            similar = (2 * x.mean() * y.mean() + 1e-4) * (2 * covariance + 9e-4)
            similar /= (x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (x.var() + y.var() + 9e-4)
            expected += (0.85 * np.clip((1 - similar) / 2, 0, 1) + 0.15 * abs(x[1, 1] - y[1, 1])) / 2
        assert float(error[0, 0, row, column]) == pytest.approx(expected, rel=1e-4)
    assert photometric_error(true, true, 0.85).max() < 1e-6


def test_smoothness_is_the_papers() -> None:
    disparity = torch.tensor([[[[1.0, 1, 3], [1, 1, 3]]]])  # of mean 10 / 6
    flat = torch.zeros(1, 3, 2, 3)
    edge = flat.clone()
    edge[..., 2] = torch.tensor([0.9, 0.3, 0.0])[:, None]
    step = 2 / (10 / 6) / 2  # one of two slopes across; none down
    assert float(edge_aware_smoothness(disparity, flat)) == pytest.approx(step, rel=1e-5)
    assert float(edge_aware_smoothness(disparity, edge)) == pytest.approx(step * np.exp(-0.4), rel=1e-5)
    torch.testing.assert_close(edge_aware_smoothness(7 * disparity, flat), edge_aware_smoothness(disparity, flat))
