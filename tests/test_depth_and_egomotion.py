"""Depth and ego-motion are the papers'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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
from sslzoo_plugins.cross_modal.depth_and_egomotion import (
    MOTION_SCALE,
    DepthAndEgomotion,
    DepthAndEgomotionConfig,
    ThreeFrames,
)
from torch import Tensor, nn

from sslzoo.config import UsageError
from sslzoo.encoders import create_encoder
from sslzoo.method import Batch
from sslzoo.nn.view_synthesis import edge_aware_smoothness, photometric_error, rigid_motion, synthesise

CONFIG = DepthAndEgomotionConfig(decoder_dim=32)


def made(encoder: str = "test_resnet") -> Any:
    return built(DepthAndEgomotion, CONFIG, encoder)


def batch_with(**fields: Tensor) -> Batch:
    views = ThreeFrames(CONFIG, spec_for("test_resnet"))
    clips = [noisy_clip(3, 40, 50, seed=i) for i in range(4)]
    return views([{"clip": clip, "index": i, "key": 1000 + 7 * i, **fields} for i, clip in enumerate(clips)])


def test_three_frames_are_cut_alike_and_the_lens_follows() -> None:
    lens = torch.tensor([[60.0, 0, 24], [0, 55, 19], [0, 0, 1]])
    batch = batch_with(intrinsics=lens)
    assert batch["frames"].shape == (4, 3, 3, 32, 32) and len(batch["views"]) == 3
    for row, across in enumerate(batch["intrinsics"][:, 0, 0] / 60 / (32 / 50)):
        assert 1 <= across < 1.17
        down = batch["intrinsics"][row, 1, 1] / 55 / (32 / 40)
        assert 1 <= down < 1.17
    assert len({float(focal) for focal in batch["intrinsics"][:, 0, 0]}) > 1


def test_a_lens_that_is_not_known_is_guessed() -> None:
    guessed, told = batch_with(), batch_with(intrinsics=torch.tensor([[60.0, 0, 25], [0, 60, 20], [0, 0, 1]]))
    torch.testing.assert_close(guessed["intrinsics"], told["intrinsics"])  # 1.2 x 50 pixels, in the middle


def test_colours_change_for_the_networks_only_and_in_all_frames_alike() -> None:
    views = ThreeFrames(CONFIG, spec_for("test_resnet"))
    clip = noisy_clip(1, 40, 50).expand(3, -1, -1, -1)
    batch = views([{"clip": clip, "index": i, "key": 10 + i} for i in range(12)])
    mean, std = (torch.tensor(each)[:, None, None] for each in (views.spec.mean, views.spec.std))
    seen = torch.stack(batch["views"], dim=1)
    changed = ((seen * std + mean - batch["frames"]).abs().amax(dim=(1, 2, 3, 4)) > 0.01).tolist()
    assert 2 < sum(changed) < 10
    torch.testing.assert_close(seen[:, 0], seen[:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[:, 0], seen[:, 2], atol=1e-5, rtol=0)


def test_views_depend_on_clip_and_key_alone() -> None:
    check_views_depend_on_clip_and_key_alone(DepthAndEgomotion, CONFIG)


def test_the_loss_is_the_papers() -> None:
    method, batch = made().eval(), batch_of(DepthAndEgomotion, CONFIG)
    with torch.no_grad():
        found, poses, disparities = method(batch), method.poses(batch), method.disparities(batch["views"][1])
    before, now, after = batch["frames"].unbind(1)
    assert [each.shape[2] for each in disparities] == [32, 16, 8, 4]
    loss = 0.0
    for scale, disparity in enumerate(disparities):
        depth = 1 / F.interpolate(disparity, (32, 32), mode="bilinear")
        candidates = [
            photometric_error(synthesise(before, depth, poses[0], batch["intrinsics"]), now, 0.85),
            photometric_error(synthesise(after, depth, poses[1], batch["intrinsics"]), now, 0.85),
            photometric_error(before, now, 0.85),
            photometric_error(after, now, 0.85),
        ]
        loss += float(torch.stack(candidates).amin(dim=0).mean())
        loss += 1e-3 / 2**scale * float(edge_aware_smoothness(disparity, F.avg_pool2d(now, 2**scale)).mean())
    assert float(found["loss"]) == pytest.approx(loss / 4, rel=1e-4)


def test_disparity_lies_between_the_depths_of_the_configuration() -> None:
    method = made()
    with torch.no_grad():
        for head in (*method.coarser, method.decoder.last):
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias, 2.0)
        disparities = method.disparities(torch.zeros(2, 3, 32, 32))
    for disparity in disparities:
        torch.testing.assert_close(disparity, torch.full_like(disparity, 0.01 + 9.99 * 0.8807971))


def test_the_way_to_the_frame_before_is_the_inverse_of_the_way_from_it() -> None:
    method, batch = made().eval(), batch_of(DepthAndEgomotion, CONFIG)
    nn.init.normal_(method.pose[-3].bias)
    with torch.no_grad():
        to_before, to_after = method.poses(batch)
        for pose, first, second in ((to_before, 0, 1), (to_after, 1, 2)):
            told = MOTION_SCALE * method.pose(torch.cat(batch["views"][first : second + 1], dim=1))
            forward = rigid_motion(told[:, :3], told[:, 3:])
            expected = forward.inverse() if pose is to_before else forward
            torch.testing.assert_close(pose, expected, atol=1e-6, rtol=0)


def test_where_nothing_moves_no_pixel_counts() -> None:
    method, batch = made(), batch_of(DepthAndEgomotion, CONFIG)
    batch["frames"] = batch["frames"][:, 1:2].expand(-1, 3, -1, -1, -1)
    found = method(batch)
    found["loss"].backward()
    assert float(found["counted"]) == 0 and float(found["loss"].detach()) < 0.05
    assert all(not parameter.grad.any() for parameter in method.pose.parameters())


def test_the_renderers_depth_is_for_scores_only() -> None:
    depth = 2 + torch.rand(3, 1, 40, 50, generator=torch.Generator().manual_seed(0))
    depth[:, :, :10] = torch.inf
    method, batch = made(), batch_with(depth=depth)
    assert batch["depth"].shape == (4, 1, 32, 32)
    assert not any(score.requires_grad for name, score in method(batch).items() if name != "loss")
    method.eval()
    with torch.no_grad():
        found = method(batch)
        told = 1 / method.disparities(batch["views"][1])[0]
        plain = method({name: value for name, value in batch.items() if name != "depth"})
    expected = []
    for own, true in zip(told[:, 0].double().numpy(), batch["depth"][:, 0].double().numpy(), strict=True):
        own, true = own[np.isfinite(true)], true[np.isfinite(true)]
        # torch's median of an even number is the lower one
        own *= np.sort(true)[(len(true) - 1) // 2] / np.sort(own)[(len(own) - 1) // 2]
        expected.append(np.mean(np.abs(own - true) / true))
    assert float(found["abs_rel"]) == pytest.approx(np.mean(expected), rel=1e-4)
    assert plain.keys() == {"loss", "photometric", "counted"} and torch.equal(plain["loss"], found["loss"])


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(DepthAndEgomotion, CONFIG, encoder) == []


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(DepthAndEgomotion, CONFIG) == []


def test_any_number_of_channels() -> None:
    check_any_number_of_channels(DepthAndEgomotion, CONFIG)


def test_illustrations_show_true_depth_where_it_is_known() -> None:
    method = made().eval()
    with torch.no_grad():
        shown = method.illustrate(batch_with(depth=torch.full((3, 1, 40, 50), 3.0)))
        assert "depth as it is" not in method.illustrate(batch_with())
    assert all(picture.shape == (4, 3, 32, 32) for picture in shown.values())
    assert all(picture.min() >= 0 and picture.max() <= 1 for picture in shown.values())


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="an encoder of pictures"):
        DepthAndEgomotion(create_encoder("test_r3d", 32, frames=4), CONFIG)
    with pytest.raises(UsageError, match="min_depth must be above 0"):
        DepthAndEgomotion(create_encoder("test_resnet", 32), DepthAndEgomotionConfig(min_depth=200.0))


def test_the_default_recipe_is_the_authors() -> None:
    recipe, config = DepthAndEgomotion.defaults, DepthAndEgomotionConfig()
    assert (recipe.encoder, recipe.optimizer, recipe.lr, recipe.batch_size) == ("resnet18", "adam", 1e-4, 12)
    assert recipe.epochs * 516 == pytest.approx(20 * 39810, rel=1e-3)
    assert (config.ssim, config.smoothness, config.scales) == (0.85, 1e-3, 4)
    assert (config.min_depth, config.max_depth, config.stride) == (0.1, 100.0, 1)
