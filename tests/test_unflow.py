"""Unsupervised flow is the paper's."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any, cast

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
from moved_clips import moved_samples
from sslzoo_plugins.cross_modal.unflow import TwoFrames, UnFlow, UnFlowConfig
from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.encoders import create_encoder
from sslzoo.method import Batch
from sslzoo.nn.flow import cost_volume, endpoint_error, resize_flow, warp
from sslzoo.nn.flow_losses import both_ways, census_loss, inside_border, round_trip, smoothness_loss
from sslzoo.views.flow_colors import flow_colors, largest_motion

CONFIG = UnFlowConfig(stride=2, width=8, radius=1)


def images(count: int, height: int, width: int, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def penalty(error: float) -> float:
    return (error**2 + 0.001**2) ** 0.45


@pytest.mark.parametrize("radius", [1, 2])
def test_the_census_loss_is_the_papers(radius: int) -> None:
    (first, second), (height, width) = images(2, 7, 8)[:, 0] * 255, (7, 8)
    counted = images(1, 7, 8)[0, 0] > 0.2
    around = list(product(range(-radius, radius + 1), repeat=2))
    total = 0.0
    for y, x in product(range(radius, height - radius), range(radius, width - radius)):
        distance = 0.0
        for down, right in around:
            one, other = (
                (step := float(image[y + down, x + right] - image[y, x])) / (0.81 + step**2) ** 0.5
                for image in (first, second)
            )
            distance += (one - other) ** 2 / (0.1 + (one - other) ** 2)
        total += penalty(distance) * bool(counted[y, x])
    found = census_loss(first[None, None] / 255, second[None, None] / 255, counted[None, None].float(), radius)
    assert found.item() == pytest.approx(total / (height * width), rel=1e-4)


def test_the_smoothness_loss_is_the_papers_second_differences() -> None:
    flow = 5 * images(1, 5, 6, channels=2)[0]
    total = 0.0
    for part, y, x, (down, right) in product(flow, range(5), range(6), [(0, 1), (1, 0), (1, 1), (1, -1)]):
        before, after = (y - down, x - right), (y + down, x + right)
        if all(0 <= row < 5 and 0 <= column < 6 for row, column in (before, after)):
            total += penalty(float(part[before] - 2 * part[y, x] + part[after]))
    assert smoothness_loss(flow[None]).item() == pytest.approx(total / (5 * 6 * 4), rel=1e-5)


def test_warping_looks_where_flow_leads() -> None:
    second = images(1, 6, 7, channels=3)
    flow = torch.tensor([2.0, -1.0])[None, :, None, None].expand(1, 2, 6, 7)
    torch.testing.assert_close(warp(second, flow)[..., 1:, :5], second[..., :5, 2:], rtol=0, atol=1e-5)
    torch.testing.assert_close(warp(second, flow)[..., 1:, 5], second[..., :5, 6], rtol=0, atol=1e-5)
    halfway = warp(second, torch.full((1, 2, 6, 7), 0.5))[0, :, 0, 0]
    torch.testing.assert_close(halfway, second[0, :, :2, :2].mean((1, 2)), rtol=0, atol=1e-5)


def test_flow_that_is_not_finite_or_leads_far_away_looks_at_the_image_all_the_same() -> None:
    second = images(1, 6, 7)
    for far in (torch.nan, torch.inf, -torch.inf, 1e30):
        seen = warp(second, torch.full((1, 2, 6, 7), far))
        assert second.min() <= seen.min() and seen.max() <= second.max()


def test_flow_is_corrected_by_at_most_as_far_as_is_looked() -> None:
    method = cast(UnFlow, built(UnFlow, CONFIG).eval())
    for last in method.flow.decoder.last:
        torch.nn.init.constant_(cast(torch.nn.Conv2d, last).bias, 1e6)
    theres, _ = method.flow(method.encoder, *flow_batch((1, 0))["views"])
    assert [there.amax().item() for there in theres] == pytest.approx([1, 3, 7, 15, 31])


def test_flow_on_another_grid_is_in_its_pixels() -> None:
    flow = torch.tensor([2.0, 3.0])[None, :, None, None].expand(1, 2, 4, 6)
    larger = resize_flow(flow, (8, 18))
    assert larger.shape == (1, 2, 8, 18)
    torch.testing.assert_close(larger[0, :, 3, 3], torch.tensor([6.0, 6.0]))


def test_the_cost_volume_holds_the_cosines_with_the_places_around() -> None:
    first, second = images(2, 5, 6, channels=4).split(1)
    found = cost_volume(first, second, radius=2)
    assert found.shape == (1, 25, 5, 6)
    for number, (down, right) in enumerate(product(range(-2, 3), repeat=2)):
        for y, x in product(range(5), range(6)):
            inside = 0 <= y + down < 5 and 0 <= x + right < 6
            other = second[0, :, y + down, x + right] if inside else torch.zeros(4)
            cosine = torch.cosine_similarity(first[0, :, y, x], other, dim=0)
            assert found[0, number, y, x].item() == pytest.approx(cosine.item(), abs=1e-5)


def test_a_pixel_counts_as_covered_where_there_and_back_do_not_meet() -> None:
    there = torch.tensor([3.0, 0.0])[None, :, None, None].expand(1, 2, 4, 12).clone()
    back = -there
    back[..., 8] = 0.0  # pixel 5 arrives at one that did not come from it
    left, covered = round_trip(there, back)
    assert covered[0, 0, 0].tolist() == [column == 5 for column in range(12)]
    torch.testing.assert_close(left[0, :, 0, 4:6], torch.tensor([[0.0, 3.0], [0.0, 0.0]]))
    # 3^2 + 2.2^2 = 13.8, of which a hundredth and 0.5 are allowed: 0.64 = 0.8^2
    for missed, found in ((0.79, False), (0.81, True)):
        back = torch.stack([missed - there[:, 0], -there[:, 1]], dim=1)
        assert round_trip(there, back)[1].all() == found


def test_a_tenth_of_the_shorter_side_is_left_out_at_each_edge() -> None:
    mask = inside_border((15, 30))[0, 0]
    assert mask[2:-2, 2:-2].all() and mask.sum() == 11 * 26


def losses_of(there: Tensor, frames: Tensor, full: bool) -> dict[str, float]:
    first, second = (frame[None].float() / 255 for frame in frames)
    mask = inside_border((first.shape[2], first.shape[3]))
    found = both_ways(there, -there, first, second, mask, 3, torch.tensor(full))
    return {name: loss.item() for name, loss in found.items()}


def test_the_true_flow_costs_least() -> None:
    (sample,) = moved_samples((2, -1))
    true = sample["flow"][:1]
    found = {
        name: losses_of(flow, sample["clip"], full=True)["census"]
        for name, flow in {"true": true, "none": 0 * true, "reverse": -true, "longer": 1.5 * true}.items()
    }
    assert all(found["true"] < 0.1 * other for name, other in found.items() if name != "true")


def test_light_that_changes_costs_little() -> None:
    (sample,) = moved_samples((1, 0))
    dimmed = torch.stack([sample["clip"][0], (sample["clip"][1] * 0.8).to(torch.uint8)])
    true = sample["flow"][:1]
    assert losses_of(true, dimmed, full=False)["census"] < 0.7 * losses_of(0 * true, dimmed, full=False)["census"]


def flow_batch(*moves: tuple[int, int]) -> Batch:
    views = TwoFrames(CONFIG, spec_for("test_resnet"))
    return views(moved_samples(*moves))


def test_the_second_stage_adds_the_round_trip_and_the_price_of_what_is_covered() -> None:
    method, batch = cast(UnFlow, built(UnFlow, CONFIG).eval()), flow_batch((1, 0), (0, 1))
    theres, backs = method.flow(method.encoder, *batch["views"])
    for share, full in ((0.49, False), (0.5, True)):
        method.on_epoch_start(cast(Any, SimpleNamespace(progress=SimpleNamespace(fraction=share))))
        assert method.full.item() == full
        part = method.losses(theres, backs, batch["frames"])
        expected = part["census"] + 3.0 * part["smooth"]
        if full:
            expected = expected + 0.2 * part["consistency"] + 12.4 * part["occlusion"]
        torch.testing.assert_close(method(batch)["loss"], expected / 1000)


def test_resolutions_weigh_what_they_do_in_the_authors_code() -> None:
    method, batch = cast(UnFlow, built(UnFlow, CONFIG).eval()), flow_batch((1, 0))
    assert [shape.size for shape in method.flow.maps] == [(1, 1), (2, 2), (4, 4), (8, 8), (16, 16)]
    flat = [torch.zeros(1, 2, *shape.size) for shape in method.flow.maps]
    alone = [  # of a resolution with a bent flow, less what flat ones cost
        method.losses(flat[:at] + [bent(flat[at])] + flat[at + 1 :], flat, batch["frames"])["smooth"]
        - method.losses(flat, flat, batch["frames"])["smooth"]
        for at in (2, 3, 4)
    ]
    expected = [
        weight * (smoothness_loss(bent(flat[at])) - smoothness_loss(flat[at]))
        for at, weight in ((2, 3.9), (3, 4.35), (4, 12.7))
    ]
    torch.testing.assert_close(torch.stack(alone), torch.stack(expected), rtol=1e-3, atol=1e-4)


def bent(flow: Tensor) -> Tensor:
    return flow + torch.arange(flow.shape[3]).square()


def test_the_held_out_score_is_the_distance_from_the_datas_flow_where_it_is_known() -> None:
    found, known = endpoint_error(torch.zeros(1, 2, 1, 2), torch.tensor([[[[3.0, torch.nan]], [[4.0, 0.0]]]]))
    assert found.tolist() == [[[5.0, 0.0]]] and known.tolist() == [[[True, False]]]
    views = TwoFrames(UnFlowConfig(min_scale=1.0), spec_for("test_resnet", size=40))
    batch = views(moved_samples((3, 4)))
    method = UnFlow(create_encoder("test_resnet", 40), CONFIG).eval()
    assert method(batch)["epe_of_no_motion"].item() == pytest.approx(5, rel=0.06)  # boxes are not quite square


def test_data_without_flow_are_learned_from_as_well() -> None:
    found = built(UnFlow, CONFIG).eval()(batch_of(UnFlow, CONFIG))
    assert found["loss"].isfinite() and "epe" not in found


def test_both_frames_are_seen_in_the_same_other_light_and_compared_in_their_own() -> None:
    views = TwoFrames(CONFIG, spec_for("test_resnet"))
    still = noisy_clip(1, 40, 40).repeat(2, 1, 1, 1)
    batch = views([{"clip": still, "index": 0, "key": 7}])
    assert torch.equal(batch["frames"][:, 0], batch["frames"][:, 1])
    first, second = (view * torch.tensor(views.spec.std)[:, None, None] for view in batch["views"])
    noise = first - second  # of each frame its own, with a deviation of 0.04
    assert noise.std().item() == pytest.approx(0.04 * 2**0.5, rel=0.1) and abs(noise.mean()) < 0.005
    assert (first + torch.tensor(views.spec.mean)[:, None, None] - batch["frames"][:, 0]).abs().mean() > 0.05


def test_everything_is_trained_held_out_scores_change_nothing_and_views_follow_their_keys() -> None:
    assert not without_gradient(UnFlow, CONFIG, "test_resnet")
    assert not changed_by_held_out_scores(UnFlow, CONFIG)
    check_views_depend_on_clip_and_key_alone(UnFlow, CONFIG)
    check_any_number_of_channels(UnFlow, CONFIG)


def test_flow_is_drawn_with_its_direction_as_hue_and_its_length_as_brightness() -> None:
    right, left, slow, down = [1.0, 0.0], [-1.0, 0.0], [0.5, 0.0], [0.0, 1.0]
    flow = torch.tensor([[right, left, slow, down, [torch.nan, 0.0]]]).mT[:, :, None]
    colors = flow_colors(flow, torch.ones(1))[0, :, 0].T
    expected = [[1, 0, 0], [0, 1, 1], [0.5, 0, 0], [0.5, 1, 0], [0, 0, 0]]
    torch.testing.assert_close(colors, torch.tensor(expected), rtol=0, atol=1e-5)
    still = torch.cat([torch.zeros(2, 1, 98), 3 * torch.ones(2, 1, 2)], dim=2)[None]
    assert largest_motion(still)[0] < 3 * 2**0.5


def test_an_encoder_of_clips_is_refused() -> None:
    with pytest.raises(UsageError, match="encoder of images"):
        built(UnFlow, CONFIG, "test_r3d")
