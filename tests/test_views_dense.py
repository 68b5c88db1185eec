"""However it is cut and mirrored: depth, pose, intrinsics and flow still say where a point is in the next frame."""

import pytest
import torch
import torch.nn.functional as F

from sslzoo.config import UsageError
from sslzoo.views.dense import dense_random_resized_crop, dense_resized_crop
from sslzoo.views.keyed import Draw

SIDE, STEP = 48, 3
FIELDS = ("clip", "depth", "normals", "flow", "visible", "instances", "camera", "intrinsics")


def rotation(x: float, y: float, z: float) -> torch.Tensor:
    return torch.linalg.matrix_exp(torch.tensor([[0.0, -z, y], [z, 0, -x], [-y, x, 0]]).double())


def rays(intrinsics: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(H, W, 3): through the pixels' centres, of depth 1."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1).double() @ intrinsics.double().inverse().T


def plane_seen_by_a_moving_camera() -> dict:
    """Two frames of the plane z = 6 + 0.4 x - 0.3 y of the world, whose colours are those of its points."""
    intrinsics = torch.tensor([[50.0, 0, 21], [0, 46, 26], [0, 0, 1]])
    poses = torch.eye(4).double().repeat(2, 1, 1)
    poses[0, :3, :3], poses[0, :3, 3] = rotation(0.1, -0.15, 0.05), torch.tensor([0.3, -0.2, 0.1])
    poses[1, :3, :3], poses[1, :3, 3] = rotation(0.08, -0.1, 0.12), torch.tensor([0.5, -0.1, 0.6])
    normal = torch.tensor([0.4, -0.3, -1]).double()
    depth, points = [], []
    for pose in poses:
        ray = rays(intrinsics, SIDE, SIDE)
        depth.append((-6 - normal @ pose[:3, 3]) / (ray @ pose[:3, :3].T @ normal))
        points.append((ray * depth[-1][..., None]) @ pose[:3, :3].T + pose[:3, 3])
    flow = torch.full((2, 2, SIDE, SIDE), torch.nan)
    seen = (points[0] - poses[1, :3, 3]) @ poses[1, :3, :3] @ intrinsics.double().T
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    target = seen[..., :2] / seen[..., 2:]
    flow[0] = (target - torch.stack([x, y], -1)).permute(2, 0, 1)
    inside = ((target >= 0) & (target < SIDE)).all(-1)
    normals = F.normalize(torch.stack([normal @ pose[:3, :3] for pose in poses]), dim=1)
    colours = 110 + 35 * torch.stack(points)
    return {
        "clip": colours.clamp(0, 255).round().to(torch.uint8).permute(0, 3, 1, 2),
        "depth": torch.stack(depth)[:, None].float(),
        "normals": normals[:, :, None, None].expand(2, 3, SIDE, SIDE).float(),
        "flow": flow,
        "visible": torch.stack([inside, torch.zeros_like(inside)])[:, None],
        "instances": (torch.arange(SIDE * SIDE, dtype=torch.int32) // 8).view(1, 1, SIDE, SIDE).repeat(2, 1, 1, 1),
        "camera": poses.float(),
        "intrinsics": intrinsics,
    }


def reprojected(batch: dict, row: int) -> torch.Tensor:
    """(2, H, W): the flow that depth, poses and intrinsics give."""
    height, width = batch["depth"].shape[-2:]
    ray = rays(batch["intrinsics"][row], height, width)
    first, second = batch["camera"][row].double()
    world = (ray * batch["depth"][row, 0, 0, ..., None]) @ first[:3, :3].T + first[:3, 3]
    seen = (world - second[:3, 3]) @ second[:3, :3] @ batch["intrinsics"][row].double().T
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return (seen[..., :2] / seen[..., 2:] - torch.stack([x, y], -1)).permute(2, 0, 1)


SAMPLE = plane_seen_by_a_moving_camera()
EXACT = {
    "cut": ((5, 9, 33, 24), (33, 24)),
    "shrunk by three and five": ((3, 8, 45, 30), (15, 6)),
}
"""Boxes and sizes at which the nearest pixel's centre is the centre of the new one."""


@pytest.mark.parametrize("case", list(EXACT))
@pytest.mark.parametrize("mirrored", [False, True])
def test_flow_is_what_depth_pose_and_intrinsics_give(case: str, mirrored: bool) -> None:
    box, size = EXACT[case]
    batch = dense_resized_crop([SAMPLE], FIELDS, torch.tensor([box]), torch.tensor([mirrored]), size)
    assert batch["flow"].shape == (1, 2, 2, *size)
    assert batch["flow"][0, 0].abs().max() > 1
    torch.testing.assert_close(batch["flow"][0, 0].double(), reprojected(batch, 0), atol=2e-4, rtol=0)
    assert batch["flow"][0, 1].isnan().all()


def test_at_any_box_and_size_it_is_within_the_error_of_the_nearest_pixel() -> None:
    draw = Draw(torch.arange(16))
    batch = dense_random_resized_crop([SAMPLE] * 16, FIELDS, (37, 41), draw, scale=(0.2, 1.0))
    for row in range(16):
        assert (batch["flow"][row, 0] - reprojected(batch, row)).abs().max() < 0.35


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_next_frame_warped_by_flow_is_this_frame_wherever_it_is_visible(mirrored: bool) -> None:
    box, size = torch.tensor([[4, 6, 40, 32]]), (60, 64)
    batch = dense_resized_crop([SAMPLE], FIELDS, box, torch.tensor([mirrored]), size)
    y, x = torch.meshgrid(torch.arange(60) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    target = torch.stack([x, y], -1) + batch["flow"][0, 0].permute(1, 2, 0)
    grid = target / torch.tensor([64, 60]) * 2 - 1
    frames = batch["clip"][0].float()
    warped = F.grid_sample(frames[1:], grid[None], padding_mode="border", align_corners=False)[0]
    away = (warped - frames[0]).abs().amax(0)[batch["visible"][0, 0, 0]]
    assert len(away) > 2000
    assert away.max() < 5
    unmoved = (frames[1] - frames[0]).abs().amax(0)
    assert unmoved.mean() > 5 * away.mean()


def test_what_leaves_the_box_is_not_visible() -> None:
    batch = dense_resized_crop(
        [SAMPLE], ("flow", "visible"), torch.tensor([[10, 12, 20, 24]]), torch.tensor([True]), (20, 24)
    )
    y, x = torch.meshgrid(torch.arange(20) + 0.5, torch.arange(24) + 0.5, indexing="ij")
    x, y = x + batch["flow"][0, 0, 0], y + batch["flow"][0, 0, 1]
    inside = (x > 0) & (x < 24) & (y > 0) & (y < 20)
    assert 0.3 < inside.float().mean() < 1
    assert torch.equal(batch["visible"][0, 0, 0], inside)
    assert not batch["visible"][0, 1].any()


def test_normals_are_those_of_the_surface_that_depth_gives_also_when_mirrored() -> None:
    batch = dense_resized_crop(
        [SAMPLE] * 2, FIELDS, torch.tensor([[0, 0, SIDE, SIDE]] * 2), torch.tensor([False, True]), (SIDE, SIDE)
    )
    for row in range(2):
        points = rays(batch["intrinsics"][row], SIDE, SIDE) * batch["depth"][row, 0, 0, ..., None]
        across, down = points[20, 30] - points[20, 10], points[30, 20] - points[10, 20]
        normal = F.normalize(torch.linalg.cross(down, across), dim=0)
        torch.testing.assert_close(batch["normals"][row, 0, :, 20, 20].double(), normal, atol=1e-4, rtol=0)
    assert torch.linalg.det(batch["camera"][1, :, :3, :3]).allclose(torch.ones(2))
    assert (batch["intrinsics"].diagonal(dim1=1, dim2=2) > 0).all()


def test_contours_stay_closed_when_shrunk_and_names_are_never_mixed() -> None:
    line = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
    line[..., 17] = True
    names = torch.zeros(1, 1, 48, 48, dtype=torch.int32)
    names[..., 17:] = 7
    sample = {"clip": torch.zeros(1, 3, 48, 48, dtype=torch.uint8), "contours": line, "instances": names}
    batch = dense_resized_crop(
        [sample], ("contours", "instances"), torch.tensor([[0, 0, 48, 48]]), torch.tensor([False]), (20, 20)
    )
    assert batch["contours"][0, 0, 0].any(dim=1).all()
    assert batch["contours"].dtype == torch.bool
    assert batch["instances"].unique().tolist() == [0, 7]


def test_data_without_a_field_are_named_as_such() -> None:
    sample = {"clip": SAMPLE["clip"], "visible": SAMPLE["visible"]}
    with pytest.raises(UsageError, match="have no flow"):
        dense_resized_crop([sample], ("visible",), torch.tensor([[0, 0, 8, 8]]), torch.tensor([False]), (8, 8))
