"""A frame as another camera saw it: by the depth of its pixels, the way between the cameras, and their lens.

Depth (B, 1, H, W) is along the optical axis; intrinsics (B, 3, 3) are in pixels whose centres are at integer + 0.5;
poses (B, 4, 4) take points of one camera's frame (x right, y down, z forward) to another's. Geometry is in float32,
for bf16 cannot tell one pixel of a frame from the next.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslzoo.nn.places import pixel_places, sample_at
from sslzoo.nn.precision import in_float32

NEAREST = 1e-3
"""What is nearer than this, or behind the camera, is projected as if it were so near."""
C1, C2 = 0.01**2, 0.03**2
"""Of SSIM, for values in [0, 1]."""


@in_float32
def synthesise(source: Tensor, depth: Tensor, pose: Tensor, intrinsics: Tensor) -> Tensor:
    """What a camera sees, taken from where that is in the ``source`` (B, C, H, W) of another.

    ``depth`` is that of the first camera, and ``pose`` takes its points to the source's.
    """
    return sample_at(source, project(transform(pose, backproject(depth, intrinsics)), intrinsics))


@in_float32
def backproject(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """(B, 3, H, W): the points that pixels show, in the camera's frame."""
    height, width = depth.shape[2:]
    places = pixel_places(height, width, depth.device)
    pixels = torch.cat([places, torch.ones_like(places[:1])]).flatten(1)
    rays = torch.linalg.solve(intrinsics, pixels.expand(len(depth), -1, -1))
    return rays.view(-1, 3, height, width) * depth


@in_float32
def transform(pose: Tensor, points: Tensor) -> Tensor:
    """Points (B, 3, H, W) in the frame that ``pose`` leads to."""
    moved = pose[:, :3, :3] @ points.flatten(2) + pose[:, :3, 3:]
    return moved.view_as(points)


@in_float32
def project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """(B, 2, H, W): the places, x and y in pixels, where points (B, 3, H, W) of a camera's frame are seen."""
    seen = (intrinsics @ points.flatten(2)).view_as(points)
    return seen[:, :2] / seen[:, 2:].clamp(min=NEAREST)


@in_float32
def rigid_motion(rotation: Tensor, translation: Tensor) -> Tensor:
    """Poses (B, 4, 4) that turn by ``rotation`` (B, 3), an axis as long as the angle in radians, and then move."""
    x, y, z = rotation.unbind(1)
    zero = torch.zeros_like(x)
    generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    pose = torch.cat([torch.linalg.matrix_exp(generator), translation[:, :, None]], dim=2)
    return F.pad(pose, (0, 0, 0, 1)) + F.pad(pose.new_ones(1, 1), (3, 0, 3, 0))


@in_float32
def backwards(pose: Tensor) -> Tensor:
    """The poses that undo rigid ``pose`` (B, 4, 4)."""
    turned = pose[:, :3, :3].transpose(1, 2)
    return torch.cat([torch.cat([turned, -turned @ pose[:, :3, 3:]], dim=2), pose[:, 3:]], dim=1)


@in_float32
def photometric_error(found: Tensor, true: Tensor, ssim_share: float) -> Tensor:
    """(B, 1, H, W): how much images in [0, 1] differ, ``ssim_share`` of it (1 - SSIM) / 2 and the rest the L1 distance.

    SSIM is over 3 x 3 windows, mirrored at the edge (Godard et al., CVPR 2017, equation 2).
    """
    dissimilar = ((1 - ssim(found, true)) / 2).clamp(0, 1)
    error = ssim_share * dissimilar + (1 - ssim_share) * (found - true).abs()
    return error.mean(dim=1, keepdim=True)


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """(B, C, H, W): the structural similarity of 3 x 3 windows of images in [0, 1] (Wang et al., TIP 2004)."""
    first, second = (F.pad(image, (1, 1, 1, 1), mode="reflect") for image in (first, second))
    means, products = _mean(first) * _mean(second), _mean(first * second)
    squares = _mean(first).square() + _mean(second).square()
    variances = _mean(first.square() + second.square()) - squares
    return (2 * means + C1) * (2 * (products - means) + C2) / ((squares + C1) * (variances + C2))


@in_float32
def edge_aware_smoothness(disparity: Tensor, image: Tensor) -> Tensor:
    """The mean slope of ``disparity`` (B, 1, H, W) over its own mean, counted less where the ``image`` has edges.

    Godard et al., ICCV 2019, equation 3. For each sample: (B,).
    """
    relative = disparity / (disparity.mean(dim=(2, 3), keepdim=True) + 1e-7)
    slopes = [
        (relative.diff(dim=dim).abs() * (-image.diff(dim=dim).abs().mean(1, keepdim=True)).exp()).mean(dim=(1, 2, 3))
        for dim in (2, 3)
    ]
    return slopes[0] + slopes[1]


def _mean(images: Tensor) -> Tensor:
    """Over windows of 3 x 3: a third of what ``avg_pool2d`` and its gradient take on a CPU."""
    across = images[..., :-2] + images[..., 1:-1] + images[..., 2:]
    return (across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :]) / 9
