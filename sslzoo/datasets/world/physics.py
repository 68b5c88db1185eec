"""What becomes of things that fall, are thrown, roll and hit each other, and every blow among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sslzoo.datasets.world import geometry
from sslzoo.datasets.world.bullet import Client, connected, quaternions
from sslzoo.datasets.world.materials import Material
from sslzoo.datasets.world.meshes import Mesh

Array = NDArray[np.floating]

RATE = 120
"""Steps per second."""
GRAVITY = 9.81
_SPEED = 0.15
"""Metres per second by which a blow must change the lighter thing's speed, to be one."""


@dataclass(frozen=True, eq=False)
class Solid:
    """A rigid thing and how it starts."""

    mesh: Mesh
    material: Material
    pose: Array
    """(4, 4)."""
    moves: bool = False
    velocity: Array | None = None
    """(3,) metres per second."""
    spin: Array | None = None
    """(3,) radians per second."""
    round: bool = False
    """Whether it is a ball."""

    @cached_property
    def mass(self) -> float:
        """In kilograms."""
        return max(0.02, self.material.density * self.mesh.volume)


@dataclass(frozen=True)
class Push:
    """A sudden change of velocity."""

    step: int
    solid: int
    velocity: tuple[float, float, float]


@dataclass(frozen=True)
class Hit:
    """A blow."""

    seconds: float
    first: int
    """Position of a solid, -1 for floor and walls, -2 for what is driven."""
    second: int
    impulse: float
    """In newton seconds."""


def simulate(
    solids: Sequence[Solid], pushes: Sequence[Push], half: float, driven: Sequence[Mesh], drive: Array, steps: int
) -> tuple[Array, list[Hit]]:
    """(steps, solids, 4, 4) poses before each step, and all hits, on a floor between walls ``half`` from the middle.

    The meshes ``driven`` go where ``drive`` (steps, driven, 4, 4) says, and push what is in their way.
    """
    positions, turns = np.empty((steps, len(solids), 3)), np.empty((steps, len(solids), 4))
    hits: list[Hit] = []
    with connected() as client:
        client.setGravity(0, 0, -GRAVITY)
        client.setPhysicsEngineParameter(fixedTimeStep=1 / RATE, deterministicOverlappingPairs=1)
        number_of = {_enclosed(client, *place): -1 for place in _bounds(half)}
        handles = [_built(client, solid) for solid in solids]
        number_of |= {handle: number for number, handle in enumerate(handles)}
        puppets = [client.createMultiBody(0, _hull(client, mesh)) for mesh in driven]
        number_of |= dict.fromkeys(puppets, -2)
        turned = quaternions(drive[..., :3, :3]) if puppets else np.empty((steps, 0, 4))
        before: dict[tuple[int, int], float] = {}
        where, put = client.getBasePositionAndOrientation, client.resetBasePositionAndOrientation
        for step in range(steps):
            for number, handle in enumerate(handles):
                if step == 0 or solids[number].moves:
                    positions[step:, number], turns[step:, number] = where(handle)
            for number, handle in enumerate(puppets):
                put(handle, drive[step, number, :3, 3].tolist(), turned[step, number].tolist())
            for push in pushes:
                if push.step == step:
                    client.resetBaseVelocity(handles[push.solid], push.velocity)
            client.stepSimulation()
            now = _impulses(client, number_of)
            hits += _new_hits(now, before, solids, step)
            before = now
    return geometry.poses(geometry.rotations(np.roll(turns, 1, -1)), positions), hits


def _impulses(client: Client, number_of: dict[int, int]) -> dict[tuple[int, int], float]:
    """Of the last step, by the two that touch."""
    found: dict[tuple[int, int], float] = {}
    for contact in client.getContactPoints():
        pair = (number_of[contact[1]], number_of[contact[2]])
        found[pair] = found.get(pair, 0.0) + contact[9] / RATE
    return found


def _new_hits(now: dict, before: dict, solids: Sequence[Solid], step: int) -> list[Hit]:
    """Where what two give each other has jumped up, and is more than weight."""
    made = []
    for (first, second), impulse in now.items():
        lighter = min(solids[number].mass for number in (first, second) if number >= 0 and solids[number].moves)
        if impulse > _SPEED * lighter + 2 * before.get((first, second), 0.0):
            made.append(Hit(step / RATE, first, second, impulse))
    return made


def _built(client: Client, solid: Solid) -> int:
    shape = client.createCollisionShape(client.GEOM_SPHERE, radius=solid.mesh.size / 2) if solid.round else None
    place, turn = solid.pose[:3, 3].tolist(), quaternions(solid.pose[None, :3, :3])[0].tolist()
    mass = solid.mass if solid.moves else 0
    handle: int = client.createMultiBody(mass, _hull(client, solid.mesh) if shape is None else shape, -1, place, turn)
    client.changeDynamics(
        handle,
        -1,
        restitution=solid.material.bounce,
        lateralFriction=solid.material.friction,
        rollingFriction=0.003,
        spinningFriction=0.003,
        linearDamping=0.02,
        angularDamping=0.05,
    )
    if solid.velocity is not None and solid.spin is not None:
        client.resetBaseVelocity(handle, solid.velocity.tolist(), solid.spin.tolist())
    return handle


def _hull(client: Client, mesh: Mesh) -> int:
    shape: int = client.createCollisionShape(client.GEOM_MESH, vertices=np.unique(mesh.vertices, axis=0).tolist())
    return shape


def _bounds(half: float) -> list[tuple[list[float], list[float]]]:
    """The normals and places of floor and walls."""
    floor: list[tuple[list[float], list[float]]] = [([0.0, 0.0, 1.0], [0.0, 0.0, 0.0])]
    if not np.isfinite(half):
        return floor
    return floor + [([-x, -y, 0.0], [half * x, half * y, 0.0]) for x, y in ((1.0, 0), (-1.0, 0), (0, 1.0), (0, -1.0))]


def _enclosed(client: Client, normal: list[float], place: list[float]) -> int:
    plane = client.createCollisionShape(client.GEOM_PLANE, planeNormal=normal)
    handle: int = client.createMultiBody(0, plane, -1, place)
    client.changeDynamics(handle, -1, restitution=0.8, lateralFriction=0.8, rollingFriction=0.003)
    return handle
