"""Colours and blur: the arithmetic of torchvision, sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv
from view_samples import MEAN, STD, colors, draw_of

from sslzoo.views.blur import blur, gaussian_blur, gaussian_weights
from sslzoo.views.chosen import comes_alone
from sslzoo.views.color import (
    BRIGHTNESS,
    CONTRAST,
    SATURATION,
    adjust_hue_,
    adjust_tone_,
    color_jitter,
    denormalize,
    draw_jitter,
    grayscale,
    invert_from,
    jitter_,
    normalize,
    solarize,
    to_float,
    to_grayscale,
)

ADJUST = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]
"""In the order of the factors' columns."""


def each(images: Tensor, *parameters: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(images, *parameters, strict=True))


@pytest.mark.parametrize("which", [BRIGHTNESS, CONTRAST, SATURATION])
@pytest.mark.parametrize("channels", [1, 3])
def test_tone_is_adjusted_as_by_torchvision(which: int, channels: int) -> None:
    images, factor = colors(30, channels), torch.linspace(0, 2, 30)
    ours = adjust_tone_(images.clone(), torch.full((30,), which), factor)
    theirs = torch.stack([ADJUST[which](image, float(f)) for image, f in each(images, factor)])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_hue_is_turned_as_by_torchvision() -> None:
    images, shift = colors(60), torch.linspace(-0.5, 0.5, 60)
    for turned in (shift, shift.flip(0), torch.zeros(60)):
        theirs = torch.stack([tv.adjust_hue(image, float(s)) for image, s in each(images, turned)])
        ours = adjust_hue_(images.clone(), turned)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=4e-6)
        assert ours.min() >= 0 and ours.max() <= 1


@pytest.mark.parametrize(("count", "size"), [(48, 12), (24, 220)])
def test_each_sample_is_jittered_in_its_own_order_as_by_torchvision(count: int, size: int) -> None:
    order = torch.tensor(list(permutations(range(4))) * 2)[:count]
    images, chosen = colors(count, size=size), torch.arange(count) % 5 > 0
    assert comes_alone(images) == (size == 220)
    factors, _ = draw_jitter(draw_of(count), (0.8, 0.8, 0.8, 0.2))
    ours = images.clone()
    jitter_(ours, factors, order, chosen)
    theirs = images.clone()
    for sample in chosen.nonzero().flatten():
        for which in order[sample]:
            theirs[sample] = ADJUST[which](theirs[sample], float(factors[sample, which]))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert torch.equal(ours[~chosen], images[~chosen])


def test_jitter_factors_fill_their_ranges_and_orders_are_equally_likely() -> None:
    factors, order = draw_jitter(draw_of(4800), (0.4, 1.5, 0.8, 0.1))
    torch.testing.assert_close(factors.amin(0), torch.tensor([0.6, 0.0, 0.2, -0.1]), rtol=0, atol=0.01)
    torch.testing.assert_close(factors.amax(0), torch.tensor([1.4, 2.5, 1.8, 0.1]), rtol=0, atol=0.01)
    counts = torch.stack([(order == torch.tensor(each)).all(dim=1).sum() for each in permutations(range(4))])
    assert counts.sum() == 4800 and counts.min() > 140 and counts.max() < 260


@pytest.mark.parametrize("strengths", [(0.5, 0, 0, 0), (0, 0, 0, 0.2), (0.3, 0.3, 0, 0), (0.4, 0, 0.4, 0.1)])
def test_an_adjustment_of_strength_zero_is_left_out(strengths: tuple) -> None:
    _, order = draw_jitter(draw_of(50), strengths)
    used = [which for which, strength in enumerate(strengths) if strength]
    assert torch.equal(order.sort(dim=1).values, torch.tensor([used]).expand(50, -1))
    jittered = color_jitter(colors(50), draw_of(50), *strengths)
    assert not torch.equal(jittered, colors(50))


def test_jitter_of_no_strength_changes_nothing() -> None:
    assert torch.equal(color_jitter(colors(9), draw_of(9)), colors(9))


def test_grey_and_solarized_images_are_those_of_torchvision() -> None:
    images = colors(20)
    torch.testing.assert_close(to_grayscale(images), tv.rgb_to_grayscale(images, 3), rtol=0, atol=1e-6)
    assert torch.equal(invert_from(images, 128 / 255), tv.solarize(images, 128 / 255))
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    solarized = solarize(to_float(levels), draw_of(1), p=1.0)
    torch.testing.assert_close(solarized, to_float(tv.solarize(levels, 128)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("operation", [grayscale, solarize, gaussian_blur])
def test_a_random_operation_changes_the_share_of_samples_it_should(operation: Callable[..., Tensor]) -> None:
    images = torch.rand(500, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"kernel_size": 3, "sigma": (1.0, 2.0)} if operation is gaussian_blur else {}
    changed = (operation(images, draw_of(500), p=0.3, **options) != images).flatten(1).any(dim=1)
    assert 0.24 < changed.float().mean() < 0.36
    assert torch.equal(operation(images, draw_of(500), p=0.0, **options), images)


def test_single_channel_images_know_only_brightness_and_contrast() -> None:
    images, draw = colors(16, 1), draw_of(16)
    torch.testing.assert_close(color_jitter(images, draw, 0, 0, 0.8, 0.2), images, rtol=0, atol=1e-6)
    torch.testing.assert_close(grayscale(images, draw, p=1.0), images)
    assert not torch.allclose(color_jitter(images, draw, 0.8, 0.8, 0.8, 0.2), images, atol=0.01)


def test_alpha_is_untouched_and_does_not_touch_the_colors() -> None:
    images, draw = colors(16, 4), draw_of(16)
    for operation in (
        lambda x: color_jitter(x, draw, 0.8, 0.8, 0.8, 0.2),
        lambda x: grayscale(x, draw, p=0.5),
        lambda x: solarize(x, draw, p=0.5),
    ):
        done = operation(images)
        assert torch.equal(done[:, 3:], images[:, 3:])
        assert torch.equal(done[:, :3], operation(images[:, :3].contiguous()))


def test_images_of_five_channels_pass_through_every_operation() -> None:
    images, draw = colors(8, 5, size=24), draw_of(8)
    images = color_jitter(images, draw, 0.8, 0.8, 0.8, 0.2)
    images = gaussian_blur(solarize(grayscale(images, draw), draw), draw)
    assert images.shape == (8, 5, 24, 24) and images.min() >= 0 and images.max() <= 1


def test_normalization_is_that_of_torchvision_and_can_be_undone() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    images = to_float(levels)
    torch.testing.assert_close(images, tv.to_dtype(levels, torch.float32, scale=True), rtol=0, atol=1e-7)
    normal = normalize(images, MEAN, STD)
    assert torch.equal(normal, tv.normalize(images, list(MEAN), list(STD)))
    torch.testing.assert_close(denormalize(normal, MEAN, STD), images, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("size", "kernel_size"), [((32, 32), 3), ((40, 24), 9), ((64, 48), 23)])
def test_blur_is_that_of_torchvision(size: tuple[int, int], kernel_size: int) -> None:
    images = torch.rand(12, 3, *size, generator=torch.Generator().manual_seed(0))
    sigma = torch.linspace(0.1, 4.0, 12)
    ours = blur(images, gaussian_weights(sigma, kernel_size))
    theirs = torch.stack(
        [tv.gaussian_blur(image, [kernel_size] * 2, [float(s)] * 2) for image, s in each(images, sigma)]
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_the_kernel_is_a_tenth_of_the_image_unless_it_is_given() -> None:
    for height, length in ((32, 3), (64, 7), (224, 23)):
        images = torch.zeros(1, 1, height, height)
        images[..., height // 2, height // 2] = 1
        blurred = gaussian_blur(images, draw_of(1), p=1.0, sigma=(9.0, 9.0))
        assert (blurred > 0).sum() == length**2
    assert (gaussian_blur(images, draw_of(1), p=1.0, sigma=(9.0, 9.0), kernel_size=5) > 0).sum() == 25
