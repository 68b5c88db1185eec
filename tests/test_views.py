"""Crops, colours and blur: the arithmetic of torchvision and timm, sample by sample, whatever the batch."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from sslzoo.views import chosen as chosen_module
from sslzoo.views.blur import blur, gaussian_blur, gaussian_weights
from sslzoo.views.color import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
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
from sslzoo.views.crop import image_sizes, random_boxes, random_resized_crop, resize_center_crop, resized_crop
from sslzoo.views.keyed import Draw

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ADJUST = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
SIZES = [(48, 64), (64, 48), (20, 20), (33, 97), (97, 33), (41, 40), (200, 31), (1, 7)]


def draw_of(count: int, seed: int = 0) -> Draw:
    return Draw.root(seed).of(torch.arange(count))


def picture(height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth in one half, noise in the other."""
    noise = np.random.default_rng([seed, height, width]).integers(0, 256, (height, width, CHANNELS[mode]), np.uint8)
    noise[: height // 2] = np.linspace(0, 255, width, dtype=np.uint8)[:, None]
    return Image.fromarray(noise.squeeze(2) if mode == "L" else noise)


def pixels(image: Image.Image) -> Tensor:
    return tv.pil_to_tensor(image)


def colors(count: int, channels: int = 3, size: int = 12) -> Tensor:
    """Noise, and the pixels on which hue is hard: grey, nearly grey, dark, pure and with two equal channels."""
    images = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(count))
    images[0] = 0.5
    images[1] = images[1].round()
    images[2] *= 1e-4
    images[3] = 0.5 + 1e-4 * images[3]
    images[4] = (images[4] * 255).round() / 255
    images[5, -1] = images[5, 0]
    return images


def each(images: Tensor, *parameters: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(images, *parameters, strict=True))


def torchvision_box(height: int, width: int, unit: list[list[float]], scale: tuple, ratio: tuple) -> tuple:
    """``RandomResizedCrop.make_params`` with its random numbers given: per axis the place, then ten attempts."""
    for share, aspect in zip(unit[0][1:], unit[1][1:], strict=True):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * share)
        aspect_ratio = math.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * aspect)
        w, h = round(math.sqrt(area * aspect_ratio)), round(math.sqrt(area / aspect_ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(unit[0][0] * (height - h + 1)), int(unit[1][0] * (width - w + 1)), h, w
    w, h = width, height
    if width / height < min(ratio):
        h = round(w / min(ratio))
    elif width / height > max(ratio):
        w = round(h * max(ratio))
    return (height - h) // 2, (width - w) // 2, h, w


# Boxes


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.9, 1.0)])
@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (1.0, 1.0)])
def test_boxes_are_those_of_torchvision_for_the_same_random_numbers(scale: tuple, ratio: tuple) -> None:
    sizes = torch.tensor(SIZES * 20)
    draw = draw_of(len(sizes))
    unit = draw.uniform("box", shape=(2, 11)).tolist()
    boxes = random_boxes(sizes, draw, scale, ratio)
    expected = [torchvision_box(*size, u, scale, ratio) for size, u in zip(sizes.tolist(), unit, strict=True)]
    assert boxes.dtype == torch.int64
    assert boxes.tolist() == [list(box) for box in expected]


def test_boxes_are_spread_as_those_of_torchvision() -> None:
    count, height, width = 3000, 60, 90
    ours = random_boxes(torch.tensor([[height, width]]).expand(count, 2), draw_of(count)).double()
    image = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [v2.RandomResizedCrop(8).make_params([image]) for _ in range(count)]
    theirs = torch.tensor([[box[name] for name in ("top", "left", "height", "width")] for box in drawn]).double()
    levels = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    apart = (ours.quantile(levels, dim=0) - theirs.quantile(levels, dim=0)).abs() / torch.tensor([60, 90, 60, 90])
    assert apart.max() < 0.04


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2), (64, 64)])
def test_boxes_lie_inside_their_image(size: tuple[int, int]) -> None:
    top, left, height, width = random_boxes(torch.tensor([size] * 200), draw_of(200)).unbind(1)
    assert top.min() >= 0 and left.min() >= 0 and height.min() >= 1 and width.min() >= 1
    assert (top + height).max() <= size[0] and (left + width).max() <= size[1]


# Crops


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_resized_crop_of_pil_images_equals_torchvision_bit_for_bit(mode: str, interpolation: str) -> None:
    images = [picture(*size, mode) for size in SIZES]
    boxes = random_boxes(image_sizes(images), draw_of(len(images)))
    flip = torch.arange(len(images)) % 2 == 1
    views = resized_crop(images, boxes, flip, (24, 32), interpolation)
    assert views.shape == (len(images), CHANNELS[mode], 24, 32) and views.dtype == torch.uint8 and views.is_contiguous()
    for view, image, box, mirrored in zip(views, images, boxes.tolist(), flip, strict=True):
        expected = pixels(tv.resized_crop(image, *box, [24, 32], tv.InterpolationMode(interpolation), antialias=True))
        assert torch.equal(view, expected.flip(-1) if mirrored else expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_tensors_of_either_layout_come_within_one_grey_level_of_pil(interpolation: str) -> None:
    images = [picture(*size) for size in SIZES]
    planes = [pixels(image) for image in images]
    pixelwise = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in planes]
    boxes = random_boxes(image_sizes(images), draw_of(len(images)))
    flip = torch.arange(len(images)) % 2 == 1
    expected = resized_crop(images, boxes, flip, (24, 32), interpolation).int()
    for tensors in (planes, pixelwise):
        assert (resized_crop(tensors, boxes, flip, (24, 32), interpolation).int() - expected).abs().max() <= 1


def test_tensors_may_have_any_number_of_channels() -> None:
    image = torch.cat([pixels(picture(40, 30, seed=seed)) for seed in range(2)])[:5]
    together = random_resized_crop([image] * 3, (16, 16), draw_of(3))
    apart = [random_resized_crop([image[[c]]] * 3, (16, 16), draw_of(3)) for c in range(5)]
    assert together.shape == (3, 5, 16, 16)
    assert torch.equal(together, torch.cat(apart, dim=1))


def test_a_flip_mirrors_the_share_of_views_it_should() -> None:
    images, draw = [picture(20, 30)] * 400, draw_of(400)
    never, always, some = (random_resized_crop(images, (8, 8), draw, flip=p) for p in (0.0, 1.0, 0.3))
    assert torch.equal(always, never.flip(-1))
    mirrored = (some == always).flatten(1).all(dim=1)
    assert torch.equal(some[~mirrored], never[~mirrored])
    assert 0.23 < mirrored.float().mean() < 0.37


def test_images_of_mixed_or_unsuitable_modes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one channel count, not \[1, 3\]"):
        random_resized_crop([picture(9, 9, "L"), picture(9, 9, "RGB")], (4, 4), draw_of(2))
    with pytest.raises(ValueError, match="not P; convert"):
        random_resized_crop([picture(9, 9).convert("P")], (4, 4), draw_of(1))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 1.0, 1.2])
@pytest.mark.parametrize("size", [(32, 32), (31, 31), (24, 40), (40, 24)])
def test_the_evaluation_crop_equals_timm_bit_for_bit(size: tuple, crop_pct: float, interpolation: str) -> None:
    images = [picture(*size) for size in [*SIZES[:-1], (37, 37), (32, 32), (9, 11)]]
    ours = resize_center_crop(images, size, crop_pct, interpolation)
    options = {"input_size": (3, *size), "crop_pct": crop_pct, "interpolation": interpolation, "crop_mode": "center"}
    before = create_transform(**options, is_training=False, use_prefetcher=True)
    after = create_transform(**options, is_training=False, mean=MEAN, std=STD)
    assert torch.equal(ours, torch.stack([before(image) for image in images]))
    assert torch.equal(normalize(to_float(ours), MEAN, STD), torch.stack([after(image) for image in images]))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_the_evaluation_crop_equals_the_transform_timm_resolves_for_a_model(name: str) -> None:
    config = resolve_model_data_config(timm.create_model(name))
    transform = create_transform(**config, is_training=False)
    images = [picture(*size) for size in SIZES[:-1]]
    ours = resize_center_crop(images, config["input_size"][1:], config["crop_pct"], config["interpolation"])
    ours = normalize(to_float(ours), config["mean"], config["std"])
    assert torch.equal(ours, torch.stack([transform(image) for image in images]))


# Colours


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


def test_each_sample_is_jittered_in_its_own_order_as_by_torchvision() -> None:
    order = torch.tensor(list(permutations(range(4))) * 2)
    images, chosen = colors(48), torch.arange(48) % 5 > 0
    factors, _ = draw_jitter(draw_of(48), (0.8, 0.8, 0.8, 0.2))
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
def test_a_random_operation_changes_the_share_of_samples_it_should(operation) -> None:
    images = torch.rand(500, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"kernel_size": 3, "sigma": (1.0, 2.0)} if operation is gaussian_blur else {}
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
    assert torch.equal(images, torch.stack([v2.functional.to_tensor(v2.functional.to_pil_image(i)) for i in levels]))
    normal = normalize(images, MEAN, STD)
    assert torch.equal(normal, tv.normalize(images, list(MEAN), list(STD)))
    torch.testing.assert_close(denormalize(normal, MEAN, STD), images, rtol=0, atol=1e-6)


# Blur


@pytest.mark.parametrize(("size", "kernel_size"), [((32, 32), 3), ((40, 24), 9), ((64, 48), 23)])
def test_blur_is_that_of_torchvision(size: tuple[int, int], kernel_size: int) -> None:
    images = torch.rand(12, 3, *size, generator=torch.Generator().manual_seed(0))
    sigma = torch.linspace(0.1, 4.0, 12)
    ours = blur(images, gaussian_weights(sigma, kernel_size))
    theirs = torch.stack([tv.gaussian_blur(image, [kernel_size] * 2, [float(s)] * 2) for image, s in each(images, sigma)])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_the_kernel_is_a_tenth_of_the_image_unless_it_is_given() -> None:
    for height, length in ((32, 3), (64, 7), (224, 23)):
        images = torch.zeros(1, 1, height, height)
        images[..., height // 2, height // 2] = 1
        blurred = gaussian_blur(images, draw_of(1), p=1.0, sigma=(9.0, 9.0))
        assert (blurred > 0).sum() == length**2
    assert (gaussian_blur(images, draw_of(1), p=1.0, sigma=(9.0, 9.0), kernel_size=5) > 0).sum() == 25


# What holds for all of them


def simclr(images: list, draw: Draw, size: int = 32) -> Tensor:
    views = to_float(random_resized_crop(images, (size, size), draw))
    views = color_jitter(views, draw, 0.8, 0.8, 0.8, 0.2, p=0.8)
    views = grayscale(views, draw, p=0.2)
    views = solarize(views, draw, p=0.2)
    return normalize(gaussian_blur(views, draw, p=0.5), MEAN, STD)


def test_a_view_does_not_depend_on_the_rest_of_its_batch() -> None:
    images = [picture(40 + i, 70 - i, seed=i) for i in range(16)]
    draw = draw_of(16)
    together = simclr(images, draw)
    alone = [simclr(images[i : i + 1], Draw(draw.key[i : i + 1])) for i in range(16)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)
    backwards = simclr(images[::-1], Draw(draw.key.flip(0)))
    torch.testing.assert_close(together, backwards.flip(0), rtol=0, atol=1e-6)


def test_a_view_does_not_depend_on_the_size_of_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    images, draw = [picture(40, 50, seed=i) for i in range(16)], draw_of(16)
    whole = simclr(images, draw)
    monkeypatch.setattr(chosen_module, "_PIECE_BYTES", 1)
    torch.testing.assert_close(simclr(images, draw), whole, rtol=0, atol=1e-6)


def test_the_same_key_gives_the_same_view_again_and_another_branch_another() -> None:
    images, draw = [picture(40, 50)] * 4, draw_of(4)
    first = simclr(images, draw.at("view", 0))
    assert torch.equal(first, simclr(images, draw.at("view", 0)))
    assert not torch.allclose(first, simclr(images, draw.at("view", 1)))
    assert not torch.allclose(first[0], first[1])


def test_global_random_state_is_neither_used_nor_moved() -> None:
    images, draw = [picture(40, 50)] * 4, draw_of(4)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first, state = simclr(images, draw), torch.get_rng_state()
        torch.manual_seed(2)
        assert torch.equal(first, simclr(images, draw))
        torch.manual_seed(1)
        assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "operation",
    [
        lambda x, **o: color_jitter(x, draw_of(8), 0.8, 0.8, 0.8, 0.2, **o),
        lambda x, **o: grayscale(x, draw_of(8), p=0.9, **o),
        lambda x, **o: solarize(x, draw_of(8), p=0.9, **o),
        lambda x, **o: gaussian_blur(x, draw_of(8), p=0.9, kernel_size=5, **o),
        lambda x, **o: normalize(x, MEAN, STD, **o),
    ],
    ids=["color_jitter", "grayscale", "solarize", "gaussian_blur", "normalize"],
)
def test_only_an_operation_in_place_writes_over_its_images(operation) -> None:
    images = colors(8)
    done = operation(images)
    assert torch.equal(images, colors(8)) and done.data_ptr() != images.data_ptr()
    assert operation(images, inplace=True).data_ptr() == images.data_ptr()
    assert torch.equal(images, done)
    assert not torch.equal(images, colors(8))


def test_the_constants_name_the_columns_of_the_factors() -> None:
    assert (BRIGHTNESS, CONTRAST, SATURATION, HUE) == (0, 1, 2, 3)
