"""Crops: the boxes of torchvision, the pixels of torchvision and timm."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv
from view_samples import CHANNELS, MEAN, STD, draw_of, picture

from sslzoo.views.color import normalize, to_float
from sslzoo.views.crop import (
    Interpolation,
    as_pixels,
    image_sizes,
    random_boxes,
    random_resized_crop,
    resize_center_crop,
    resized_crop,
)

SIZES = [(48, 64), (64, 48), (20, 20), (33, 97), (97, 33), (41, 40), (200, 31), (1, 7)]


def pixels(image: Image.Image) -> Tensor:
    return tv.pil_to_tensor(image)


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


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.9, 1.0)])
@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (1.0, 1.0)])
def test_boxes_are_those_of_torchvision_for_the_same_random_numbers(scale: tuple, ratio: tuple) -> None:
    sizes = torch.tensor(SIZES * 20)
    draw = draw_of(len(sizes))
    unit = draw.uniform("box", shape=(2, 11)).tolist()
    boxes = random_boxes(sizes, draw, scale, ratio)
    expected = [torchvision_box(h, w, u, scale, ratio) for (h, w), u in zip(sizes.tolist(), unit, strict=True)]
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


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_resized_crop_of_pil_images_equals_torchvision_bit_for_bit(mode: str, interpolation: Interpolation) -> None:
    images = [picture(*size, mode) for size in SIZES]
    boxes = random_boxes(image_sizes(images), draw_of(len(images)))
    flip = torch.arange(len(images)) % 2 == 1
    views = resized_crop(images, boxes, flip, (24, 32), interpolation)
    assert views.shape == (len(images), CHANNELS[mode], 24, 32) and views.dtype == torch.uint8 and views.is_contiguous()
    for view, image, box, mirrored in zip(views, images, boxes.tolist(), flip, strict=True):
        expected = pixels(tv.resized_crop(image, *box, [24, 32], tv.InterpolationMode(interpolation), antialias=True))
        assert torch.equal(view, expected.flip(-1) if mirrored else expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_resized_crop_of_tensors_equals_torchvision_and_bilinear_comes_within_one_grey_level_of_pil(
    interpolation: Interpolation,
) -> None:
    images = [picture(*size) for size in SIZES]
    planes = [pixels(image) for image in images]
    channels_last = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in planes]
    boxes = random_boxes(image_sizes(images), draw_of(len(images)))
    flip = torch.zeros(len(images), dtype=torch.bool)
    of_pil = resized_crop(images, boxes, flip, (24, 32), interpolation).int()
    for tensors in (planes, channels_last):
        views = resized_crop(tensors, boxes, flip, (24, 32), interpolation)
        for view, image, box in zip(views, tensors, boxes.tolist(), strict=True):
            assert torch.equal(view, tv.resized_crop(image, *box, [24, 32], tv.InterpolationMode(interpolation)))
        assert interpolation != "bilinear" or (views.int() - of_pil).abs().max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pictures_as_training_gets_them_are_resized_within_a_grey_level_or_two_of_pil(
    mode: str, interpolation: Interpolation
) -> None:
    """But where a bicubic filter overshoots: there both clip, after the first pass, of which PIL takes the cheaper."""
    noise = [picture(*size, mode, seed) for seed in range(10) for size in SIZES]
    images = (
        noise if interpolation == "bilinear" else [Image.eval(image, lambda grey: 80 + grey // 3) for image in noise]
    )
    boxes = random_boxes(image_sizes(images), draw_of(len(images)))
    flip = torch.zeros(len(images), dtype=torch.bool)
    of_pil = resized_crop(images, boxes, flip, (24, 32), interpolation).int()
    tensors = [as_pixels(image) for image in images]
    assert all(torch.equal(tensor, pixels(image)) for tensor, image in zip(tensors, images, strict=True))
    apart = (resized_crop(tensors, boxes, flip, (24, 32), interpolation).int() - of_pil).abs()
    assert apart.max() <= (1 if interpolation == "bilinear" else 2) and apart.float().mean() < 0.15


def test_a_picture_with_alpha_stays_with_pil_which_weighs_colours_by_it() -> None:
    assert as_pixels(image := picture(20, 30, "RGBA")) is image


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
def test_the_evaluation_crop_equals_timm_bit_for_bit(
    size: tuple, crop_pct: float, interpolation: Interpolation
) -> None:
    images = [picture(*size) for size in [*SIZES[:-1], (37, 37), (32, 32), (9, 11)]]
    ours = resize_center_crop(images, size, crop_pct, interpolation)
    options: dict[str, Any] = {
        "input_size": (3, *size),
        "crop_pct": crop_pct,
        "interpolation": interpolation,
        "crop_mode": "center",
    }
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
