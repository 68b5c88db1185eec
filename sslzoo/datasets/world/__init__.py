"""Rendered clips with all that is known of them: ``world`` of things that fall and sound, ``world-actions`` of people.

Both are made by pybullet's physics and CPU renderer from what comes with it, when they are first read, and kept in the
user's cache. What is random of a clip is a function of its split and its number. None of pybullet's random objects, no
recorded motion (of ``world``) and no picture of cliparts is in both splits; textures, lights, rooms and the ways of
cameras are drawn anew for every clip.

What is exact: depth, masks, camera and intrinsics are the renderer's. Flow and visibility follow from depth and the
poses of camera and bodies, for rigid bodies without approximation. Normals are those of the triangles that are seen,
got from the depth of a pixel and of a neighbour on the same body; where there is none, depth is taken not to change.
Colours are not: the renderer takes one point of a surface for each pixel, as a camera without a lens would.
"""

from __future__ import annotations

from sslzoo.data.source import DatasetInfo, NamedDataset, Source
from sslzoo.datasets.world import actions, scene
from sslzoo.datasets.world.clips import Rendering
from sslzoo.datasets.world.materials import NAMES
from sslzoo.datasets.world.motions import ACTIONS


class World(NamedDataset):
    """Clips of 48 frames at 15 per second and 112 px, with sound.

    As long as what a method wants of a clip: two seconds for frames to be ordered, 16 for a video encoder, and sounds
    of a second that can be shifted. The label is what most of the things that move are made of, which shows in their
    surface, in how they bounce, and in the sound of their blows.
    """

    info = DatasetInfo(
        name="world",
        splits=("train", "test"),
        modalities=("clip",),
        license="Apache-2.0",
        homepage="https://github.com/sslzoo/sslzoo",
        summary="Rendered clips of things that fall and sound, with depth, masks, flow and camera: extra [world].",
    )

    def open(self, split: str) -> Source:
        return RENDERINGS[self.info.name].open(split)


class WorldActions(NamedDataset):
    """Clips of 32 frames at 15 per second and 112 px, silent: a person performs one of 14 recorded actions.

    The splits differ in everything drawn (clothes, rooms, lights, directions and speeds), in the height of the camera,
    and in the moments of the recording that clips begin at.
    """

    info = DatasetInfo(
        name="world-actions",
        splits=("train", "test"),
        modalities=("clip",),
        license="Apache-2.0",
        homepage="https://github.com/sslzoo/sslzoo",
        summary="Rendered clips of a person who performs one of 14 recorded actions: extra [world].",
    )

    def open(self, split: str) -> Source:
        return RENDERINGS[self.info.name].open(split)


RENDERINGS = {
    "world": Rendering(
        name="world",
        version=1,
        clip=scene.clip,
        lengths={"train": 516, "test": 132},
        frames=scene.FRAMES,
        fps=scene.FPS,
        side=scene.SIDE,
        class_names=NAMES,
        mask_names=scene.KINDS,
        license=World.info.license,
    ),
    "world-actions": Rendering(
        name="world-actions",
        version=1,
        clip=actions.clip,
        lengths={"train": 420, "test": 140},
        frames=actions.FRAMES,
        fps=actions.FPS,
        side=actions.SIDE,
        class_names=ACTIONS,
        mask_names=actions.KINDS,
        license=WorldActions.info.license,
    ),
}
