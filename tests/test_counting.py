"""Learning to count is the paper's."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from method_samples import (
    batch_of,
    built,
    changed_by_held_out_scores,
    check_any_number_of_channels,
    check_views_depend_on_picture_and_key_alone,
    without_gradient,
)
from PIL import Image
from sslzoo_plugins.context.counting import Counting, CountingConfig, WholeAndQuarters, halve, halving_filters
from torch import Tensor
from two_processes import average_gradients, on_two_processes, world
from view_samples import draw_of

from sslzoo.encoders import InputSpec
from sslzoo.method import Batch

CONFIG = CountingConfig(primitives=10, hidden_dim=16)
FILTERS = ["BOX", "BILINEAR", "BICUBIC", "LANCZOS"]


def noise(count: int, size: int = 40) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FILTERS)
def test_halving_is_that_of_pil(name: str) -> None:
    images = noise(2)
    ours = halve(images, halving_filters()[FILTERS.index(name)].expand(2, 12))
    resampling = Image.Resampling[name]
    theirs = np.stack(
        [[np.asarray(Image.fromarray(c.numpy()).resize((20, 20), resampling)) for c in i] for i in images]
    )
    inside = (slice(None), slice(None), slice(3, -3), slice(3, -3))  # the edges are continued in another way
    torch.testing.assert_close(ours[inside], torch.from_numpy(theirs).clamp(0, 1)[inside], rtol=0, atol=1e-6)


def test_each_picture_is_halved_by_its_own_filter_and_flat_ones_stay_flat() -> None:
    images, filters = noise(4), halving_filters()
    together = halve(images, filters)
    for i in range(4):
        assert torch.equal(together[i : i + 1], halve(images[i : i + 1], filters[i : i + 1]))
    flat = torch.full((4, 3, 8, 8), 0.4)
    torch.testing.assert_close(halve(flat, filters), torch.full((4, 3, 4, 4), 0.4))


def test_views_are_the_halved_square_and_its_quarters() -> None:
    views = WholeAndQuarters(CountingConfig(grey=0.0), InputSpec.square(20))
    pixels = (noise(300) * 255).to(torch.uint8)
    batch = views.augment({"image": pixels.clone(), "key": draw_of(300).key})
    halved, *quarters = (view.mul(torch.tensor(views.spec.std)[:, None, None]) for view in batch["views"])
    halved, *quarters = (view + torch.tensor(views.spec.mean)[:, None, None] for view in (halved, *quarters))
    image = pixels.float() / 255
    corners = [image[..., :20, :20], image[..., :20, 20:], image[..., 20:, :20], image[..., 20:, 20:]]
    torch.testing.assert_close(quarters, corners, rtol=0, atol=1e-6)
    candidates = torch.stack([halve(image, taps.expand(300, 12)) for taps in halving_filters()])
    used = (candidates - halved).abs().flatten(2).amax(dim=2).min(dim=0)
    assert used.values.max() < 1e-6
    assert (used.indices.bincount(minlength=4) - 75).abs().max() < 30


def test_two_thirds_of_the_pictures_are_grey_in_all_their_parts() -> None:
    views = WholeAndQuarters(CountingConfig(), InputSpec(size=(3, 20, 20), mean=(0.0,) * 3, std=(1.0,) * 3))
    batch = views.augment({"image": (noise(500) * 255).to(torch.uint8), "key": draw_of(500).key})
    parts = torch.stack(batch["views"], dim=1)
    grey = (parts.amax(dim=2) - parts.amin(dim=2)).flatten(2).amax(dim=2) < 1e-6
    assert torch.equal(grey.any(dim=1), grey.all(dim=1))
    assert abs(float(grey[:, 0].float().mean()) - 0.67) < 0.06


def test_views_depend_on_picture_and_key_alone() -> None:
    check_views_depend_on_picture_and_key_alone(Counting, CONFIG)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_loss_is_the_papers_equation(encoder: str) -> None:
    method = built(Counting, CONFIG, encoder).eval()
    batch = batch_of(Counting, CONFIG, count=6)
    with torch.no_grad():
        counts = [
            [method.head(method.encoder(view[i : i + 1]))[0].numpy() for view in batch["views"]] for i in range(6)
        ]
    same = [((counts[i][0] - sum(counts[i][1:])) ** 2).sum() for i in range(6)]
    other = [((counts[(i + 1) % 6][0] - sum(counts[i][1:])) ** 2).sum() for i in range(6)]
    margin = float(np.median(other))  # so that both of its sides are tried
    method.config = CountingConfig(margin=margin)
    with torch.no_grad():
        losses = method(batch)
    by_hand = sum(near + max(0.0, margin - far) for near, far in zip(same, other, strict=True)) / 6
    assert by_hand > sum(same) / 6 > 0
    assert math.isclose(float(losses["loss"]), by_hand, rel_tol=1e-4)
    assert math.isclose(float(losses["same"]), sum(same) / 6, rel_tol=1e-4)
    assert math.isclose(float(losses["other"]), sum(other) / 6, rel_tol=1e-4)


def test_counts_are_never_negative() -> None:
    method = built(Counting, CONFIG).eval()
    with torch.no_grad():
        whole, quarters = method.counts(batch_of(Counting, CONFIG))
    assert whole.shape == quarters.shape == (4, 10) and min(whole.min(), quarters.min()) >= 0
    assert (whole > 0).any()


def test_counting_nothing_costs_the_margin() -> None:
    method = built(Counting, CONFIG).eval()
    torch.nn.init.constant_(method.head[2].bias, -1e3)
    with torch.no_grad():
        assert float(method(batch_of(Counting, CONFIG))["loss"]) == 10.0


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    # Those of the last bias cancel, but for rounding, where no picture keeps the margin and all primitives are counted.
    assert without_gradient(Counting, replace(CONFIG, margin=2.5), encoder) == []


def test_pictures_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(Counting, CONFIG)


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(Counting, CONFIG) == []


def step_on_my_part() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Averaged gradients and the loss of a batch of 6, of which each process has its part."""
    method = built(Counting, CONFIG, "test_vit")
    batch: Batch = batch_of(Counting, CONFIG, count=6)
    if world() > 1:
        rank = torch.distributed.get_rank()
        batch["views"] = [view.chunk(2)[rank] for view in batch["views"]]
    losses = method(batch)
    losses["loss"].backward()
    return average_gradients(method), {name: value.detach() for name, value in losses.items()}


def test_two_processes_have_the_gradient_of_one() -> None:
    expected, losses = step_on_my_part()
    for gradients, my_losses in on_two_processes(step_on_my_part):
        for name, gradient in expected.items():
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
        for name, value in losses.items():
            torch.testing.assert_close(my_losses[name], value)


def test_the_default_image_size_is_that_of_a_quarter() -> None:
    assert Counting.defaults.image_size == 112 and Counting.defaults.lr == 1e-4
    views = WholeAndQuarters(CountingConfig(), InputSpec.square(112))
    image = views.crop([{"image": Image.new("RGB", (300, 256)), "index": 0, "key": 1}])["image"]
    assert image.shape == (1, 3, 224, 224)


def test_illustrations_are_ordered_by_the_length_of_the_count_vector() -> None:
    method = built(Counting, CONFIG).eval()
    batch = batch_of(Counting, CONFIG, count=6)
    with torch.no_grad():
        whole, quarters = method.illustrate(batch).values()
        length = method.counts(batch)[0].norm(dim=1)
    assert whole.shape == (6, 3, 32, 32) and quarters.shape == (6, 3, 66, 66)
    order = sorted(range(6), key=lambda i: float(length[i]))
    mean, std = (torch.tensor(v)[:, None, None] for v in (InputSpec.square(32).mean, InputSpec.square(32).std))
    for shown, parts, i in zip(whole, quarters, order, strict=True):
        torch.testing.assert_close(shown, batch["views"][0][i] * std + mean, rtol=0, atol=1e-5)
        torch.testing.assert_close(parts[:, 34:, :32], batch["views"][3][i] * std + mean, rtol=0, atol=1e-5)
