"""Context encoders are the paper's, and their details the authors' code's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_samples import (
    batch_of,
    built,
    changed_by_held_out_scores,
    check_any_number_of_channels,
    check_views_depend_on_picture_and_key_alone,
    without_gradient,
)
from sslzoo_plugins.generation.context_encoder import (
    ChannelwiseLinear,
    ContextEncoder,
    ContextEncoderConfig,
    discriminator,
    masked_error,
    missing_and_weight,
)
from torch import Tensor, nn
from view_samples import MEAN, STD, draw_of

from sslzoo.views.color import denormalize

CONFIG = ContextEncoderConfig(decoder_dim=32)
TWO_PLAYERS = ContextEncoderConfig(mask="center", adversarial=0.001, decoder_dim=32, discriminator_dim=8)
MASKS = ("region", "blocks", "center")


def small(mask: str) -> ContextEncoderConfig:
    return ContextEncoderConfig(mask=mask, decoder_dim=32)


def test_around_a_missing_center_a_band_is_predicted_too_and_counts_ten_times() -> None:
    missing, weight = missing_and_weight("center", draw_of(2), (128, 128))
    by_hand = np.zeros((128, 128))
    by_hand[32:96, 32:96] = 10  # the central half is predicted,
    by_hand[39:89, 39:89] = 1  # but for 7 pixels on each side nothing of it is seen
    for sample in range(2):
        np.testing.assert_array_equal(weight[sample, 0].numpy(), by_hand)
        np.testing.assert_array_equal(missing[sample, 0].numpy(), by_hand == 1)


@pytest.mark.parametrize("mask", ["region", "blocks"])
def test_other_masks_count_what_is_missing_once(mask: str) -> None:
    missing, weight = missing_and_weight(mask, draw_of(5), (64, 64))
    assert torch.equal(weight, missing.float())
    assert 0 < missing.float().mean() <= 0.25


@pytest.mark.parametrize("mask", MASKS)
def test_the_encoder_sees_the_mean_colour_where_pixels_are_missing(mask: str) -> None:
    batch = batch_of(ContextEncoder, small(mask))
    missing = batch["weight"] == 1
    seen, target = batch["views"][0], (batch["target"] + 1) / 2
    assert not seen[missing.expand_as(seen)].any()
    torch.testing.assert_close(denormalize(seen, MEAN, STD).where(~missing, target), target)


def test_the_error_is_that_of_equation_1() -> None:
    rng = np.random.default_rng(0)
    predicted, target = rng.normal(size=(3, 3, 6, 6)), rng.normal(size=(3, 3, 6, 6))
    weight = rng.choice([0.0, 1.0, 10.0], size=(3, 1, 6, 6))
    samples = []
    for sample in range(3):
        total, count = 0.0, 0
        for row in range(6):
            for column in range(6):
                if weight[sample, 0, row, column] > 0:
                    count += 3
                    for channel in range(3):
                        error = predicted[sample, channel, row, column] - target[sample, channel, row, column]
                        total += weight[sample, 0, row, column] * error**2
        samples.append(total / count)
    found = masked_error(torch.tensor(predicted), torch.tensor(target), torch.tensor(weight))
    assert float(found) == pytest.approx(np.mean(samples))


def test_what_is_not_missing_does_not_count() -> None:
    method, batch = built(ContextEncoder, CONFIG).eval(), batch_of(ContextEncoder, CONFIG)
    with torch.no_grad():
        loss = float(method(batch)["loss"])
        elsewhere = batch["target"] + (batch["weight"] == 0)
        assert float(method(batch | {"target": elsewhere})["loss"]) == loss
        there = batch["target"] + (batch["weight"] > 0)
        assert float(method(batch | {"target": there})["loss"]) != loss


def test_each_channel_has_a_fully_connected_layer_of_its_own() -> None:
    torch.manual_seed(0)
    layer, maps = ChannelwiseLinear(4, 6), torch.randn(2, 4, 2, 3)
    assert torch.equal(layer(maps), maps)
    nn.init.normal_(layer.weight)
    found = layer(maps)
    for channel in range(4):
        by_hand = maps[:, channel].reshape(2, 6).detach().numpy() @ layer.weight[channel].detach().numpy()
        np.testing.assert_allclose(found[:, channel].detach().numpy().reshape(2, 6), by_hand, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [64, 128])
def test_the_discriminator_gives_a_logit_per_picture(size: int) -> None:
    assert discriminator(3, 8)(torch.randn(4, 3, size, size)).shape == (4, 1)


def test_the_loss_weighs_content_and_deception_as_in_equation_3() -> None:
    with torch.no_grad():
        losses = built(ContextEncoder, TWO_PLAYERS)(batch_of(ContextEncoder, TWO_PLAYERS))
    generator = 0.999 * losses["squared_error"] + 0.001 * losses["generator_loss"]
    assert float(losses["loss"]) == pytest.approx(float(generator + losses["discriminator_loss"]), rel=1e-6)


def test_gradients_are_those_of_two_separate_backward_passes() -> None:
    method, batch = built(ContextEncoder, TWO_PLAYERS), batch_of(ContextEncoder, TWO_PLAYERS)
    method(dict(batch))["loss"].backward()
    together = {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}

    other = built(ContextEncoder, TWO_PLAYERS)
    assert other.discriminator is not None
    players: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in other.named_parameters():
        players[name.startswith("discriminator.")].append(parameter)
    counts = batch["weight"] > 0
    real, predicted = batch["target"] * counts, other.predict(batch["views"][0])
    judge = other.discriminator

    def entropy(logits: Tensor, is_real: float) -> Tensor:
        return F.binary_cross_entropy(logits.sigmoid(), torch.full_like(logits, is_real))

    d_loss = entropy(judge(real), 1.0) + entropy(judge(predicted.detach() * counts), 0.0)
    g_loss = 0.999 * masked_error(predicted, batch["target"], batch["weight"])
    g_loss = g_loss + 0.001 * entropy(judge(predicted * counts), 1.0)
    apart = {True: torch.autograd.grad(d_loss, players[True]), False: torch.autograd.grad(g_loss, players[False])}
    found: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, _ in other.named_parameters():
        found[name.startswith("discriminator.")].append(together[name])
    for player in (True, False):
        for one, two in zip(found[player], apart[player], strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-6)


def test_the_discriminator_sees_nothing_of_the_context() -> None:
    method, batch = built(ContextEncoder, TWO_PLAYERS).eval(), batch_of(ContextEncoder, TWO_PLAYERS)
    with torch.no_grad():
        judged = float(method(batch)["discriminator_loss"])
        elsewhere = batch["target"] + (batch["weight"] == 0)
        assert float(method(batch | {"target": elsewhere})["discriminator_loss"]) == judged


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("config", [CONFIG, TWO_PLAYERS])
def test_the_gradient_reaches_every_parameter(config: ContextEncoderConfig, encoder: str) -> None:
    assert without_gradient(ContextEncoder, config, encoder) == []


@pytest.mark.parametrize("mask", MASKS)
def test_views_depend_on_picture_and_key_alone(mask: str) -> None:
    check_views_depend_on_picture_and_key_alone(ContextEncoder, small(mask))


@pytest.mark.parametrize("config", [CONFIG, TWO_PLAYERS])
def test_pictures_may_have_any_number_of_channels(config: ContextEncoderConfig) -> None:
    check_any_number_of_channels(ContextEncoder, config)


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(ContextEncoder, TWO_PLAYERS) == []


def test_the_default_recipe_is_that_of_the_authors_code() -> None:
    recipe, (scale,) = ContextEncoder.defaults, built(ContextEncoder, TWO_PLAYERS).lr_scales().values()
    assert (recipe.optimizer, recipe.momentum, recipe.batch_size, recipe.epochs) == ("adam", 0.5, 64, 25)
    assert math.isclose(recipe.lr * scale, 2e-4) and math.isclose(recipe.lr, 10 * 2e-4)


@pytest.mark.parametrize("mask", MASKS)
def test_illustrations_fill_in_what_is_missing_and_nothing_else(mask: str) -> None:
    method, batch = built(ContextEncoder, small(mask)).eval(), batch_of(ContextEncoder, small(mask))
    with torch.no_grad():
        seen, filled, original = method.illustrate(batch).values()
        predicted = (method.predict(batch["views"][0]) + 1) / 2
    missing = (batch["weight"] == 1).expand_as(seen)
    assert torch.equal(seen[~missing], original[~missing]) and (seen[missing] == 0.5).all()
    assert torch.equal(filled[~missing], original[~missing])
    torch.testing.assert_close(filled[missing], predicted[missing])
