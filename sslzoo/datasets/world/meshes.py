"""Triangles: of simple bodies, and of the thousand random objects that come with pybullet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

MOST_FACES = 400
"""Of a random object: a picture's cost is that of its triangles."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface about the origin, or a flat one."""

    vertices: Array
    """(V, 3) in metres."""
    faces: NDArray[np.integer]
    """(F, 3), counterclockwise from outside."""
    normals: Array
    """(V, 3) for shading only: vertices at a sharp edge are there twice."""
    uvs: Array
    """(V, 2): 1 is once through the texture."""

    @cached_property
    def size(self) -> float:
        """The longest side of its box in metres."""
        return float(np.ptp(self.vertices, axis=0).max())

    @cached_property
    def volume(self) -> float:
        """In cubic metres, by the tetrahedra over its triangles."""
        corners = self.vertices[self.faces]
        return float(abs(np.linalg.det(corners).sum()) / 6)


def box(width: float, depth: float, height: float, repeat: float = 1.0) -> Mesh:
    """``repeat``: how often a texture goes into a metre, if 1 metre is more than a face."""
    half = np.array([width, depth, height]) / 2
    vertices: list[Array] = []
    normals: list[Array] = []
    uvs: list[Array] = []
    faces: list[list[int]] = []
    for axis in range(3):
        across, up = (axis + 1) % 3, (axis + 2) % 3
        for sign in (-1, 1):
            corners = np.zeros((4, 3))
            corners[:, axis] = sign * half[axis]
            corners[:, across] = np.array([-1, 1, 1, -1]) * half[across] * sign
            corners[:, up] = np.array([-1, -1, 1, 1]) * half[up]
            faces += [[len(vertices) + i for i in face] for face in ((0, 1, 2), (0, 2, 3))]
            vertices += list(corners)
            normals += [sign * np.eye(3)[axis]] * 4
            uvs += list(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * np.maximum(1, repeat * 2 * half[[across, up]]))
    return Mesh(np.array(vertices), np.array(faces), np.array(normals), np.array(uvs))


def turned(outline: Array, around: int = 14, smooth: bool = True) -> Mesh:
    """A body of revolution about z: ``outline`` (P, 2) of radius and height, from its lowest point on."""
    angle = np.linspace(0, 2 * np.pi, around + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    radius, height = outline[:, 0, None, None], outline[:, 1, None, None]
    grid = np.concatenate([radius * ring, np.broadcast_to(height, (len(outline), around + 1, 1))], -1)
    low, left = np.meshgrid(np.arange(len(outline) - 1), np.arange(around), indexing="ij")
    corner = (low * (around + 1) + left).reshape(-1, 1)
    faces = np.concatenate([corner + (0, 1, around + 2), corner + (0, around + 2, around + 1)])
    length = np.linalg.norm(np.diff(outline, axis=0), axis=1)
    down = np.concatenate([[0], np.cumsum(length) / length.sum()])
    uvs = np.stack(np.broadcast_arrays(2 * angle / (2 * np.pi), down[:, None]), -1).reshape(-1, 2)
    return _shaded(grid.reshape(-1, 3), faces, uvs, smooth, seam=around + 1)


def ball(radius: float, around: int = 14) -> Mesh:
    angle = np.linspace(-np.pi / 2, np.pi / 2, around // 2 + 2)
    return turned(radius * np.stack([np.cos(angle), np.sin(angle)], -1), around)


def capsule(radius: float, length: float, around: int = 10) -> Mesh:
    """``length`` is that of its straight part."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 8)
    outline = radius * np.stack([np.cos(angle), np.sin(angle)], -1)
    outline[:, 1] += np.sign(angle) * length / 2
    return turned(outline, around)


def cylinder(radius: float, length: float, top: float = 1.0) -> Mesh:
    """``top`` is the share of the radius that is left there: less than 1 makes a cup or a cone."""
    half = length / 2
    outline = np.array([[0, -half], [radius, -half], [top * radius, half], [0, half]])
    return turned(outline, 14, smooth=False)


def torus(radius: float, thickness: float) -> Mesh:
    angle = np.linspace(-np.pi, np.pi, 9)
    outline = np.stack([radius + thickness * np.cos(angle), thickness * np.sin(angle)], -1)
    return turned(outline, 16)


def sheet(width: float, height: float, repeat: float) -> Mesh:
    """Flat in x and y, seen from above, where a texture comes ``repeat`` times in a metre."""
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * (width / 2, height / 2, 1)
    uvs = (corners[:, :2] + (width / 2, height / 2)) * repeat
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), np.tile([0.0, 0, 1], (4, 1)), uvs)


@cache
def random_objects(split: str) -> list[Path]:
    """The files of pybullet's random objects; every fourth is for ``test``."""
    import pybullet_data

    files = sorted(Path(pybullet_data.getDataPath(), "random_urdfs").glob("*/*.obj"))
    return [file for number, file in enumerate(files) if (number % 4 == 0) == (split == "test")]


def random_object(rng: np.random.Generator, split: str, size: float) -> Mesh:
    """One of the random objects with at most 400 triangles, so large that ``size`` is its longest side."""
    files = random_objects(split)
    while True:
        vertices, faces = _read(files[rng.integers(len(files))])
        if len(faces) <= MOST_FACES:
            break
    vertices = vertices - (vertices.min(0) + vertices.max(0)) / 2
    vertices = vertices * (size / np.ptp(vertices, axis=0).max())
    angle = np.arctan2(vertices[:, 1], vertices[:, 0]) / np.pi
    uvs = np.stack([angle, vertices[:, 2] / size], -1)
    return _shaded(vertices, faces, uvs, smooth=False)


@cache
def _read(path: Path) -> tuple[Array, NDArray[np.integer]]:
    """Vertices and triangles of a Wavefront file that has nothing else."""
    lines = [line.split() for line in path.read_text().splitlines()]
    vertices = np.array([line[1:4] for line in lines if line[:1] == ["v"]], float)
    faces = [[int(corner.split("/")[0]) - 1 for corner in line[1:4]] for line in lines if line[:1] == ["f"]]
    return vertices, np.array(faces)


def _shaded(vertices: Array, faces: NDArray[np.integer], uvs: Array, smooth: bool, seam: int = 0) -> Mesh:
    """With normals: of each triangle, or else the mean around each vertex, where rings of ``seam`` close."""
    faces = faces[np.ptp(vertices[faces], axis=1).any(1)]
    a, b, c = vertices[faces].swapaxes(0, 1)
    across = np.cross(b - a, c - a)
    faces, across = faces[np.linalg.norm(across, axis=1) > 1e-12], across[np.linalg.norm(across, axis=1) > 1e-12]
    if not smooth:
        flat = np.arange(3 * len(faces)).reshape(-1, 3)
        return Mesh(vertices[faces.ravel()], flat, _unit(across).repeat(3, 0), uvs[faces.ravel()])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], across)
    rings = normals.reshape(-1, seam, 3)
    rings[:, [0, -1]] = rings[:, [0]] + rings[:, [-1]]
    return Mesh(vertices, faces, _unit(normals), uvs)


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
