"""Egomotion as a pretext task is the paper's."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from clip_samples import built, noisy_clip, spec_for
from sslzoo_plugins.cross_modal.learning_by_moving import (
    LearningByMoving,
    LearningByMovingConfig,
    MovedCamera,
    StepLength,
    motion_between,
)
from torch import Tensor, nn
from two_processes import on_two_processes, world
from view_samples import draw_of

from sslzoo.config import UsageError
from sslzoo.encoders import create_encoder
from sslzoo.method import Batch, Sample

CONFIG = LearningByMovingConfig(hidden_dim=16)


def pose(right: float = 0.0, down: float = 0.0, ahead: float = 0.0, turned: float = 0.0) -> Tensor:
    """Of a camera that was moved and then turned to the right about its vertical axis, by radians."""
    cosine, sine = math.cos(turned), math.sin(turned)
    return torch.tensor([[cosine, 0, sine, right], [0, 1, 0, down], [-sine, 0, cosine, ahead], [0, 0, 0, 1]])


ANYWHERE = torch.tensor([[0.0, 0, 1, 5], [-1, 0, 0, 7], [0, -1, 0, 2], [0, 0, 0, 1]])
"""Somewhere in the world, looking along its x."""


def samples_of(count: int, channels: int = 3) -> list[Sample]:
    """The camera goes 10 cm ahead and turns a degree to the right with each of eight frames."""
    step = pose(ahead=0.1, turned=math.radians(1))
    camera = torch.stack([ANYWHERE @ torch.linalg.matrix_power(step, frame) for frame in range(8)])
    keys = draw_of(count).key.tolist()
    return [
        {"clip": noisy_clip(8, 40 + i, 52, channels, seed=i), "camera": camera, "index": i, "key": key}
        for i, key in enumerate(keys)
    ]


def batch_of(count: int = 6, channels: int = 3) -> Batch:
    return MovedCamera(CONFIG, spec_for("test_resnet", channels=channels))(samples_of(count, channels))


@pytest.mark.parametrize("start", [torch.eye(4), ANYWHERE])
def test_motion_is_that_of_the_second_camera_as_the_first_sees_it(start: Tensor) -> None:
    moved = start @ pose(right=0.3, down=-0.4, ahead=2.0, turned=0.25)
    torch.testing.assert_close(motion_between(start, moved), torch.tensor([0.3, 2.0, 0.25]))
    back = motion_between(moved, start)
    assert back[1] < 0 and back[2].item() == pytest.approx(-0.25)


def test_pairs_are_up_to_seven_frames_apart_in_either_direction() -> None:
    turned = batch_of(200)["motion"][:, 2] / math.radians(1)
    assert set(turned.round().int().tolist()) == set(range(-7, 8))
    torch.testing.assert_close(turned, turned.round(), rtol=0, atol=1e-2)


def test_both_frames_are_cut_alike_and_not_mirrored() -> None:
    column = torch.arange(52).expand(8, 3, 40, 52).to(torch.uint8) * 4
    samples = [sample | {"clip": column} for sample in samples_of(20)]
    views = MovedCamera(CONFIG, spec_for("test_resnet"))
    batch = views.augment(views.crop(samples) | {"key": draw_of(20).key})
    first, second = batch["views"]
    assert torch.equal(first, second)
    assert (first.diff(dim=3)[..., 1:-1] > 0).all()
    assert len({value.item() for value in first[:, 0, 0, 0]}) > 5


def test_limits_are_uniform_up_to_ten_steps_and_directions_share_theirs() -> None:
    step = StepLength()
    steps = torch.tensor([[[0.1, 0.3, 0.02], [-0.1, 0.5, -0.02]]])
    step.add(steps)
    ahead = math.sqrt((0.3**2 + 0.5**2) / 2)
    lengths = (ahead, ahead, 0.02)
    limits = [-10 + 20 * limit / 19 for limit in range(20)]
    generator = torch.Generator().manual_seed(0)
    motion = torch.randn(50, 3, generator=generator) * torch.tensor(lengths) * 6
    for row, found in zip(motion.tolist(), step.classes(motion).tolist(), strict=True):
        expected = [sum(value / length > limit for limit in limits) for value, length in zip(row, lengths, strict=True)]
        assert found == expected
    assert step.classes(torch.zeros(1, 3)).tolist() == [[10, 10, 10]]
    assert step.classes(torch.tensor([[1e3, -1e3, 0.0]])).tolist() == [[20, 0, 10]]


def test_the_length_of_a_step_is_that_of_all_clips_so_far() -> None:
    whole, parts = StepLength(), StepLength()
    steps = torch.randn(6, 7, 3, generator=torch.Generator().manual_seed(0))
    whole.add(steps)
    parts.add(steps[:2])
    parts.add(steps[2:])
    torch.testing.assert_close(whole.total, parts.total)
    mean_square = steps.square().mean((0, 1))
    torch.testing.assert_close(whole.total[:3] / whole.total[3], mean_square)


def counted() -> list[float]:
    steps = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0))
    step = StepLength()
    if world() > 1:
        steps = steps.chunk(2)[torch.distributed.get_rank()]
    step.add(steps)
    return cast(list[float], step.total.tolist())


def test_all_processes_count_the_clips_of_all() -> None:
    first, second = on_two_processes(counted)
    assert first == second == pytest.approx(counted(), rel=1e-5)


def test_the_loss_is_the_sum_of_three_cross_entropies_and_accuracy_the_mean_of_three() -> None:
    method, batch = cast(LearningByMoving, built(LearningByMoving, CONFIG).eval()), batch_of()
    found, logits = method(batch), method.logits(batch)
    target = method.step.classes(batch["motion"])
    by_axis = [nn.functional.cross_entropy(logits[:, axis], target[:, axis]) for axis in range(3)]
    torch.testing.assert_close(found["loss"], torch.stack(by_axis).sum())
    parts = torch.stack([found["across"], found["ahead"], found["turned"]])
    torch.testing.assert_close(found["accuracy"], parts.mean())


def test_everything_is_trained_and_only_training_counts_steps() -> None:
    method: Any = built(LearningByMoving, CONFIG)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm closes residual branches at first
            nn.init.ones_(module.weight)
    before = method.step.total.clone()
    method.eval()(batch_of())
    assert torch.equal(method.step.total, before)
    method.train()(batch_of())["loss"].backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() for parameter in method.parameters())
    assert method.step.total[3].item() == pytest.approx(6 * 7)


def test_grey_frames_are_learned_from_and_drawn_too() -> None:
    method = LearningByMoving(create_encoder("test_resnet", 32, 1), CONFIG).eval()
    batch = batch_of(channels=1)
    assert method(batch)["loss"].isfinite()
    drawn = method.illustrate(batch)["across, ahead, turned: true and predicted"]
    assert drawn.shape == (6, 3, 32, 32) and drawn.amax() == 1


def test_data_without_cameras_and_encoders_of_clips_are_refused() -> None:
    (sample,) = samples_of(1)
    del sample["camera"]
    with pytest.raises(UsageError, match="have no camera"):
        MovedCamera(CONFIG, spec_for("test_resnet"))([sample])
    with pytest.raises(UsageError, match="encoder of images"):
        built(LearningByMoving, CONFIG, "test_r3d")
    with pytest.raises(UsageError, match="at least 1 apart"):
        MovedCamera(LearningByMovingConfig(apart=0), spec_for("test_resnet"))
