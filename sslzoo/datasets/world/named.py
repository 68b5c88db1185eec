"""The named data sets ``world`` and ``world-actions``."""

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
        license="Zlib",
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
        license="Zlib",
        homepage="https://github.com/sslzoo/sslzoo",
        summary="Rendered clips of a person who performs one of 14 recorded actions: extra [world].",
    )

    def open(self, split: str) -> Source:
        return RENDERINGS[self.info.name].open(split)


RENDERINGS = {
    "world": Rendering(
        name="world",
        version=1,
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
        version=3,
        lengths={"train": 840, "test": 280},
        frames=actions.FRAMES,
        fps=actions.FPS,
        side=actions.SIDE,
        class_names=ACTIONS,
        mask_names=actions.KINDS,
        license=WorldActions.info.license,
    ),
}
