"""Of rendered clips: things fall as they do, a blow is heard when it is seen, people stand on the ground head up."""

from __future__ import annotations

import numpy as np
import pytest

from sslzoo.datasets.world import geometry, meshes, sound
from sslzoo.datasets.world.materials import MATERIALS, NAMES
from sslzoo.datasets.world.meshes import Mesh
from sslzoo.datasets.world.motions import ACTIONS, RECORDINGS, Recording, lowest, pose
from sslzoo.datasets.world.physics import GRAVITY, RATE, Hit, Solid, simulate
from sslzoo.views.spectrograms import SOUND_RATE

NONE_DRIVEN = np.empty((RATE, 0, 4, 4))


def thing(material: str, size: float, height: float = 0.0) -> Solid:
    pose = geometry.poses(np.eye(3), np.array([0, 0, height]))
    mesh = meshes.ball(size / 2)
    return Solid(mesh, MATERIALS[NAMES.index(material)], pose, True, np.zeros(3), np.zeros(3), round=True)


def sound_of(solid: Solid, *hits: Hit) -> np.ndarray:
    return sound.synthesise(np.random.default_rng(0), [solid], hits, 1.0)


def brightness(heard: np.ndarray) -> float:
    """Hz: the mean frequency, by energy."""
    energy = np.abs(np.fft.rfft(heard)) ** 2
    return float((np.fft.rfftfreq(len(heard), 1 / SOUND_RATE) * energy).sum() / energy.sum())


@pytest.mark.parametrize("mesh", [meshes.ball(0.3, 40), meshes.cylinder(0.3, 0.5), meshes.box(0.2, 0.3, 0.4)])
def test_a_mesh_is_closed_and_its_faces_look_outwards(mesh: Mesh) -> None:
    corners = mesh.vertices[mesh.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.abs(across.sum(0)).max() < 1e-9
    assert ((across * corners.mean(1)).sum(1) > 0).all()
    assert ((across[:, None] * mesh.normals[mesh.faces]).sum(2) > 0).all()


def test_a_mesh_knows_its_volume() -> None:
    assert meshes.box(0.2, 0.3, 0.4).volume == pytest.approx(0.024)
    assert meshes.ball(0.3, 60).volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.01)


def test_no_random_object_is_in_both_splits() -> None:
    train, test = (set(meshes.random_objects(split)) for split in ("train", "test"))
    assert (len(train), len(test)) == (750, 250) and not train & test


def test_a_ball_falls_hits_the_floor_and_bounces_as_its_material_does() -> None:
    rises = {}
    for material in ("rubber", "stone"):
        moved, hits = simulate([thing(material, 0.2, 1.1)], [], np.inf, [], NONE_DRIVEN, RATE)
        height = moved[:, 0, 2, 3] - 0.1
        lands = (2 / GRAVITY) ** 0.5
        assert hits[0].seconds == pytest.approx(lands, abs=2 / RATE) and {hits[0].first, hits[0].second} == {0, -1}
        time = np.arange(RATE // 3) / RATE
        assert np.abs(height[: len(time)] - (1 - GRAVITY * time**2 / 2)).max() < 0.03
        rises[material] = height[round(lands * RATE) + 4 :].max()
    assert rises["rubber"] > 2 * rises["stone"]


def test_a_blow_is_heard_from_the_moment_it_happens_and_the_louder_the_harder_it_is() -> None:
    solid = thing("metal", 0.3)
    soft, hard = (sound_of(solid, Hit(0.25, 0, -1, impulse)) for impulse in (0.1, 2.0))
    start = SOUND_RATE // 4
    assert sound.RATE == SOUND_RATE == len(hard) and np.abs(hard).max() <= 1
    assert np.abs(hard[: start - 1]).max() < 0.02 < 0.1 < np.abs(hard[start : start + 400]).max()
    assert np.square(hard).sum() > 3 * np.square(soft).sum()


def test_the_sound_tells_size_and_material() -> None:
    small, large = (sound_of(thing("wood", size), Hit(0.1, 0, 0, 1.0)) for size in (0.2, 0.5))
    assert brightness(small) > 1.5 * brightness(large)
    rings = {}
    for name in NAMES:
        energy = np.square(sound_of(thing(name, 0.3), Hit(0.1, 0, 0, 1.0)))
        late = slice(round(0.3 * SOUND_RATE), round(0.5 * SOUND_RATE))
        rings[name] = energy[late].sum() / energy.sum()
    assert max(rings, key=lambda name: rings[name]) == "metal"


def test_every_recording_of_a_person_belongs_to_one_action() -> None:
    names = [name for recordings in RECORDINGS.values() for name in recordings]
    assert len(ACTIONS) == 14 and len(set(names)) == len(names) == 15


@pytest.mark.parametrize("action", ["walk", "kick", "punch", "run"])
def test_who_stands_has_feet_on_the_ground_below_hip_and_head(action: str) -> None:
    recording = Recording.load(RECORDINGS[action][0])
    placed = pose(recording.at(np.linspace(0, recording.duration, 20)))
    heights = {name: matrix[:, 2, 3] for name, matrix in placed.items()}
    assert (heights["neck"] > heights["chest"]).all() and (heights["chest"] > heights["root"]).all()
    feet = np.minimum(heights["right_ankle"], heights["left_ankle"])
    assert (feet < heights["root"] - 0.4).all() and np.abs(lowest(placed)).min() < 0.1


def test_getting_up_ends_higher_than_it_begins_and_stays_there() -> None:
    recording = Recording.load("getup_faceup")
    height = pose(recording.at(np.array([0.0, recording.duration, 2 * recording.duration])))["neck"][:, 2, 3]
    assert height[0] < 0.5 < 1.2 < height[1] == height[2]


def test_walking_goes_on_without_a_leap() -> None:
    recording = Recording.load("walk")
    seconds = np.arange(0, 3 * recording.duration, 1 / 60)
    place = pose(recording.at(seconds))["root"][:, :3, 3]
    step = np.linalg.norm(np.diff(place, axis=0), axis=1)
    assert step.max() < 3 * np.median(step) and np.linalg.norm(place[-1] - place[0]) > 2.5
