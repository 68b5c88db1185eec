"""Clips of ``world``: things of one material fall, roll, are thrown and pushed, and maybe a person moves among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sslzoo.datasets.world import camera, geometry, meshes, motions, textures
from sslzoo.datasets.world.camera import Lens
from sslzoo.datasets.world.materials import MATERIALS, Material
from sslzoo.datasets.world.meshes import Mesh
from sslzoo.datasets.world.person import Person
from sslzoo.datasets.world.physics import RATE, Push, Solid, simulate
from sslzoo.datasets.world.renderer import Body, Fields, Shot, render
from sslzoo.datasets.world.sound import synthesise
from sslzoo.datasets.world.stage import Stage

Array = NDArray[np.floating]

FRAMES, FPS, SIDE = 48, 15, 112
SEEDS = {"train": 0, "test": 1}

KINDS = (
    "nothing",
    "floor",
    "wall",
    "picture",
    "ball",
    "box",
    "cylinder",
    "cone",
    "capsule",
    "ring",
    "object",
    "person",
)
"""Classes of masks; ``object`` is one of pybullet's random ones."""
SHAPES = KINDS[4:11]

PEOPLE = 0.35
"""Share of clips with a person."""
PERFORMED = {
    "train": ("backflip", "cartwheel", "dance_a", "getup_faceup", "kick", "punch", "roll", "spinkick", "walk"),
    "test": ("crawl", "dance_b", "getup_facedown", "jump", "spin"),
}
"""Recordings: a split's people do what those of the other do not. Running leads out of the scene."""
STEPS = FRAMES * RATE // FPS
TEXELS = 60
"""Of a thing's texture in a metre: about what a pixel shows."""


@dataclass(frozen=True, eq=False)
class Thing:
    """A solid and its looks."""

    solid: Solid
    body: Body


def clip(split: str, number: int) -> Fields:
    """All fields of a clip of ``world``: what is random of it is a function of its split and its number."""
    rng = np.random.default_rng((SEEDS[split], number))
    person = rng.random() < PEOPLE
    distance = (1.9, 3.0) if person else (1.1, 2.0)
    stage = Stage.draw(rng, split, distance[1] + rng.uniform(0.6, 2.5))
    seconds = np.arange(STEPS) / RATE
    actor = _actor(rng, split, seconds) if person else None
    frames = slice(None, None, RATE // FPS)
    cameras = _cameras(rng, actor, seconds[frames], distance, stage.half)
    things = [*_moving(rng, split, MATERIALS[number % len(MATERIALS)]), *_scenery(rng, cameras, actor, stage.half)]
    solids = [thing.solid for thing in things]
    parts = [body.mesh for body in actor.bodies] if actor else []
    drive = actor.poses if actor else np.empty((STEPS, 0, 4, 4))
    moved, hits = simulate(solids, _pushes(rng, solids), stage.half, parts, drive, STEPS)
    poses = [moved[frames], drive[frames], np.broadcast_to(stage.poses, (FRAMES, *stage.poses.shape))]
    # Near things come first: the renderer colours what is hidden by them at no cost.
    bodies = [*(thing.body for thing in things), *(actor.bodies if actor else ()), *stage.bodies]
    lens = Lens(SIDE, rng.uniform(45, 70))
    shot = Shot(bodies, np.concatenate(poses, 1), cameras, lens, stage.light, stage.sky)
    return render(shot, KINDS) | {"sound": synthesise(rng, solids, hits, FRAMES / FPS)}


def _actor(rng: np.random.Generator, split: str, seconds: Array) -> Person:
    names = PERFORMED[split]
    recording = motions.Recording.load(names[rng.integers(len(names))])
    late = rng.uniform(0, recording.duration if recording.cyclic else 0.3 * recording.duration)
    return Person.draw(rng, recording, late + rng.uniform(0.8, 1.1) * seconds, rng.uniform(-0.6, 0.6, 2), instance=1)


def _cameras(
    rng: np.random.Generator, actor: Person | None, seconds: Array, distance: tuple[float, float], half: float
) -> Array:
    targets = np.zeros((len(seconds), 3)) + (0, 0, rng.uniform(0.15, 0.4))
    if actor is not None:
        targets += 0.6 * np.append(actor.middle[:, :2].mean(0), 0.6)
    return camera.travel(rng, seconds, targets, distance, (0.3, 1.6), rng.uniform(0.1, 0.8), half - 0.4)


def _moving(rng: np.random.Generator, split: str, material: Material) -> list[Thing]:
    """Three to six things, at most one of them of another material; a person is instance 1."""
    count = int(rng.integers(3, 7))
    made: list[Thing] = []
    for place in range(count):
        own = MATERIALS[rng.integers(len(MATERIALS))] if place == count - 1 and rng.random() < 0.5 else material
        shape = SHAPES[rng.integers(len(SHAPES))]
        mesh = _mesh(rng, split, shape, rng.uniform(0.2, 0.55))
        way = 2 * np.pi * (place + rng.uniform(0, 0.6)) / count
        out = np.array([np.cos(way), np.sin(way), 0.0])
        turn = geometry.rotations(_unit(rng.normal(size=4)))
        velocity, spin = np.zeros(3), rng.normal(0, 3, 3)
        start = ("drop", "throw", "roll", "rest")[rng.integers(4)]
        if start == "drop":
            where = rng.uniform(0.1, 0.7) * out + (0, 0, rng.uniform(0.4, 1.8))
        elif start == "throw":
            where = rng.uniform(0.9, 1.4) * out + (0, 0, rng.uniform(0.4, 1.0))
            velocity = -rng.uniform(1.0, 2.5) * out + (0, 0, rng.uniform(0.5, 2.5))
        else:
            low = (mesh.vertices @ turn.T)[:, 2].min()
            where = rng.uniform(0.3, 1.1) * out + (0, 0, 0.01 - low)
            speed = rng.uniform(0.6, 2.2) if start == "roll" else 0.0
            velocity, spin = -speed * out, np.cross((0, 0, 1), -speed * out) / (mesh.size / 2)
        solid = Solid(mesh, own, geometry.poses(turn, where), True, velocity, spin, shape == "ball")
        look = textures.fitted(own.look(rng), TEXELS * mesh.size)
        made.append(Thing(solid, Body(mesh, look, shape, 2 + place, own.gloss)))
    return made


def _pushes(rng: np.random.Generator, solids: Sequence[Solid]) -> list[Push]:
    """Up to four, at any time, mostly towards the middle: so that there is something to see and hear until the end."""
    moving = [number for number, solid in enumerate(solids) if solid.moves]
    made = []
    for _ in range(rng.integers(1, 5)):
        velocity = np.append(rng.uniform(-1.2, 1.2, 2), rng.uniform(1.0, 3.0)).tolist()
        made.append(Push(int(rng.integers(STEPS // 6, STEPS)), int(rng.choice(moving)), tuple(velocity)))
    return made


def _scenery(rng: np.random.Generator, cameras: Array, actor: Person | None, half: float) -> list[Thing]:
    """Up to five larger things that stand around, and not where the camera or the person goes."""
    way = [cameras[:, :2, 3], np.zeros((1, 2))]
    way += [actor.middle[:, :2]] if actor else []
    made: list[Thing] = []
    for place in range(rng.integers(1, 6)):
        shape = ("box", "box", "cylinder", "cone", "ring")[rng.integers(5)]
        size = rng.uniform(0.4, 1.3)
        mesh = _mesh(rng, "", shape, size)
        reach = min(half - 0.7, 4.5)
        where = rng.uniform(-reach, reach, 2)
        if min(np.linalg.norm(one - where, axis=1).min() for one in way) < 0.75 + size / 2:
            continue
        material = MATERIALS[rng.integers(len(MATERIALS))]
        pose = geometry.poses(geometry.about(2, rng.uniform(0, 7)), np.append(where, -mesh.vertices[:, 2].min()))
        picture = textures.anything(rng) if rng.random() < 0.5 else material.look(rng)
        look = textures.fitted(picture, TEXELS * size)
        made.append(Thing(Solid(mesh, material, pose), Body(mesh, look, shape, 20 + place, material.gloss)))
    return made


def _mesh(rng: np.random.Generator, split: str, shape: str, size: float) -> Mesh:
    """``size`` is about that of its longest side."""
    wide, high = size * rng.uniform(0.45, 1, 2)
    if shape == "ball":
        return meshes.ball(size / 2)
    if shape == "box":
        return meshes.box(size, wide, high)
    if shape == "cylinder":
        return meshes.cylinder(wide / 2, size)
    if shape == "cone":
        return meshes.cylinder(wide / 2, size, rng.uniform(0.05, 0.6))
    if shape == "capsule":
        return meshes.capsule(wide / 4, size - wide / 2)
    if shape == "ring":
        return meshes.torus(0.36 * size, rng.uniform(0.09, 0.14) * size)
    return meshes.random_object(rng, split, size)


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)
