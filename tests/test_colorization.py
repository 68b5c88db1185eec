"""Colorization is the paper's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from method_samples import (
    batch_of,
    built,
    changed_by_held_out_scores,
    check_views_depend_on_picture_and_key_alone,
    without_gradient,
)
from sslzoo_plugins.generation.colorization import ColorCounts, Colorization, ColorizationConfig, Grey
from torch import Tensor, nn
from two_processes import average_gradients, on_two_processes, world
from view_samples import picture

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.nn.color_bins import gamut_bins
from sslzoo.views.color import denormalize
from sslzoo.views.lab import only_lightness, rgb_to_lab

CONFIG = ColorizationConfig(decoder_dim=32)


def made(encoder: str = "test_resnet") -> Any:
    return built(Colorization, CONFIG, encoder)


def test_the_encoder_sees_the_lightness_of_the_crop_as_a_grey_picture() -> None:
    batch, spec = batch_of(Colorization, CONFIG), InputSpec.square(32)
    seen = denormalize(batch["views"][0].clone(), spec.mean, spec.std)
    torch.testing.assert_close(seen, only_lightness(batch["lab"]), rtol=0, atol=1e-5)
    assert (seen.amax(dim=1) - seen.amin(dim=1)).max() < 1e-5
    pixels = Grey(CONFIG, spec).crop([{"image": picture(40 + i, 50, seed=i), "key": 1000 + 7 * i} for i in range(4)])
    torch.testing.assert_close(batch["lab"], rgb_to_lab(pixels["image"].float() / 255), rtol=0, atol=1e-4)


def test_views_depend_on_picture_and_key_alone() -> None:
    check_views_depend_on_picture_and_key_alone(Colorization, CONFIG)


def test_the_prior_is_the_mean_encoding_of_all_pixels() -> None:
    counts, bins = ColorCounts(6), 6
    batches = [torch.tensor([[0, 1], [2, 0]]), torch.tensor([[5, 1], [1, 0]])]  # of two pixels with two bins each
    dense = np.full(bins, 1 / bins)
    for index in batches:
        weights = torch.tensor([[0.75, 0.5], [0.25, 0.5]])
        counts.add(index[None, :, None, :], weights[None, :, None, :])
        for pixel in range(2):
            for neighbour in range(2):
                dense[index[neighbour, pixel]] += float(weights[neighbour, pixel]) / 2
    np.testing.assert_allclose(counts.counts.numpy(), dense, atol=1e-6)
    np.testing.assert_allclose(counts.prior.numpy(), dense / 3, atol=1e-6)


@pytest.mark.parametrize("uniform", [0.25, 0.5, 0.9])
def test_rare_colours_count_more_and_one_in_the_mean(uniform: float) -> None:
    counts = ColorCounts(313)
    counts.counts += torch.rand(313, generator=torch.Generator().manual_seed(0)) ** 8 * 100
    prior, rarity = counts.prior.double().numpy(), counts.rarity(uniform).double().numpy()
    weights = ((1 - uniform) * prior + uniform / 313) ** -1.0
    np.testing.assert_allclose(rarity, weights / (prior * weights).sum(), rtol=1e-5)
    assert math.isclose((prior * rarity).sum(), 1, rel_tol=1e-5)
    assert (np.diff(rarity[np.argsort(prior)]) <= 1e-5).all() and rarity.max() > rarity.min()


def test_a_uniform_prior_weighs_all_colours_alike() -> None:
    counts = ColorCounts(313)
    torch.testing.assert_close(counts.rarity(0.5), torch.ones(313))
    counts.counts[0] += 50
    torch.testing.assert_close(counts.rarity(1.0), torch.ones(313))


def test_the_loss_is_the_papers_equations() -> None:
    method, batch = made().eval(), batch_of(Colorization, CONFIG)
    batch["lab"][3, 1:] = 0  # a picture without colour is not asked for
    method.counts.counts += torch.rand(313, generator=torch.Generator().manual_seed(0)) ** 4
    with torch.no_grad():
        losses, logits = method(batch), method.logits(batch)
    assert logits.shape == (4, 313, 8, 8)
    rarity, bins = method.counts.rarity(0.5).double().numpy(), gamut_bins().double().numpy()
    loss = plain = 0.0
    for i in range(3):
        for row in range(8):
            for column in range(8):
                color = batch["lab"][i, 1:, 4 * row, 4 * column].double().numpy()
                distance = ((bins - color) ** 2).sum(axis=1)
                near = np.argsort(distance)[:5]
                soft = np.exp(-distance[near] / 50)
                log_p = torch.log_softmax(logits[i, :, row, column].double(), dim=0).numpy()
                entropy = -(soft / soft.sum() * log_p[near]).sum()
                plain += entropy / 256
                loss += rarity[near[0]] * entropy / 256
    assert math.isclose(float(losses["loss"]), loss, rel_tol=1e-4)
    assert math.isclose(float(losses["cross_entropy"]), plain, rel_tol=1e-4)


def test_pictures_without_colour_are_not_counted() -> None:
    method, batch = made(), batch_of(Colorization, CONFIG)
    batch["lab"][1, 1:] = 4.9
    before = method.counts.counts.clone()
    method(batch)
    assert float((method.counts.counts - before).sum()) == pytest.approx(3, rel=1e-5)
    batch["lab"][:, 1:] = 0
    assert float(method(batch)["loss"].detach()) == 0
    assert float(method.counts.counts.sum()) == pytest.approx(4, rel=1e-5)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(Colorization, CONFIG, encoder) == []


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(Colorization, CONFIG) == []


@pytest.mark.parametrize("channels", [1, 4])
def test_only_rgb_pictures_have_colours_to_tell(channels: int) -> None:
    with pytest.raises(UsageError, match="--channels"):
        Colorization(create_encoder("test_resnet", 32, channels), CONFIG)


def test_maps_finer_than_the_prediction_are_not_read() -> None:
    assert [shape.size[0] for shape in made().maps] == [1, 2, 4, 8]
    fine = Colorization(create_encoder("test_vit", 32, args=["patch_size=2"]), CONFIG).eval()
    assert [shape.size for shape in fine.maps] == [(16, 16)]
    with torch.no_grad():
        assert fine.logits(batch_of(Colorization, CONFIG)).shape == (4, 313, 8, 8)


def step_on_my_part() -> tuple[dict[str, Tensor], Tensor]:
    """Averaged gradients, and the counts, of a batch of 6 of which each process has its part."""
    method, batch = made("test_vit"), batch_of(Colorization, CONFIG, count=6)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):  # batch statistics are of each process by nature
            module.eval()
    if world() > 1:
        rank = torch.distributed.get_rank()
        batch = {"views": [batch["views"][0].chunk(2)[rank]], "lab": batch["lab"].chunk(2)[rank]}
    method(batch)["loss"].backward()
    return average_gradients(method), method.counts.counts


def test_two_processes_have_the_gradient_and_the_prior_of_one() -> None:
    expected, counts = step_on_my_part()
    (gradients, mine), (_, other) = on_two_processes(step_on_my_part)
    assert torch.equal(mine, other)
    torch.testing.assert_close(mine, counts)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_the_default_recipe_is_the_authors() -> None:
    recipe, config = Colorization.defaults, ColorizationConfig()
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("adam", 3e-5, 0.9, 1e-3)
    assert recipe.batch_size == 80
    steps = [share * recipe.epochs * 1.28e6 / 80 for share in recipe.milestones]
    assert np.allclose(steps, [240e3, 300e3, 400e3], rtol=0.03)
    assert (config.uniform, config.temperature) == (0.5, 0.38)


def test_illustrations_keep_the_lightness() -> None:
    method, batch = made().eval(), batch_of(Colorization, CONFIG)
    batch["lab"] = rgb_to_lab(0.3 + 0.3 * torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    nn.init.zeros_(method.decoder.last.weight)  # the mean of all bins is a colour that exists at these lightnesses
    with torch.no_grad():
        grey, colored, original = method.illustrate(batch).values()
    for shown in (grey, colored, original):
        assert shown.shape == (4, 3, 32, 32) and shown.min() >= 0 and shown.max() <= 1
        torch.testing.assert_close(rgb_to_lab(shown)[:, 0], batch["lab"][:, 0], rtol=0, atol=0.05)
    torch.testing.assert_close(rgb_to_lab(original), batch["lab"], rtol=0, atol=0.01)
    assert (rgb_to_lab(colored)[:, 1:].std(dim=(2, 3)) < 0.1).all()
