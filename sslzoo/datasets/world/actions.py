"""Clips of ``world-actions``: a person performs one of the recorded actions, seen by a camera that follows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sslzoo.datasets.world import camera
from sslzoo.datasets.world.camera import Lens
from sslzoo.datasets.world.motions import ACTIONS, RECORDINGS, Recording
from sslzoo.datasets.world.person import Person
from sslzoo.datasets.world.renderer import Fields, Shot, render
from sslzoo.datasets.world.stage import Stage

Array = NDArray[np.floating]

FRAMES, FPS, SIDE = 32, 15, 112
SEEDS = {"train": 2, "test": 3}
KINDS = ("nothing", "floor", "wall", "picture", "person")

BEGINNINGS = 16
"""Moments of a recording that a clip may begin at; those of ``train`` and ``test`` alternate."""
QUIET = (0.1, 0.5)
"""Contrast of floor and walls: what lies behind a person is quieter than clothes, as it mostly is in videos."""
PALE = (0.2, 0.5)
"""Share of their saturation that colours keep: in videos, too, the three channels tell nearly the same."""
STILL = 0.75
"""Share of cameras that do nothing but keep to the person: one that goes around gives away the order of frames."""
LATEST = 0.3
"""Share of a recording that does not repeat which may have passed when a clip begins."""


def clip(split: str, number: int) -> Fields:
    """All fields of a clip of ``world-actions``: what is random of it is a function of its split and its number."""
    rng = np.random.default_rng((SEEDS[split], number))
    names = RECORDINGS[ACTIONS[number % len(ACTIONS)]]
    recording = Recording.load(names[rng.integers(len(names))])
    distance = (1.7, 2.7)
    stage = Stage.draw(rng, split, rng.uniform(6, 9), contrast=rng.uniform(*QUIET))
    seconds = np.arange(FRAMES) / FPS
    late = (2 * rng.integers(BEGINNINGS // 2) + (split == "test")) / BEGINNINGS
    late *= recording.duration if recording.cyclic else LATEST * recording.duration
    person = Person.draw(rng, recording, late + rng.uniform(0.85, 1.15) * seconds, np.zeros(2), instance=1)
    targets = _smooth(person.middle) * (1, 1, 0.5) + (0, 0, 0.35)
    height = (0.4, 1.2) if split == "train" else (0.8, 2.2)
    limit = stage.half - 0.4
    cameras = camera.travel(rng, seconds, targets, distance, height, rng.uniform(0, 0.6), limit, STILL)
    poses = [person.poses, np.broadcast_to(stage.poses, (FRAMES, *stage.poses.shape))]
    lens = Lens(SIDE, rng.uniform(45, 60))
    bodies = [*person.bodies, *stage.bodies]
    fields = render(Shot(bodies, np.concatenate(poses, 1), cameras, lens, stage.light, stage.sky), KINDS)
    return fields | {"clip": _paled(fields["clip"], rng.uniform(*PALE))}


def _paled(clip: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """(T, 3, H, W) with a ``share`` of its saturation."""
    grey = clip.mean(1, keepdims=True)
    paled: NDArray[np.uint8] = (grey + share * (clip - grey)).round().astype(np.uint8)
    return paled


def _smooth(way: Array, width: float = 5.0) -> Array:
    """(T, 3): averaged over about a second, as a camera follows."""
    time = np.arange(len(way))
    weight = np.exp(-(((time[:, None] - time) / width) ** 2))
    smooth: Array = weight @ way / weight.sum(1, keepdims=True)
    return smooth
