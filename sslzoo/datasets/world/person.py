"""A person in clothes, who moves as a recording says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sslzoo.datasets.world import geometry, motions, textures
from sslzoo.datasets.world.renderer import Body

Array = NDArray[np.floating]

_SHIRT = ("root", "chest", "right_shoulder", "left_shoulder")
_TROUSERS = ("right_hip", "left_hip", "right_knee", "left_knee")
_SHOES = ("right_ankle", "left_ankle")


@dataclass(frozen=True, eq=False)
class Person:
    bodies: tuple[Body, ...]
    poses: Array
    """(T, bodies, 4, 4)."""
    middle: Array
    """(T, 3) where the hip is."""

    @classmethod
    def draw(
        cls, rng: np.random.Generator, recording: motions.Recording, seconds: Array, around: Array, instance: int
    ) -> Person:
        """The motion at ``seconds`` (T,), turned any way, on the ground, its way's middle at ``around`` (2,)."""
        placed = motions.pose(recording.at(seconds))
        turn = geometry.about(2, rng.uniform(0, 2 * np.pi))
        middle = placed["root"][:, :3, 3] @ turn.T
        shift = np.array([*(around - middle[:, :2].mean(0)), -motions.lowest(placed).min()])
        put = geometry.poses(turn, shift)
        clothes = _clothes(rng)
        bodies, poses = [], []
        for part in motions.parts():
            if part.mesh is not None:
                bodies.append(Body(part.mesh, clothes[part.name], "person", instance, 0.05))
                poses.append(put @ placed[part.name])
        return cls(tuple(bodies), np.stack(poses, 1), middle + shift)


def _clothes(rng: np.random.Generator) -> dict[str, textures.Picture]:
    """By part; what is not clothed has the colour of skin."""
    shirt, trousers, shoes = (textures.fitted(textures.anything(rng), 16) for _ in range(3))
    light = textures.near(rng, 0.07, rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.95))
    skin = textures.fitted(textures.blotches(rng, light, 0.85 * light), 16)
    worn = {name: skin for name in (part.name for part in motions.parts())}
    for names, cloth in ((_SHIRT, shirt), (_TROUSERS, trousers), (_SHOES, shoes)):
        worn |= dict.fromkeys(names, cloth)
    return worn
