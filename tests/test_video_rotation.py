"""Rotation prediction of clips is the paper's."""

from __future__ import annotations

import math

import pytest
import torch
from clip_samples import (
    batch_of,
    built,
    changed_by_held_out_scores,
    check_any_number_of_channels,
    check_views_depend_on_clip_and_key_alone,
    noisy_clip,
    spec_for,
    without_gradient,
)
from sslzoo_plugins.context.video_rotation import FourTurns, VideoRotation, VideoRotationConfig, tilted
from torchvision.transforms.v2 import functional as tv
from view_samples import draw_of

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec, create_encoder

CONFIG, ENCODER = VideoRotationConfig(), "test_r3d"


def test_all_frames_of_a_clip_are_turned_alike_and_the_same_clip_in_all_four_ways() -> None:
    views = batch_of(VideoRotation, CONFIG, ENCODER)["views"]
    assert len(views) == 4 and views[0].shape == (4, 3, 4, 32, 32)
    for turns, view in enumerate(views):
        for frame in range(4):
            assert torch.equal(view[:, :, frame], torch.rot90(views[0][:, :, frame], turns, dims=(2, 3)))


def test_a_turn_moves_pixels_and_changes_none() -> None:
    views = batch_of(VideoRotation, CONFIG, ENCODER)["views"]
    for view in views[1:]:
        assert torch.equal(view.flatten().sort().values, views[0].flatten().sort().values)


def test_untilted_clips_are_cut_from_the_middle_and_a_tilt_is_torchvisions() -> None:
    clips = noisy_clip(2, 40, 40).float()[None] / 255
    still = tilted(clips, torch.zeros(1), torch.zeros(1, 2), 20)
    torch.testing.assert_close(still, clips[:, :, :, 10:30, 10:30])
    moved = tilted(clips, torch.zeros(1), torch.tensor([[4.0, -3.0]]), 20)
    torch.testing.assert_close(moved, clips[:, :, :, 7:27, 14:34])
    turned = tilted(clips, torch.tensor([math.radians(10)]), torch.zeros(1, 2), 20)
    theirs = tv.rotate(clips[0], -10, tv.InterpolationMode.BILINEAR)  # counter-clockwise is theirs to count
    torch.testing.assert_close(turned[0], theirs[:, :, 10:30, 10:30], rtol=0, atol=1e-4)


def test_tilts_are_up_to_the_authors_ten_degrees_and_places_anywhere_in_the_square() -> None:
    views = FourTurns(CONFIG, InputSpec.square(112, frames=2))
    assert views.extent == 136 and views.sampling.stride == 2
    level = torch.arange(136.0)[:, None].expand(136, 136)
    clip = (level.clamp(max=135) + torch.zeros(300, 2, 1, 1, 1)).to(torch.uint8)
    views = FourTurns(CONFIG, InputSpec.square(112, 1, frames=2))
    batch = views.augment({"clip": clip, "key": draw_of(300).key})
    shade = (batch["views"][0][:, 0, 0] * 0.5 + 0.5) * 255
    slope = (shade[:, 56, 66] - shade[:, 56, 46]) / 20  # along a row, the sine of the tilt
    degrees = torch.rad2deg(slope.asin())
    assert 9 < degrees.abs().max() < 10.2 and abs(float(degrees.mean())) < 1
    middle = shade[:, 55:57, 55:57].mean((1, 2)) - 67.5
    assert 11 < middle.abs().max() < 12.1


def test_views_depend_on_clip_and_key_alone() -> None:
    check_views_depend_on_clip_and_key_alone(VideoRotation, CONFIG, ENCODER)


def test_the_loss_is_the_mean_over_all_clips_and_turns() -> None:
    method, batch = built(VideoRotation, CONFIG, ENCODER).eval(), batch_of(VideoRotation, CONFIG, ENCODER)
    total, right = 0.0, 0
    with torch.no_grad():
        losses = method(batch)
        for turns, view in enumerate(batch["views"]):
            for logits in method.head(method.encoder(view)):
                total += float(logits.logsumexp(0) - logits[turns])
                right += int(logits.argmax() == turns)
    assert math.isclose(float(losses["loss"]), total / 16, rel_tol=1e-5)
    assert math.isclose(float(losses["accuracy"]), right / 16, rel_tol=1e-6)


def test_the_gradient_reaches_every_parameter() -> None:
    assert without_gradient(VideoRotation, CONFIG, ENCODER) == []


def test_clips_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(VideoRotation, CONFIG, ENCODER)


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(VideoRotation, CONFIG, ENCODER) == []


def test_the_default_recipe_is_that_of_the_authors_code() -> None:
    recipe = VideoRotation.defaults
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("momentum", 0.1, 0.9, 1e-3)
    assert (recipe.batch_size, recipe.image_size, recipe.frames, recipe.encoder) == (32, 112, 16, "r3d_18")
    steps = recipe.epochs * 240_000 / recipe.batch_size
    assert [round(share * steps) for share in recipe.milestones] == [24_000, 48_000, 72_000, 96_000]


def test_an_encoder_of_pictures_is_refused() -> None:
    with pytest.raises(UsageError, match="such as r3d_18"):
        VideoRotation(create_encoder("test_resnet", 32), CONFIG)
    with pytest.raises(UsageError, match="such as r3d_18"):
        VideoRotation.views(CONFIG, spec_for("test_resnet"))


def test_illustrations_turn_middle_frames_back_by_what_was_predicted() -> None:
    method, batch = built(VideoRotation, CONFIG, ENCODER).eval(), batch_of(VideoRotation, CONFIG, ENCODER)
    with torch.no_grad():
        upright, shown, undone = method.illustrate(batch).values()
        assert upright.shape == shown.shape == undone.shape == (4, 3, 32, 32)
        assert shown.min() >= 0 and shown.max() <= 1
        for i in range(4):
            predicted = int(method.head(method.encoder(batch["views"][i][i : i + 1])).argmax())
            assert torch.equal(shown[i], torch.rot90(upright[i], i, dims=(-2, -1)))
            assert torch.equal(undone[i], upright[i]) == (predicted == i)
