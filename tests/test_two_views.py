"""Views are made with the numbers of the papers' tables."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from two_view_methods import SMALL, small, some_batch
from view_samples import picture

from sslzoo.encoders import InputSpec
from sslzoo.method import PretextMethod
from sslzoo.views import collate
from sslzoo.views.color import denormalize
from sslzoo.views.two_views import BYOL_TABLE, MOCO_V2_TABLE, SIMCLR_TABLE, Table, TwoViews

SPEC = InputSpec.square(20)


def views_of(image: Image.Image, table: Table, count: int = 600) -> list[Tensor]:
    """(count, 3, 20, 20) in [0, 1]: the whole of a 20-pixel picture, with no colour jitter."""
    samples = [{"image": image, "index": 0, "key": key} for key in range(count)]
    views = TwoViews(SPEC, table, min_scale=1.0, color_strength=0.0)(samples)["views"]
    return [denormalize(view, SPEC.mean, SPEC.std) for view in views]


def share(chosen: Tensor) -> float:
    return float(chosen.float().mean())


def test_tables_are_the_papers() -> None:
    def row(table: Table, view: int) -> tuple:  # brightness, contrast, saturation, hue; probabilities
        return astuple(table[view])[1:]

    assert row(SIMCLR_TABLE, 0) == row(SIMCLR_TABLE, 1) == (0.8, 0.8, 0.8, 0.2, 0.8, 0.2, 0.5, 0.0)
    assert row(MOCO_V2_TABLE, 0) == row(MOCO_V2_TABLE, 1) == (0.4, 0.4, 0.4, 0.1, 0.8, 0.2, 0.5, 0.0)
    assert row(BYOL_TABLE, 0) == (0.4, 0.4, 0.2, 0.1, 0.8, 0.2, 1.0, 0.0)
    assert row(BYOL_TABLE, 1) == (0.4, 0.4, 0.2, 0.1, 0.8, 0.2, 0.1, 0.2)


def test_an_undistorted_view_is_the_picture_or_its_mirror_image() -> None:
    image = picture(20, 20)
    upright = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    view = views_of(image, SIMCLR_TABLE)[0]
    same = (view - upright).abs().amax((1, 2, 3)) < 1e-5
    mirrored = (view - upright.flip(-1)).abs().amax((1, 2, 3)) < 1e-5
    # Neither grey (0.2) nor blurred (0.5; a sigma below 0.2 changes nothing).
    assert share(same) == pytest.approx(0.21, abs=0.05) and share(mirrored) == pytest.approx(0.21, abs=0.05)


@pytest.mark.parametrize("table", [SIMCLR_TABLE, MOCO_V2_TABLE, BYOL_TABLE])
def test_a_fifth_of_each_view_is_grey(table: Table) -> None:
    for view in views_of(picture(20, 20), table):
        assert share((view[:, :1] - view).abs().amax((1, 2, 3)) < 1e-5) == pytest.approx(0.2, abs=0.05)


def test_the_views_of_byol_differ_in_blur_and_solarization() -> None:
    dots = np.zeros((20, 20, 3), np.uint8)
    dots[::4, ::4] = 120  # below the threshold of solarization
    for view, blur_p in zip(views_of(Image.fromarray(dots), BYOL_TABLE), (1.0, 0.1), strict=True):
        # A sigma above 0.25 of 0.1 to 2 takes something of the highest value.
        assert share(view.amax((1, 2, 3)) < 119 / 255) == pytest.approx(0.92 * blur_p, abs=0.04)
    for view, solarize_p in zip(views_of(Image.new("RGB", (20, 20), "white"), BYOL_TABLE), (0.0, 0.2), strict=True):
        assert share(view.amax((1, 2, 3)) < 0.01) == pytest.approx(solarize_p, abs=0.05)


def test_color_strength_scales_the_jitter() -> None:
    image = Image.new("RGB", (20, 20), (120, 120, 120))
    samples = [{"image": image, "index": 0, "key": key} for key in range(200)]
    deviation = []
    for strength in (0.0, 0.5, 1.0):
        view = TwoViews(SPEC, MOCO_V2_TABLE, min_scale=1.0, color_strength=strength)(samples)["views"][0]
        deviation.append(float(denormalize(view, SPEC.mean, SPEC.std).mean((1, 2, 3)).std()))
    assert deviation[0] < 1e-3 and 1.7 < deviation[2] / deviation[1] < 2.3


def test_min_scale_is_the_smallest_share_of_the_area() -> None:
    ramp = np.repeat(np.linspace(0, 255, 200, dtype=np.uint8)[None, :, None], 200, axis=0).repeat(3, axis=2)
    samples = [{"image": Image.fromarray(ramp), "index": 0, "key": key} for key in range(300)]
    smallest = []
    for min_scale in (0.08, 0.5):
        crop = TwoViews(SPEC, SIMCLR_TABLE, min_scale, color_strength=1.0).crop(samples)["crops"][0][:, 0].float()
        smallest.append(float((crop.amax((1, 2)) - crop.amin((1, 2))).min()) / 255)
    # A side is at least the root of the area's share, times the root of 3 / 4 for the narrowest of boxes.
    assert smallest[0] == pytest.approx((0.08 * 0.75) ** 0.5, abs=0.07)
    assert smallest[1] == pytest.approx((0.5 * 0.75) ** 0.5, abs=0.07)


def test_views_depend_on_the_key_alone_and_differ_from_each_other() -> None:
    image = picture(60, 50)
    make = TwoViews(SPEC, BYOL_TABLE, 0.08, 1.0)
    one = make([{"image": image, "index": 5, "key": 7}])["views"]
    many = make([{"image": picture(30, 40, seed=1), "index": 0, "key": 8}, {"image": image, "index": 9, "key": 7}])
    assert all(torch.equal(view[0], again[1]) for view, again in zip(one, many["views"], strict=True))
    assert not torch.equal(one[0], one[1])


def test_grey_pictures_and_other_channel_counts_have_views() -> None:
    for mode, channels in (("L", 1), ("RGBA", 4)):
        make = TwoViews(InputSpec.square(20, channels), BYOL_TABLE, 0.08, 1.0)
        batch = collate(make, [{"image": picture(30, 40, mode), "index": 0, "key": key} for key in range(8)])
        assert [view.shape for view in make.augment(batch)["views"]] == [(8, channels, 20, 20)] * 2


@pytest.mark.parametrize("method_type", SMALL, ids=lambda method_type: method_type.info.name)
def test_every_method_shows_its_two_views_and_takes_its_own_table(method_type: type[PretextMethod]) -> None:
    batch = some_batch(method_type)
    pictures = small(method_type).eval().illustrate(batch)
    assert [image.shape for image in pictures.values()] == [(8, 3, 32, 32)] * 2
    assert all(image.min() >= 0 and image.max() <= 1 for image in pictures.values())
    make = method_type.views(method_type.Config(), SPEC)
    assert isinstance(make, TwoViews)
    table, min_scale = {
        "simclr": (SIMCLR_TABLE, 0.08),
        "moco_v2": (MOCO_V2_TABLE, 0.2),
        "simsiam": (MOCO_V2_TABLE, 0.2),
    }.get(method_type.info.name, (BYOL_TABLE, 0.08))
    assert (make.table, make.min_scale, make.color_strength) == (table, min_scale, 1.0)
