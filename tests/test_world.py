"""What is known of rendered clips is true: each field is held against the others, or against the geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslzoo.datasets.world import actions, camera, scene
from sslzoo.datasets.world.named import RENDERINGS
from sslzoo.views.clips import PER_FRAME

SIDE = scene.SIDE
Clip = dict[str, Tensor]


def tensors(fields: dict[str, np.ndarray]) -> Clip:
    return {name: torch.from_numpy(values) for name, values in fields.items()}


@pytest.fixture(scope="module")
def things() -> Clip:
    """In a room, with a person among them."""
    return tensors(scene.clip("train", 2))


@pytest.fixture(scope="module")
def outside() -> Clip:
    """Under the sky."""
    return tensors(scene.clip("train", 3))


@pytest.fixture(scope="module")
def action() -> Clip:
    return tensors(actions.clip("test", 0))


@pytest.fixture(params=["things", "outside", "action"])
def clip(request: pytest.FixtureRequest) -> Clip:
    found: Clip = request.getfixturevalue(request.param)
    return found


def pixels() -> Tensor:
    """(2, H, W): the middles of pixels, across and down."""
    middle = torch.arange(SIDE) + 0.5
    return torch.stack(torch.meshgrid(middle, middle, indexing="xy"))


def points(clip: Clip) -> Tensor:
    """(T, 3, H, W) float64 in the camera's frame: what each pixel shows."""
    place = torch.cat([pixels(), torch.ones(1, SIDE, SIDE)]).double()
    rays = torch.einsum("ij,jhw->ihw", clip["intrinsics"].double().inverse(), place)
    return rays * clip["depth"].double()


def in_world(clip: Clip) -> Tensor:
    """(T, 3, H, W)"""
    camera = clip["camera"].double()
    return torch.einsum("tij,tjhw->tihw", camera[:, :3, :3], points(clip)) + camera[:, :3, 3, None, None]


def of_kind(clip: Clip, kinds: tuple[str, ...], names: tuple[str, ...]) -> Tensor:
    """(T, H, W): where one of these classes is."""
    return torch.isin(clip["classes"][:, 0], torch.tensor([names.index(kind) for kind in kinds], dtype=torch.uint8))


def there(clip: Clip, name: str, mode: str) -> Tensor:
    """(T - 1, C, H, W): a field of the next frame where the flow leads."""
    goal = (pixels() + clip["flow"][:-1]) / SIDE * 2 - 1
    grid = goal.nan_to_num(9).permute(0, 2, 3, 1)
    return F.grid_sample(clip[name][1:].float(), grid, mode=mode, align_corners=False)


@pytest.mark.parametrize("name", RENDERINGS)
def test_a_clip_has_all_fields_in_the_shapes_and_types_of_the_contract(name: str, things: Clip, action: Clip) -> None:
    rendering, clip = RENDERINGS[name], things if name == "world" else action
    types = {"clip": torch.uint8, "instances": torch.int32, "classes": torch.uint8}
    types |= dict.fromkeys(("contours", "visible"), torch.bool)
    assert clip.keys() == {*PER_FRAME, "intrinsics"} | ({"sound"} if name == "world" else set())
    for field, values in clip.items():
        assert values.shape == rendering.shape(field)
        assert values.dtype == types.get(field, torch.float32)
    assert clip["classes"].max() < len(rendering.mask_names)
    assert clip["flow"][-1].isnan().all() and not clip["visible"][-1].any()


def test_where_the_flow_leads_the_next_frame_looks_like_this_one(clip: Clip) -> None:
    seen = clip["visible"][:-1, 0]
    assert seen.float().mean() > 0.8
    frame = clip["clip"].float()
    moved = (clip["flow"][:-1].norm(dim=1) > 0.7) & seen
    along = (there(clip, "clip", "bilinear") - frame[:-1]).abs().mean(1)[moved].mean()
    still = (frame[1:] - frame[:-1]).abs().mean(1)[moved].mean()
    assert moved.float().mean() > 0.05 and along < 0.6 * still


def test_what_stands_still_moves_in_the_picture_as_depth_and_camera_say(clip: Clip) -> None:
    into_next = clip["camera"].double().inverse()[1:]
    moved = torch.einsum("tij,tjhw->tihw", into_next[:, :3, :3], in_world(clip)[:-1]) + into_next[:, :3, 3, None, None]
    projected = torch.einsum("ij,tjhw->tihw", clip["intrinsics"].double(), moved)
    expected = projected[:, :2] / projected[:, 2:] - pixels()
    kinds = ("floor", "wall", "picture")
    static = of_kind(clip, kinds, scene.KINDS if "sound" in clip else actions.KINDS)[:-1] & clip["visible"][:-1, 0]
    assert (expected - clip["flow"][:-1]).abs().amax(1)[static].max() < 0.01


def test_the_flow_of_what_moves_leads_to_the_same_instance_and_is_not_the_cameras(things: Clip) -> None:
    person = (things["instances"] == 1) & things["visible"]
    assert person[:-1].any((1, 2, 3)).float().mean() > 0.8
    follows = there(things, "instances", "nearest")[person[:-1]]
    assert (follows == 1).float().mean() > 0.999
    flow = things["flow"][:-1].norm(dim=1)
    ground = things["classes"][:-1, 0] == scene.KINDS.index("floor")
    assert flow[person[:-1, 0]].mean() > 2 * flow[ground].mean()


def test_instances_are_the_same_all_along_and_each_has_one_class(things: Clip, outside: Clip) -> None:
    for clip in (things, outside):
        found = clip["instances"].unique().tolist()
        assert len(found) > 3
        for instance in set(found) - {0}:
            assert len(clip["classes"][clip["instances"] == instance].unique()) == 1
        background = clip["classes"][clip["instances"] == 0].unique()
        assert set(background.tolist()) <= {scene.KINDS.index(kind) for kind in ("nothing", "floor", "wall", "picture")}


def test_the_floor_is_level_and_lies_at_height_zero(clip: Clip) -> None:
    floor = of_kind(clip, ("floor",), scene.KINDS)
    padded = F.pad(floor, (1, 1, 1, 1))
    left, right, above, below = padded[:, 1:-1, :-2], padded[:, 1:-1, 2:], padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]
    height = in_world(clip)[:, 2]
    near = floor & (clip["depth"][:, 0] < 15)
    assert near.any() and height[near].abs().max() < 2e-3
    normals = torch.einsum("tij,tjhw->tihw", clip["camera"][:, :3, :3], clip["normals"])
    assert normals[:, 2][near & (left | right) & (above | below)].min() > 0.99


def test_normals_have_length_one_and_face_the_camera(clip: Clip) -> None:
    something = clip["depth"][:, 0].isfinite()
    length = clip["normals"].norm(dim=1)
    assert (length[something] - 1).abs().max() < 1e-4 and (length[~something] == 0).all()
    towards = (points(clip) * clip["normals"]).sum(1) / clip["depth"][:, 0]
    assert (towards[something] < 0).float().mean() > 0.995


def test_normals_stand_on_the_surface_that_depth_tells_of(clip: Clip) -> None:
    """A neighbour on a flat surface lies in the plane: on one of the two sides, where two triangles meet."""
    where, normal = points(clip), clip["normals"]
    for axis in (2, 3):
        step = where.diff(dim=axis)
        length = step.norm(dim=1)
        one, other = (normal.narrow(axis, start, SIDE - 1) for start in (0, 1))
        lifted = torch.stack([(step * side).sum(1).abs() / length for side in (one, other)]).amin(0)
        instance, edge = clip["instances"][:, 0], clip["contours"][:, 0]
        same = instance.diff(dim=axis - 1) == 0
        inside = same & ~(edge.narrow(axis - 1, 0, SIDE - 1) | edge.narrow(axis - 1, 1, SIDE - 1)) & length.isfinite()
        assert (lifted[inside] < 0.02).float().mean() > 0.98


def test_contours_are_where_instances_meet_and_nowhere_inside_of_what_is_flat(clip: Clip) -> None:
    instance, edge = clip["instances"].float(), clip["contours"].float()
    lowest, highest = -F.max_pool2d(-instance, 3, 1, 1), F.max_pool2d(instance, 3, 1, 1)
    meets = lowest != highest
    close = F.max_pool2d(edge, 3, 1, 1) > 0
    assert close[meets].float().mean() > 0.999
    inverse = 1 / clip["depth"]
    jump = F.max_pool2d(inverse, 3, 1, 1) - -F.max_pool2d(-inverse, 3, 1, 1)
    flat = ~meets & (jump < 0.03 * inverse)
    assert not clip["contours"][flat].any()
    assert 0 < edge.mean() < 0.2


def test_what_is_covered_or_leaves_the_picture_is_not_visible(things: Clip) -> None:
    goal = pixels() + things["flow"][:-1]
    left = ((goal < 0) | (goal >= SIDE)).any(1)
    assert left.any() and not (things["visible"][:-1, 0] & left).any()
    instance = things["instances"][:-1].float()
    other = (there(things, "instances", "nearest") != instance)[:, 0] & ~left
    assert other.any() and not (things["visible"][:-1, 0] & other).float()[other].mean() > 0.02


def test_under_the_sky_depth_is_infinite(outside: Clip) -> None:
    nothing = outside["classes"] == 0
    assert nothing.any() and torch.equal(nothing, outside["depth"].isinf())


def test_the_share_of_cameras_asked_for_stands_still_and_the_others_move() -> None:
    seconds, targets = np.arange(8) / 15, np.zeros((8, 3))
    for share in (0.0, 0.75, 1.0):
        rngs = [np.random.default_rng(seed) for seed in range(200)]
        ways = [camera.travel(rng, seconds, targets, (2, 3), (1, 2), 0.5, still=share) for rng in rngs]
        still = [not np.ptp(way, axis=0).any() for way in ways]
        assert abs(np.mean(still) - share) < 0.08


@pytest.mark.parametrize("module", [scene, actions])
def test_a_clip_is_the_same_again_and_no_other_has_it(module: object, things: Clip, action: Clip) -> None:
    one, again = (
        (things, tensors(scene.clip("train", 2))) if module is scene else (action, tensors(actions.clip("test", 0)))
    )
    for name, values in one.items():
        assert torch.equal(values.nan_to_num(7), again[name].nan_to_num(7)), name
