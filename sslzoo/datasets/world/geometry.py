"""What follows from depth, from what is seen where, and from how all of it moves: normals, flow, visibility, contours.

A frame's pixel shows a body, a rigid thing with one pose per frame, or nothing (-1). All works on inverse depth, which
over a flat surface is an affine function of the pixel: so normals and the comparison of depths are exact on the
triangles of a mesh, up to the renderer's numbers, wherever a neighbour to the side shows the same triangle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

NOTHING = -1
_UNKNOWN = np.float32(1e3)
"""More than inverse depth ever bends."""
_AGREES = 0.02
"""Share by which inverse depths of one place may differ from frame to frame."""
_BREAKS = 0.04
"""Share by which inverse depth must differ from what its surface would have here."""


def rotations(quaternions: Array) -> Array:
    """(..., 3, 3) of unit quaternions (..., 4), real part first."""
    w, x, y, z = np.moveaxis(quaternions, -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def about(axis: int, angle: Array | float) -> Array:
    """(..., 3, 3) of a turn by ``angle`` (...) in radians about a coordinate axis."""
    quaternions = np.zeros((*np.shape(angle), 4))
    quaternions[..., 0], quaternions[..., 1 + axis] = np.cos(np.divide(angle, 2)), np.sin(np.divide(angle, 2))
    return rotations(quaternions)


def poses(rotation: Array, translation: Array) -> Array:
    """(..., 4, 4) of rotations (..., 3, 3) and places (..., 3)."""
    shape = np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    made = np.zeros((*shape, 4, 4))
    made[..., :3, :3], made[..., :3, 3], made[..., 3, 3] = rotation, translation, 1
    return made


def look_at(eyes: Array, targets: Array, roll: Array | float = 0.0) -> Array:
    """(T, 4, 4) camera to world: axes x right, y down, z from ``eyes`` (T, 3) to ``targets`` (T, 3); z is up."""
    forward = targets - eyes
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    return poses(np.stack([right, np.cross(forward, right), forward], -1) @ about(2, roll), eyes)


def rays(intrinsics: Array, side: int) -> Array:
    """(3, side, side): where the middle of each pixel is seen, at depth 1."""
    middle = np.arange(side) + 0.5
    across = (middle - intrinsics[0, 2]) / intrinsics[0, 0]
    down = (middle - intrinsics[1, 2]) / intrinsics[1, 1]
    return np.stack([*np.broadcast_arrays(across[None], down[:, None]), np.ones((side, side))]).astype(np.float32)


def slopes(inverse: Array, bodies: NDArray[np.int16]) -> Array:
    """(2, T, H, W): how ``inverse`` depth (T, H, W) changes on its surface from a pixel to the right, and down.

    Of the two neighbours on the same body, the one is asked beyond which the surface goes on straighter. 0 where there
    is none.
    """
    down = _slope(np.ascontiguousarray(inverse.swapaxes(1, 2)), np.ascontiguousarray(bodies.swapaxes(1, 2)))
    return np.stack([_slope(inverse, bodies), down.swapaxes(1, 2)])


def normals(inverse: Array, slope: Array, intrinsics: Array) -> Array:
    """(T, 3, H, W) float32 in the camera's frame, towards it; zeros where ``inverse`` depth (T, H, W) is 0.

    A plane n P = h has inverse depth n ray / h, so the slopes are n's parts, and what is left at ray (0, 0, 1).
    """
    ray = rays(intrinsics, inverse.shape[-1])
    made = np.empty((len(inverse), 3, *inverse.shape[1:]), np.float32)
    made[:, 0] = slope[0] * np.float32(intrinsics[0, 0])
    made[:, 1] = slope[1] * np.float32(intrinsics[1, 1])
    made[:, 2] = inverse - made[:, 0] * ray[0] - made[:, 1] * ray[1]
    length = np.sqrt(np.square(made).sum(1, keepdims=True))
    return np.divide(-made, length, out=np.zeros_like(made), where=(inverse > 0)[:, None] & (length > 0))


def flow(
    inverse: Array, slope: Array, bodies: NDArray[np.int16], moves: Array, intrinsics: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Where pixels go: (T, 2, H, W) float32 with NaN in the last frame, and (T, H, W) whether they are seen there.

    ``moves`` (T - 1, bodies + 1, 4, 4) takes a point of a body from the camera's frame to that of the next frame; its
    last is that of what is infinitely far. A pixel that comes to lie behind the camera has NaN.
    """
    frames, side = len(inverse), inverse.shape[-1]
    ray = rays(intrinsics, side).reshape(3, -1)
    moved = np.full((frames, 2, side * side), np.nan, np.float32)
    seen = np.zeros((frames, side * side), np.bool_)
    focal, center = intrinsics[[0, 1], [0, 1]].astype(np.float32), intrinsics[:2, 2].astype(np.float32)
    pixels = np.stack([np.tile(np.arange(side), side), np.repeat(np.arange(side), side)]).astype(np.float32) + 0.5
    for time in range(frames - 1):
        body, near = bodies[time].ravel(), inverse[time].ravel()
        move = moves[time, :, :3].transpose(1, 2, 0).astype(np.float32).take(body.astype(np.intp), axis=2)
        x, y, z = (a * ray[0] + b * ray[1] + c + d * near for a, b, c, d in move)
        ahead = z > 1e-3
        scale = np.divide(1, z, out=np.full_like(z, np.nan), where=ahead)
        there = np.stack([x * scale * focal[0] + center[0], y * scale * focal[1] + center[1]])
        moved[time] = there - pixels
        inside = ahead & (there >= 0).all(0) & (there < side).all(0)
        cell = np.where(inside, there, 0).astype(np.int64)
        at = cell[1] * side + cell[0]
        off = there - cell - 0.5
        after = inverse[time + 1].ravel()[at]
        bent = slope[:, time + 1].reshape(2, -1)[:, at]
        expected = after + np.where(inside, bent[0] * off[0] + bent[1] * off[1], 0)
        same = bodies[time + 1].ravel()[at] == body
        seen[time] = inside & same & (np.abs(near * scale - expected) <= _AGREES * np.abs(after))
    return moved.reshape(frames, 2, side, side), seen.reshape(frames, side, side)


def contours(inverse: Array, slope: Array, instances: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(T, H, W): pixels whose neighbour belongs to another instance, or lies behind the edge of its surface.

    Of the two pixels at a break it is the nearer one.
    """
    found = np.zeros(inverse.shape, np.bool_)
    for axis, bend in ((2, slope[0]), (1, slope[1])):
        depth, kind, step, edge = (np.moveaxis(values, axis, 2) for values in (inverse, instances, bend, found))
        one, other = depth[..., :-1], depth[..., 1:]
        change, limit = other - one, _BREAKS * np.maximum(one, other)
        broken = (np.abs(change - step[..., :-1]) > limit) & (np.abs(change - step[..., 1:]) > limit)
        broken |= kind[..., :-1] != kind[..., 1:]
        edge[..., :-1] |= broken & (one >= other)
        edge[..., 1:] |= broken & (one < other)
    return found


def _slope(inverse: Array, bodies: NDArray[np.int16]) -> Array:
    """Along the last axis."""
    steps = np.diff(inverse)
    apart = np.diff(bodies) != 0
    steps[apart] = 0
    bends = np.abs(np.diff(steps))
    bends[apart[..., 1:] | apart[..., :-1]] = _UNKNOWN
    forward, back = np.full_like(inverse, 2 * _UNKNOWN), np.full_like(inverse, 2 * _UNKNOWN)
    forward[..., :-2], forward[..., -2], back[..., 2:], back[..., 1] = bends, _UNKNOWN, bends, _UNKNOWN
    forward[..., :-1][apart] = 2 * _UNKNOWN
    back[..., 1:][apart] = 2 * _UNKNOWN
    pad = np.zeros((*inverse.shape[:-1], 1), inverse.dtype)
    return np.where(forward < back, np.concatenate([steps, pad], -1), np.concatenate([pad, steps], -1))
