"""Watching objects move is the paper's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dense_samples import (
    SIDE,
    SQUARE,
    batch_of,
    built,
    changed_by_held_out_scores,
    check_views_depend_on_sample_and_key_alone,
    dense_sample,
    dense_samples,
    without_gradient,
)
from sslzoo_plugins.free_label.moving_objects import (
    MovingObjects,
    MovingObjectsConfig,
    SegmentCrops,
    around,
    at_border,
    masked_entropy,
    overlap,
    segment,
)
from view_samples import MEAN, STD, draw_of

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.views.color import denormalize

CONFIG = MovingObjectsConfig(bottleneck=32)


def test_the_mask_is_where_pixels_move_by_themselves() -> None:
    sample = dense_sample(0, 0)
    sample["clip"] = torch.zeros_like(sample["clip"])
    sample["clip"][:, :, *SQUARE] = 255  # what moves is white
    views = SegmentCrops(CONFIG, InputSpec.square(SIDE))
    batch = views([sample | {"key": key} for key in draw_of(40).key.tolist()])
    white = denormalize(batch["views"][0], MEAN, STD)[:, :1]
    off = (F.avg_pool2d(white, 4) - batch["target"].float()).abs()
    assert off[batch["counts"]].max() < 0.3
    assert 0.7 < batch["counts"].float().mean() < 1 and 0.1 < batch["target"].float().mean() < 0.5
    assert {batch[name].shape[2:] for name in ("target", "counts")} == {(SIDE // 4, SIDE // 4)}


def test_clips_of_several_sizes_are_looked_at_as_each_would_be_alone() -> None:
    samples = [dense_sample(number, number) for number in range(3)]
    for name in ("clip", "flow"):
        samples[1][name] = samples[1][name][..., :-8]
    views = SegmentCrops(CONFIG, InputSpec.square(SIDE))
    together, alone = views(samples), [views([sample]) for sample in samples]
    for name in ("target", "counts"):
        assert torch.equal(together[name], torch.cat([batch[name] for batch in alone]))
    assert torch.equal(together["views"][0], torch.cat([batch["views"][0] for batch in alone]))


def test_crops_are_about_the_segment_as_in_deepmask() -> None:
    boxes, sizes = torch.tensor([[300, 400, 30, 80]]).expand(2000, 4), torch.tensor([[1000, 1000]]).expand(2000, 2)
    square = around(boxes, sizes, draw_of(2000)).double()
    share = 80 / square[:, 2]
    assert torch.equal(square[:, 2], square[:, 3])
    assert 4 / 7 * 2**-0.25 - 0.01 < share.min() < 0.49 and 0.66 < share.max() < 4 / 7 * 2**0.25 + 0.01
    off = (square[:, :2] + square[:, 2:] / 2 - torch.tensor([315, 440])) / square[:, 2:]
    assert 0.09 < off.abs().max() < 0.11 and off.mean(0).abs().max() < 0.01


def test_crops_stay_inside_of_the_frame() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [40, 50, 10, 10], [0, 0, 50, 60]]).repeat(50, 1)
    square = around(boxes, torch.tensor([[50, 60]]).expand(150, 2), draw_of(150))
    assert (square[:, :2] >= 0).all() and (square[:, :2] + square[:, 2:] <= torch.tensor([50, 60])).all()
    assert (square[2::3] == torch.tensor([0, 0, 50, 50]))[:, 2:].all()


def test_a_segment_is_drawn_by_its_size_and_specks_are_none() -> None:
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[1:5, 1:7] = mask[10:12, 10:14] = mask[18, 18] = True
    boxes = [tuple(segment(mask, 0.01, draw_of(1, seed))[0].tolist()) for seed in range(200)]
    assert set(boxes) == {(1, 1, 4, 6), (10, 10, 2, 4)}
    assert abs(boxes.count((1, 1, 4, 6)) / 200 - 24 / 32) < 0.1
    box, found = segment(mask, 0.1, draw_of(1))
    assert box.tolist() == [0, 0, 20, 20] and not found


def test_pixels_near_a_border_do_not_count_in_masks_of_the_papers_size() -> None:
    mask = torch.zeros(1, 1, 56, 56, dtype=torch.bool)
    mask[:, :, 20:40, 30:] = True
    by_hand = np.zeros((56, 56), bool)
    by_hand[19:41, 29:] = True
    by_hand[21:39, 31:] = False
    np.testing.assert_array_equal(at_border(mask)[0, 0].numpy(), by_hand)
    assert not at_border(mask[:, :, :55, :55]).any()


def test_the_loss_is_logistic_and_of_pixels_that_count() -> None:
    rng = np.random.default_rng(0)
    logits, target, counts = (
        rng.normal(size=(3, 1, 4, 5)),
        rng.random((3, 1, 4, 5)) > 0.6,
        rng.random((3, 1, 4, 5)) > 0.3,
    )
    counts[2] = False
    pictures = []
    for picture in range(3):
        losses = [
            math.log1p(math.exp(-x if moves else x))
            for x, moves, counted in zip(
                logits[picture].ravel(), target[picture].ravel(), counts[picture].ravel(), strict=True
            )
            if counted
        ]
        pictures.append(np.mean(losses) if losses else 0.0)
    tensors = [torch.tensor(values) for values in (logits, target, counts)]
    assert float(masked_entropy(*tensors)) == pytest.approx(np.mean(pictures))
    both = ((logits > 0) & target & counts).sum()
    assert float(overlap(*tensors)) == pytest.approx(both / (((logits > 0) | target) & counts).sum())


def test_a_frame_in_which_nothing_moves_counts_nothing() -> None:
    sample = dense_sample(0, 3)
    sample["flow"] = torch.zeros_like(sample["flow"])
    batch = MovingObjects.views(CONFIG, InputSpec.square(32))([sample, dense_sample(1, 4)])
    assert not batch["counts"][0].any() and batch["counts"][1].any()


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(built(MovingObjects, CONFIG, encoder), batch_of(MovingObjects, CONFIG)) == []


def test_views_depend_on_sample_and_key_alone() -> None:
    check_views_depend_on_sample_and_key_alone(MovingObjects, CONFIG)


@pytest.mark.parametrize("channels", [1, 4])
def test_frames_may_have_any_number_of_channels(channels: int) -> None:
    batch = batch_of(MovingObjects, CONFIG, channels=channels)
    method = built(MovingObjects, CONFIG, channels=channels).eval()
    assert method(batch)["loss"].isfinite()


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(built(MovingObjects, CONFIG), batch_of(MovingObjects, CONFIG)) == []


def test_what_it_cannot_work_with_is_refused() -> None:
    samples = [{name: value for name, value in sample.items() if name != "flow"} for sample in dense_samples(2)]
    with pytest.raises(UsageError, match="have no flow"):
        MovingObjects.views(CONFIG, InputSpec.square(32))(samples)
    with pytest.raises(UsageError, match="single frames"):
        MovingObjects(create_encoder("test_r3d", 32, frames=4), CONFIG)


def test_illustrations_show_the_mask_beside_what_is_predicted() -> None:
    batch, method = batch_of(MovingObjects, CONFIG), built(MovingObjects, CONFIG).eval()
    with torch.no_grad():
        frame, mask, predicted = method.illustrate(batch).values()
        probability = method.logits(batch).sigmoid()
    assert frame.shape == mask.shape == predicted.shape == (4, 3, 32, 32)
    assert set(mask.unique().tolist()) == {0.0, 0.5, 1.0}
    torch.testing.assert_close(predicted[:, :1, ::4, ::4], probability)
