"""The humanoid that comes with pybullet, moved as people were recorded to move: where its parts are at any moment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from sslzoo.datasets.world import geometry, meshes
from sslzoo.datasets.world.meshes import Mesh

Array = NDArray[np.floating]

RECORDINGS = {
    "backflip": ("backflip",),
    "cartwheel": ("cartwheel",),
    "crawl": ("crawl",),
    "dance": ("dance_a", "dance_b"),
    "getup_facedown": ("getup_facedown",),
    "getup_faceup": ("getup_faceup",),
    "jump": ("jump",),
    "kick": ("kick",),
    "punch": ("punch",),
    "roll": ("roll",),
    "run": ("run",),
    "spin": ("spin",),
    "spinkick": ("spinkick",),
    "walk": ("walk",),
}
"""By action. They hold 0.8 to 4.5 s each."""
ACTIONS = tuple(RECORDINGS)

SCALE = 0.25
"""Of the humanoid's file, whose unit is a quarter of a metre."""
UP = geometry.about(0, np.pi / 2)
"""The recordings' y is up, as ours is z."""
_TURNS = {
    "chest": slice(8, 12),
    "neck": slice(12, 16),
    "right_hip": slice(16, 20),
    "right_knee": slice(20, 21),
    "right_ankle": slice(21, 25),
    "right_shoulder": slice(25, 29),
    "right_elbow": slice(29, 30),
    "left_hip": slice(30, 34),
    "left_knee": slice(34, 35),
    "left_ankle": slice(35, 39),
    "left_shoulder": slice(39, 43),
    "left_elbow": slice(43, 44),
}
"""Where a recording's frame holds each joint: a quaternion, or an angle about z. Before: seconds, place, turn."""


@dataclass(frozen=True)
class Part:
    """A rigid part of the body."""

    name: str
    parent: str
    joint: Array
    """(3,) where it hangs on its parent, in metres in the parent's frame."""
    mesh: Mesh | None
    place: Array
    """(4, 4) of the mesh in the part's frame."""


@cache
def parts() -> tuple[Part, ...]:
    """Parents come first."""
    import pybullet_data

    text = Path(pybullet_data.getDataPath(), "humanoid", "humanoid.urdf").read_text()
    robot = ElementTree.fromstring(text.rstrip("\0\n\r\t "))
    joints = {_named(joint, "child", "link"): joint for joint in robot.iter("joint")}
    made = []
    for link in robot.iter("link"):
        name = link.attrib["name"]
        joint, solid = joints.get(name), link.find("collision")
        mesh, place = _solid(solid) if solid is not None else (None, np.eye(4))
        parent = _named(joint, "parent", "link") if joint is not None else ""
        made.append(Part(name, parent, SCALE * _vector(joint, "xyz"), mesh, place))
    return tuple(made)


@dataclass(frozen=True, eq=False)
class Recording:
    """One of the motions."""

    seconds: Array
    """(F,) when its frames are."""
    frames: Array
    """(F, 44)."""
    cyclic: bool
    """Whether it goes on from its end as from its beginning."""

    @classmethod
    def load(cls, name: str) -> Recording:
        import pybullet_data

        path = Path(pybullet_data.getDataPath(), "data", "motions", f"humanoid3d_{name}.txt")
        content = json.loads(path.read_text())
        frames = np.array(content["Frames"])
        return cls(np.concatenate([[0], np.cumsum(frames[:-1, 0])]), frames, content["Loop"] == "wrap")

    @property
    def duration(self) -> float:
        return float(self.seconds[-1])

    def at(self, seconds: Array) -> Array:
        """(T, 44): the body at these moments. One that does not go on stays as it ends."""
        rounds = np.floor(seconds / self.duration) if self.cyclic else np.zeros_like(seconds)
        inside = (seconds - rounds * self.duration).clip(0, self.duration)
        later = np.searchsorted(self.seconds, inside, side="right").clip(1, len(self.seconds) - 1)
        start, end = self.seconds[later - 1], self.seconds[later]
        share = ((inside - start) / (end - start))[:, None]
        one, other = self.frames[later - 1].copy(), self.frames[later].copy()
        for turn in (slice(4, 8), *_TURNS.values()):
            if turn.stop - turn.start == 4:
                other[:, turn] *= np.where((one[:, turn] * other[:, turn]).sum(1, keepdims=True) < 0, -1, 1)
        found = one + share * (other - one)
        found[:, [1, 3]] += rounds[:, None] * (self.frames[-1] - self.frames[0])[[1, 3]]
        return found


def pose(frames: Array) -> dict[str, Array]:
    """(T, 4, 4) of each part that can be seen, for ``frames`` (T, 44) of a recording; z is up."""
    where: dict[str, Array] = {}
    for part in parts():
        if part.parent == "":
            where[part.name] = geometry.poses(UP @ geometry.rotations(_unit(frames[:, 4:8])), frames[:, 1:4] @ UP.T)
            continue
        turn = frames[:, _TURNS[part.name]] if part.name in _TURNS else None
        if turn is None:
            rotation: Array = np.eye(3)
        elif turn.shape[1] == 1:
            rotation = geometry.about(2, turn[:, 0])
        else:
            rotation = geometry.rotations(_unit(turn))
        where[part.name] = where[part.parent] @ geometry.poses(rotation, part.joint)
    return {part.name: where[part.name] @ part.place for part in parts() if part.mesh}


def lowest(placed: dict[str, Array]) -> Array:
    """(T,): the height of the lowest point of the body."""
    heights = [
        (placed[part.name][:, 2, :3] @ part.mesh.vertices.T + placed[part.name][:, 2, 3:]).min(1)
        for part in parts()
        if part.mesh
    ]
    return np.min(heights, axis=0)


def _solid(element: ElementTree.Element) -> tuple[Mesh, Array]:
    (shape,) = element.iterfind("geometry/*")
    size = {name: SCALE * np.array(value.split(), float) for name, value in shape.attrib.items()}
    if shape.tag == "sphere":
        mesh = meshes.ball(size["radius"][0], around=10)
    elif shape.tag == "capsule":
        mesh = meshes.capsule(size["radius"][0], size["length"][0])
    else:
        mesh = meshes.box(*size["size"])
    turn = geometry.about(0, _vector(element, "rpy")[0])
    return mesh, geometry.poses(turn, SCALE * _vector(element, "xyz"))


def _vector(element: ElementTree.Element | None, name: str) -> Array:
    """(3,) of an element's origin."""
    origin = element.find("origin") if element is not None else None
    return np.array(origin.attrib[name].split() if origin is not None and name in origin.attrib else [0] * 3, float)


def _named(element: ElementTree.Element, tag: str, attribute: str) -> str:
    found = element.find(tag)
    return found.attrib[attribute] if found is not None else ""


def _unit(quaternions: Array) -> Array:
    return quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
