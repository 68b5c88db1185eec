"""Pictures of bodies by pybullet's CPU renderer, with all that is known of each pixel."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sslzoo.datasets.world import geometry
from sslzoo.datasets.world.bullet import Client, connected, quaternions
from sslzoo.datasets.world.camera import Lens, inverse_depth, view_matrix
from sslzoo.datasets.world.meshes import Mesh
from sslzoo.datasets.world.textures import Picture

Array = NDArray[np.floating]
Fields = dict[str, NDArray]
"""Of a clip, as the table in ``sslzoo.views.clips`` has them, in numpy."""


@dataclass(frozen=True, eq=False)
class Body:
    """A rigid thing to be seen."""

    mesh: Mesh
    texture: Picture
    kind: str
    """Its class in masks."""
    instance: int = 0
    """0 is what belongs to the background."""
    gloss: float = 0.1
    """Strength of highlights in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Light:
    direction: Array
    """(3,) to where it comes from."""
    color: Array
    """(3,) in [0, 1]."""
    ambient: float
    """Share of it that comes from everywhere."""
    shadow: bool


@dataclass(frozen=True, eq=False)
class Shot:
    """What is seen, from where, and how it moves."""

    bodies: Sequence[Body]
    poses: Array
    """(T, bodies, 4, 4) to the world."""
    cameras: Array
    """(T, 4, 4) to the world."""
    lens: Lens
    light: Light
    sky: Picture
    """Over elevation and azimuth, where nothing else is."""


def render(shot: Shot, kinds: Sequence[str]) -> Fields:
    """All fields of a clip but ``fps`` and ``sound``. ``kinds`` are the names of classes; the first is nothing."""
    colors, inverse, bodies = _pictures(shot)
    slope = geometry.slopes(inverse, bodies)
    instance = np.array([*(body.instance for body in shot.bodies), 0], np.int32)[bodies]
    kind = np.array([*(kinds.index(body.kind) for body in shot.bodies), 0], np.uint8)[bodies]
    flow, visible = geometry.flow(inverse, slope, bodies, _moves(shot), shot.lens.intrinsics)
    with np.errstate(divide="ignore"):
        depth = 1 / inverse
    return {
        "clip": _over_sky(colors, bodies, shot),
        "depth": depth[:, None],
        "normals": geometry.normals(inverse, slope, shot.lens.intrinsics),
        "instances": instance[:, None],
        "classes": kind[:, None],
        "contours": geometry.contours(inverse, slope, instance)[:, None],
        "flow": flow,
        "visible": visible[:, None],
        "camera": shot.cameras.astype(np.float32),
        "intrinsics": shot.lens.intrinsics.astype(np.float32),
    }


def _pictures(shot: Shot) -> tuple[NDArray[np.uint8], Array, NDArray[np.int16]]:
    """(T, H, W, 3) colours, (T, H, W) inverse depth, 0 where nothing is, and (T, H, W) which body is seen."""
    side, frames = shot.lens.side, len(shot.cameras)
    colors = np.empty((frames, side, side, 3), np.uint8)
    buffers, bodies = np.empty((frames, side, side), np.float32), np.empty((frames, side, side), np.int16)
    with connected() as client, tempfile.TemporaryDirectory(prefix="sslzoo-world-") as folder:
        handles = _built(client, shot.bodies, Path(folder))
        number_of = np.full(max(handles) + 2, geometry.NOTHING, np.int16)  # the last is for -1, where nothing is seen
        number_of[handles] = np.arange(len(handles))
        projection = shot.lens.projection()
        turns = quaternions(shot.poses[..., :3, :3])
        moving = [np.ptp(shot.poses[:, number], axis=0).any() for number in range(len(handles))]
        put = client.resetBasePositionAndOrientation
        for time in range(frames):
            for number, handle in enumerate(handles):
                if time == 0 or moving[number]:
                    put(handle, shot.poses[time, number, :3, 3].tolist(), turns[time, number].tolist())
            _, _, color, buffers[time], seen = client.getCameraImage(
                side,
                side,
                view_matrix(shot.cameras[time]),
                projection,
                lightDirection=shot.light.direction.tolist(),
                lightColor=shot.light.color.tolist(),
                lightDistance=8,
                shadow=int(shot.light.shadow),
                lightAmbientCoeff=shot.light.ambient,
                lightDiffuseCoeff=1 - shot.light.ambient,
                lightSpecularCoeff=0.4,
                renderer=client.ER_TINY_RENDERER,
            )
            colors[time], bodies[time] = color[..., :3], number_of[seen]
    return colors, np.where(bodies == geometry.NOTHING, 0, inverse_depth(buffers)), bodies


def _built(client: Client, bodies: Sequence[Body], folder: Path) -> list[int]:
    """The server's numbers of bodies. It takes textures from files only; those that bodies share are loaded once."""
    textures: dict[int, int] = {}
    handles = []
    for body in bodies:
        shape = client.createVisualShape(
            client.GEOM_MESH,
            vertices=body.mesh.vertices.tolist(),
            indices=body.mesh.faces.ravel().tolist(),
            normals=body.mesh.normals.tolist(),
            uvs=body.mesh.uvs.tolist(),
            specularColor=[body.gloss] * 3,
        )
        if id(body.texture) not in textures:
            path = folder / f"{len(textures)}.png"
            Image.fromarray(body.texture).save(path, compress_level=0)
            textures[id(body.texture)] = client.loadTexture(str(path))
        handles.append(client.createMultiBody(0, -1, shape))
        client.changeVisualShape(handles[-1], -1, textureUniqueId=textures[id(body.texture)])
    return handles


def _moves(shot: Shot) -> Array:
    """(T - 1, bodies + 1, 4, 4): from one camera's frame into the next one's, with each body; the last stands still."""
    into = np.linalg.inv(shot.cameras)[1:, None]
    carried = shot.poses[1:] @ np.linalg.inv(shot.poses[:-1])
    still = np.broadcast_to(np.eye(4), (len(carried), 1, 4, 4))
    return into @ np.concatenate([carried, still], 1) @ shot.cameras[:-1, None]


def _over_sky(colors: NDArray[np.uint8], bodies: NDArray[np.int16], shot: Shot) -> NDArray[np.uint8]:
    """(T, 3, H, W): with the sky in the directions where nothing else is."""
    time, row, column = np.nonzero(bodies == geometry.NOTHING)
    if len(time):
        ray = geometry.rays(shot.lens.intrinsics, shot.lens.side)[:, row, column]
        ray = np.einsum("nij,jn->in", shot.cameras[time, :3, :3], ray)
        up = np.arctan2(ray[2], np.hypot(ray[0], ray[1])) / (np.pi / 2)
        around = np.arctan2(ray[1], ray[0]) / (2 * np.pi) % 1
        side = len(shot.sky)
        high = (up.clip(0, 1) * (side - 1)).astype(int)
        colors[time, row, column] = shot.sky[high, (around * side).astype(int) % side]
    return np.ascontiguousarray(colors.transpose(0, 3, 1, 2))
