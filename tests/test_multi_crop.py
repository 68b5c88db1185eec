"""Multi-crop: views of several sizes from one picture, and one encoder for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sslzoo_plugins.context.dino import DINO
from sslzoo_plugins.context.swav import SwAV
from torch import Tensor
from view_samples import picture

from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.method import Sample
from sslzoo.nn.multi_crop import cross_view_entropy, encode_crops
from sslzoo.views.color import denormalize
from sslzoo.views.multi_crop import PLAIN, Crop, MultiCrop, global_and_local, shown_crops

SPEC = InputSpec.square(64)


def samples(count: int = 4) -> list[Sample]:
    return [{"image": picture(60 + i, 50, seed=i), "index": i, "key": 100 + i} for i in range(count)]


def crops(spec: InputSpec = SPEC, local_size: int = 0, local_crops: int = 3) -> tuple[Crop, ...]:
    return global_and_local(
        spec,
        (PLAIN, PLAIN),
        PLAIN,
        local_crops=local_crops,
        local_size=local_size,
        min_scale=0.05,
        global_scale=0.4,
    )


def test_two_large_views_come_first_then_the_small_ones() -> None:
    views = MultiCrop(SPEC, crops())(samples())["views"]
    assert [view.shape for view in views] == [(4, 3, 64, 64)] * 2 + [(4, 3, 32, 32)] * 3
    assert all(not torch.equal(one, other) for one, other in [(views[0], views[1]), (views[2], views[3])])


@pytest.mark.parametrize(("image_size", "small"), [(224, 96), (64, 32), (32, 16), (128, 48), (16, 16), (384, 160)])
def test_small_views_have_the_papers_share_of_the_size_in_whole_patches(image_size: int, small: int) -> None:
    assert crops(InputSpec.square(image_size))[-1].size == (small, small)
    assert crops(InputSpec.square(image_size), local_size=20)[-1].size == (20, 20)


def test_large_views_show_more_of_the_picture_than_small_ones() -> None:
    ramp = np.repeat(np.linspace(0, 255, 200, dtype=np.uint8)[None, :, None], 200, axis=0).repeat(3, axis=2)
    many = [{"image": Image.fromarray(ramp), "index": 0, "key": key} for key in range(300)]
    pixels = MultiCrop(SPEC, crops(local_crops=1)).crop(many)["crops"]
    width = [(view[:, 0].amax((1, 2)) - view[:, 0].amin((1, 2))).float() / 255 for view in pixels]
    # A side is the root of the area's share, times at most the root of 4 / 3 or its inverse.
    assert float(width[0].min()) == pytest.approx((0.4 * 0.75) ** 0.5, abs=0.05) and width[0].max() > 0.95
    assert float(width[2].min()) == pytest.approx((0.05 * 0.75) ** 0.5, abs=0.05)
    assert float(width[2].max()) == pytest.approx((0.4 / 0.75) ** 0.5, abs=0.08)


def test_a_plain_view_is_the_picture_or_its_mirror_image() -> None:
    image = picture(64, 64)
    views = MultiCrop(SPEC, (Crop((64, 64), (1.0, 1.0)),))([{"image": image, "index": 0, "key": k} for k in range(40)])
    shown = denormalize(views["views"][0], SPEC.mean, SPEC.std)
    upright = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    same, mirrored = ((shown - it).abs().amax((1, 2, 3)) < 1e-5 for it in (upright, upright.flip(-1)))
    assert (same ^ mirrored).all() and same.any() and mirrored.any()


def test_views_depend_on_picture_and_key_alone() -> None:
    make = DINO.views(DINO.Config(local_crops=2), SPEC)
    together, alone = make(samples()), make([samples()[2] | {"index": 9}])
    for view, own in zip(together["views"], alone["views"], strict=True):
        torch.testing.assert_close(view[2:3], own, rtol=1e-5, atol=1e-5)
    again = make([samples()[2] | {"key": 5}])
    assert all(not torch.equal(one, other) for one, other in zip(again["views"], alone["views"], strict=True))


def test_colors_are_the_papers() -> None:
    swav, dino = (method.views(method.Config(), InputSpec.square(224)) for method in (SwAV, DINO))
    assert isinstance(swav, MultiCrop) and isinstance(dino, MultiCrop)
    assert [crop.size[0] for crop in swav.crops] == [224] * 2 + [96] * 6
    assert [crop.size[0] for crop in dino.crops] == [224] * 2 + [96] * 10
    assert [crop.scale for crop in swav.crops[1:3]] == [(0.14, 1.0), (0.05, 0.14)]
    assert [crop.scale for crop in dino.crops[1:3]] == [(0.25, 1.0), (0.05, 0.25)]
    how = swav.crops[0].how
    assert {crop.how for crop in swav.crops} == {how} and (how.brightness, how.hue, how.blur_p) == (0.8, 0.2, 0.5)
    first, second, local = (crop.how for crop in dino.crops[:3])
    assert (first.blur_p, second.blur_p, local.blur_p) == (1.0, 0.1, 0.5)
    assert (first.solarize_p, second.solarize_p, local.solarize_p) == (0.0, 0.2, 0.0)
    assert replace(first, blur_p=0.5) == local
    assert (first.brightness, first.contrast, first.saturation, first.hue) == (0.4, 0.4, 0.2, 0.1)


def test_pictures_are_of_one_size() -> None:
    shown = shown_crops(MultiCrop(SPEC, crops(local_crops=2))(samples())["views"], SPEC)
    assert list(shown) == ["global crop", "the other global crop", "local crop 1", "local crop 2"]
    assert all(images.shape == (4, 3, 64, 64) and images.min() >= 0 and images.max() <= 1 for images in shown.values())


def views_of(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, size, size, generator=generator) for size in sizes]


@pytest.mark.parametrize(
    ("encoder", "args"), [("test_resnet", []), ("test_vit", []), ("test_vit", ["dynamic_img_size=True"])]
)
def test_views_are_encoded_in_one_pass_per_size(encoder: str, args: list[str]) -> None:
    network = create_encoder(encoder, 64, args=args, seed=0).eval()
    seen: list[tuple[int, ...]] = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    views = views_of(64, 64, 32, 32, 32)
    with torch.no_grad():
        features = encode_crops(network, views)
        enlarged = encoder == "test_vit" and not args
        small = 64 if enlarged else 32
        assert seen == [(4, 3, 64, 64), (6, 3, small, small)]
        for number, view in enumerate(views):
            if enlarged and view.shape[-1] == 32:
                view = F.interpolate(view, size=(64, 64), mode="bilinear", antialias=True)
            torch.testing.assert_close(features[:, number], network(view), rtol=1e-4, atol=1e-4)


def test_cross_entropy_is_over_all_pairs_of_different_views() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(3, 2, 5, generator=generator).softmax(-1)
    logits = torch.randn(3, 4, 5, generator=generator)
    by_hand, pairs = 0.0, 0
    for target in range(2):
        for view in range(4):
            if view == target:
                continue
            pairs += 1
            for sample in range(3):
                scores = np.exp(logits[sample, view].double().numpy())
                by_hand -= float((targets[sample, target].numpy() * np.log(scores / scores.sum())).sum()) / 3
    assert pairs == 6
    assert float(cross_view_entropy(targets, logits)) == pytest.approx(by_hand / pairs, rel=1e-5)
