"""VideoGAN is the paper's: the two streams, the losses, and whose gradient goes where."""

from __future__ import annotations

import copy
import math
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
    without_gradient,
)
from sslzoo_plugins.generation.video_gan import SceneGenerator, Stream, VideoGAN, VideoGANConfig
from torch import Tensor, nn

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec

CONFIG, ENCODER = VideoGANConfig(latent_dim=12, generator_width=4), "test_r3d"


def made(config: VideoGANConfig = CONFIG) -> Any:
    return built(VideoGAN, config, ENCODER)


def latents(count: int = 3, length: int = 12) -> Tensor:
    return torch.randn(count, length, generator=torch.Generator().manual_seed(0))


def doublings(stream: Stream) -> list[nn.ConvTranspose3d]:
    return [layer for layer in stream if isinstance(layer, nn.ConvTranspose3d)]


def test_the_generator_of_32_frames_of_64_pixels_is_the_papers() -> None:
    generator = SceneGenerator(100, InputSpec.square(64, frames=32), 64)
    moving, still = doublings(generator.moving), doublings(generator.still)
    for layers, out in ((moving, 3 + 1), (still, 3)):
        assert [(layer.in_channels, layer.out_channels) for layer in layers] == [
            *((100, 512), (512, 256), (256, 128), (128, 64)),
            (64, out),
        ]
    assert [layer.kernel_size for layer in moving] == [(2, 4, 4), *[(4, 4, 4)] * 4]
    assert [layer.stride for layer in moving[1:]] == [(2, 2, 2)] * 4
    assert [layer.kernel_size for layer in still] == [(1, 4, 4)] * 5
    assert [layer.stride for layer in still[1:]] == [(1, 2, 2)] * 4
    for layer in (*moving, *still):
        assert abs(float(layer.weight.detach().std()) - 0.01) < 0.001


@pytest.mark.parametrize(
    ("frames", "size", "in_time"), [(1, 16, 0), (2, 32, 0), (4, 32, 1), (6, 50, 1), (16, 64, 3), (32, 16, 2)]
)
def test_a_generator_makes_clips_of_any_size(frames: int, size: int, in_time: int) -> None:
    spec = InputSpec.square(size, frames=frames)
    generator = SceneGenerator(12, spec, 2)
    assert sum(layer.stride[0] == 2 for layer in doublings(generator.moving)) == in_time
    clips, mask = generator(latents())
    assert clips.shape == (3, 3, frames, size, size) and mask.shape == (3, 1, frames, size, size)
    mean, std = (torch.tensor(values)[:, None, None, None] for values in (spec.mean, spec.std))
    unit = clips * std + mean
    assert unit.min() >= -1e-6 and unit.max() <= 1 + 1e-6 and unit.std() > 0
    assert mask.min() >= 0 and mask.max() <= 1


@torch.no_grad()
def test_a_clip_is_the_foreground_where_the_mask_is_and_else_the_background() -> None:
    generator = made().generator
    foreground, background, mask = generator.streams(latents())
    clips, _ = generator(latents())
    assert foreground.shape == (3, 3, 4, 32, 32) and background.shape == (3, 3, 1, 32, 32)
    for clip, channel, frame, row, column in ((0, 0, 0, 3, 4), (1, 2, 3, 20, 31), (2, 1, 2, 16, 0)):
        m = float(mask[clip, 0, frame, row, column])
        one, other = foreground[clip, channel, frame, row, column], background[clip, channel, 0, row, column]
        value = (m * float(one) + (1 - m) * float(other) + 1) / 2
        spec = InputSpec.square(32)
        expected = (value - spec.mean[channel]) / spec.std[channel]
        assert math.isclose(float(clips[clip, channel, frame, row, column]), expected, abs_tol=1e-5)
    nn.init.zeros_(generator.moving[-1].weight)
    nn.init.constant_(generator.moving[-1].bias, -200.0)  # no mask: nothing moves
    still, mask = generator(latents())
    assert not mask.any() and torch.equal(still, still[:, :, :1].expand_as(still))


def test_latents_are_normal_and_the_keys() -> None:
    latent = batch_of(VideoGAN, VideoGANConfig(latent_dim=4000), ENCODER)["latent"]
    assert latent.shape == (4, 4000)
    assert abs(float(latent.mean())) < 0.03 and abs(float(latent.std()) - 1) < 0.02
    check_views_depend_on_clip_and_key_alone(VideoGAN, CONFIG, ENCODER)


def test_the_losses_are_the_papers() -> None:
    method, batch = made().eval(), batch_of(VideoGAN, CONFIG, ENCODER)
    with torch.no_grad():
        losses = method(batch)
        clips, mask = method.generator(batch["latent"])
        real = torch.sigmoid(method.head(method.encoder(batch["views"][0]))).double().numpy()
        fake = torch.sigmoid(method.head(method.encoder(clips))).double().numpy()
    judging, deceiving = -np.log(real).mean() - np.log(1 - fake).mean(), -np.log(fake).mean()
    assert math.isclose(float(losses["discriminator_loss"]), judging, rel_tol=1e-5)
    assert math.isclose(float(losses["generator_loss"]), deceiving, rel_tol=1e-5)
    norm = float(mask.abs().sum()) / mask.numel()
    assert math.isclose(float(losses["loss"]), judging + deceiving + 0.1 * norm, rel_tol=1e-5)


def test_each_player_has_the_gradient_of_its_own_loss_alone() -> None:
    method, batch = made(), batch_of(VideoGAN, CONFIG, ENCODER)
    alone = copy.deepcopy(method)
    method(batch)["loss"].backward()

    fake, mask = alone.generator(batch["latent"])
    found, unmasked = alone.head(alone.encoder(torch.cat([batch["views"][0], fake]))).chunk(2)
    right, wrong = torch.ones(4, 1), torch.zeros(4, 1)
    judge = F.binary_cross_entropy_with_logits(found, right) + F.binary_cross_entropy_with_logits(unmasked, wrong)
    deceive = F.binary_cross_entropy_with_logits(unmasked, right) + 0.1 * mask.mean()
    for prefix, loss in (("generator.", deceive), ("encoder.", judge), ("head.", judge)):
        players = {name: p for name, p in alone.named_parameters() if name.startswith(prefix)}
        expected = torch.autograd.grad(loss, [*players.values()], retain_graph=True)
        for name, gradient in zip(players, expected, strict=True):
            torch.testing.assert_close(method.get_parameter(name).grad, gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_the_encoders_statistics_are_of_real_and_generated_clips_together() -> None:
    method, batch = made(), batch_of(VideoGAN, CONFIG, ENCODER)
    alone = copy.deepcopy(method)
    method(batch)
    with torch.no_grad():
        alone.encoder(torch.cat([batch["views"][0], alone.generator(batch["latent"])[0]]))
    for name, buffer in alone.encoder.named_buffers():
        torch.testing.assert_close(method.encoder.get_buffer(name), buffer, msg=name)


def test_the_gradient_reaches_every_parameter() -> None:
    assert without_gradient(VideoGAN, CONFIG, ENCODER) == []


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(VideoGAN, CONFIG, ENCODER) == []


def test_clips_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(VideoGAN, CONFIG, ENCODER)


def test_encoders_of_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="r3d_18"):
        built(VideoGAN, CONFIG, "test_resnet")


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = VideoGAN.defaults, VideoGANConfig()
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.batch_size) == ("adam", 2e-4, 0.5, 64)
    assert (recipe.image_size, recipe.frames, recipe.epochs) == (64, 32, 100)
    assert (config.latent_dim, config.generator_width, config.mask_penalty) == (100, 64, 0.1)


def test_illustrations_show_what_generated_clips_are_made_of() -> None:
    method, batch = made().eval(), batch_of(VideoGAN, CONFIG, ENCODER)
    with torch.no_grad():
        real, generated, foreground, mask, background = method.illustrate(batch).values()
    for frames in (real, generated, foreground, mask):
        assert frames.shape == (4, 3, 32, 4 * 32 + 3 * 2) and frames.min() >= 0 and frames.max() <= 1
    assert background.shape == (4, 3, 32, 32)
    made_up = mask * foreground + (1 - mask) * F.pad(background, (0, 2)).repeat(1, 1, 1, 4)[..., :-2]
    inside = torch.ones(134, dtype=torch.bool)
    inside[[32, 33, 66, 67, 100, 101]] = False  # the lines between frames
    torch.testing.assert_close(made_up[..., inside], generated[..., inside], rtol=0, atol=1e-5)
