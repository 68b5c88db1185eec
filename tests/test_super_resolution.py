"""Super-resolution is the paper's SRGAN-MSE around an encoder."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_samples import (
    batch_of,
    changed_by_held_out_scores,
    check_any_number_of_channels,
    check_views_depend_on_picture_and_key_alone,
)
from method_samples import built as built_as_it_begins
from PIL import Image
from sslzoo_plugins.generation.super_resolution import (
    SuperResolution,
    SuperResolutionConfig,
    discriminator,
    enlarging,
    psnr,
)
from torch import Tensor, nn
from view_samples import MEAN, STD

from sslzoo.encoders import InputSpec
from sslzoo.method import PretextMethod
from sslzoo.views.color import denormalize

CONFIG = SuperResolutionConfig(scale=2, decoder_dim=32, generator_dim=8, discriminator_dim=4)


def built(config: SuperResolutionConfig = CONFIG, encoder: str = "test_resnet") -> PretextMethod:
    """The method after its first steps: what it adds to the bicubic picture is no longer nothing."""
    method = built_as_it_begins(SuperResolution, config, encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        nn.init.normal_(method.enlarge[-1].weight, std=0.1)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm closes residual branches at first
            nn.init.ones_(module.weight)
    return method


@pytest.mark.parametrize("scale", [2, 4])
def test_the_small_picture_is_the_bicubic_one_that_pil_makes(scale: int) -> None:
    batch = batch_of(SuperResolution, SuperResolutionConfig(scale=scale))
    large, small = (batch["target"] + 1) / 2, denormalize(batch["views"][0], MEAN, STD)
    assert large.shape == (4, 3, 32 * scale, 32 * scale) and small.shape == (4, 3, 32, 32)
    for one, other in zip(large, small, strict=True):
        picture = Image.fromarray((one * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
        by_pil = np.asarray(picture.resize((32, 32), Image.Resampling.BICUBIC), dtype=np.float64) / 255
        apart = np.abs(other.permute(1, 2, 0).numpy() - by_pil) * 255
        assert apart.mean() < 0.5 and apart.max() < 5  # PIL also rounds and clips between rows and columns


@pytest.mark.parametrize("scale", [2, 4])
def test_sub_pixel_layers_enlarge(scale: int) -> None:
    assert enlarging(8, 3, scale)(torch.randn(2, 8, 5, 6)).shape == (2, 3, 5 * scale, 6 * scale)


def test_a_sub_pixel_layer_computes_four_pixels_in_the_channels_of_each() -> None:
    torch.manual_seed(0)
    convolve, shuffle = enlarging(2, 3, 2)[1:3]
    x = torch.randn(1, 2, 3, 4)
    channels, large = convolve(x), shuffle(convolve(x))
    for row in range(6):
        for column in range(8):
            for channel in range(2):
                place = channel * 4 + (row % 2) * 2 + column % 2
                assert large[0, channel, row, column] == channels[0, place, row // 2, column // 2]


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit", "test_convnext"])
@pytest.mark.parametrize("scale", [2, 4])
def test_any_encoder_becomes_a_generator(encoder: str, scale: int) -> None:
    config = SuperResolutionConfig(scale=scale, decoder_dim=32, generator_dim=8, discriminator_dim=4)
    drawn, bicubic = built(config, encoder).draw(batch_of(SuperResolution, config)["views"][0])
    assert drawn.shape == bicubic.shape == (4, 3, 32 * scale, 32 * scale)


def test_what_is_drawn_begins_as_the_bicubic_picture() -> None:
    drawn, bicubic = built_as_it_begins(SuperResolution, CONFIG).draw(batch_of(SuperResolution, CONFIG)["views"][0])
    assert torch.equal(drawn, bicubic)
    assert not torch.equal(*built().draw(batch_of(SuperResolution, CONFIG)["views"][0]))


def test_the_discriminator_is_the_papers() -> None:
    convolutions = [layer for layer in discriminator(3, 64) if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [layer.stride[0] for layer in convolutions] == [1, 2] * 4
    linear = [layer for layer in discriminator(3, 64) if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(6 * 6 * 512, 1024), (1024, 1)]
    assert discriminator(3, 4)(torch.randn(2, 3, 96, 96)).shape == (2, 1)


def test_the_loss_is_content_and_a_thousandth_of_deception() -> None:
    method, batch = built().eval(), batch_of(SuperResolution, CONFIG)
    with torch.no_grad():
        losses = method(batch)
        drawn, bicubic = method.draw(batch["views"][0])
    target = batch["target"].double().numpy()
    content = np.mean((drawn.double().numpy() - target) ** 2)
    by_hand = content + 1e-3 * float(losses["generator_loss"]) + float(losses["discriminator_loss"])
    assert float(losses["loss"]) == pytest.approx(by_hand, rel=1e-5)
    # Of pixels in [0, 255], as it is usually defined.
    noise = np.mean(((bicubic.double().numpy() - target) * 127.5) ** 2)
    assert float(losses["bicubic_psnr"]) == pytest.approx(10 * math.log10(255**2 / noise), rel=1e-5)
    assert float(losses["psnr"]) == pytest.approx(10 * math.log10(4 / content), rel=1e-5)


def test_a_perfect_picture_has_a_finite_ratio() -> None:
    assert psnr(torch.tensor(0.0)).isfinite()


def test_gradients_are_those_of_two_separate_backward_passes() -> None:
    method, batch = built(), batch_of(SuperResolution, CONFIG)
    method(dict(batch))["loss"].backward()

    other, target = built(), batch["target"]
    drawn, _ = other.draw(batch["views"][0])

    def entropy(logits: Tensor, is_real: float) -> Tensor:
        return F.binary_cross_entropy(logits.sigmoid(), torch.full_like(logits, is_real))

    judge = other.discriminator
    d_loss = entropy(judge(target), 1.0) + entropy(judge(drawn.detach()), 0.0)
    g_loss = F.mse_loss(drawn, target) + 1e-3 * entropy(judge(drawn), 1.0)
    for loss, discriminates in ((d_loss, True), (g_loss, False)):
        mine = {n: p for n, p in other.named_parameters() if n.startswith("discriminator.") == discriminates}
        apart = torch.autograd.grad(loss, list(mine.values()), retain_graph=True)
        for name, gradient in zip(mine, apart, strict=True):
            torch.testing.assert_close(method.get_parameter(name).grad, gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    method = built(encoder=encoder)
    method(batch_of(SuperResolution, CONFIG))["loss"].backward()
    assert not [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum()]


def test_views_depend_on_picture_and_key_alone() -> None:
    check_views_depend_on_picture_and_key_alone(SuperResolution, CONFIG)


def test_pictures_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(SuperResolution, CONFIG)


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(SuperResolution, CONFIG) == []


def test_disks_soon_become_sharper_than_bicubic_ones() -> None:
    config = replace(CONFIG, adversarial=0.0, min_scale=1.0)  # deception costs sharpness in this measure
    method, views = built_as_it_begins(SuperResolution, config), SuperResolution.views(config, InputSpec.square(32))
    place = torch.arange(64) - 31.5
    radius = torch.linspace(10, 28, 16)[:, None, None]
    disks = ((place[:, None] ** 2 + place**2).sqrt() < radius).to(torch.uint8) * 255
    samples = [{"image": disk.expand(3, 64, 64).clone(), "index": i, "key": i} for i, disk in enumerate(disks)]
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    for _ in range(30):
        losses = method(views(samples))
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses["psnr"] > losses["bicubic_psnr"] + 1


def test_the_default_recipe_is_the_papers() -> None:
    recipe = SuperResolution.defaults
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.batch_size) == ("adam", 1e-4, 0.9, 16)
    steps = recipe.epochs * 1_281_167 / recipe.batch_size
    assert steps == pytest.approx(1_200_000, rel=0.01)
    assert recipe.milestones[0] * steps == pytest.approx(1_100_000, rel=0.01)


@pytest.mark.parametrize("scale", [2, 4])
def test_illustrations_show_the_middle_pixel_by_pixel(scale: int) -> None:
    config = SuperResolutionConfig(scale=scale, decoder_dim=32, generator_dim=8, discriminator_dim=4)
    method, batch = built(config).eval(), batch_of(SuperResolution, config)
    with torch.no_grad():
        pictures = method.illustrate(batch)
    assert list(pictures) == ["small", "bicubic", "super-resolved", "original"]
    assert all(shown.shape == (4, 3, 32, 32) for shown in pictures.values())
    first = {2: 16, 4: 48}[scale]
    window = (batch["target"][..., first : first + 32, first : first + 32] + 1) / 2
    torch.testing.assert_close(pictures["original"], window)
    small = denormalize(batch["views"][0], MEAN, STD)[..., first // scale : (first + 32) // scale, first // scale]
    torch.testing.assert_close(pictures["small"][..., ::scale, 0], small)
