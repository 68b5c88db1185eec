"""BiGAN is the paper's: pairs of pictures and latents, the two losses, and whose gradient goes where."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

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
from sslzoo_plugins.generation.bigan import BiGAN, BiGANConfig, Discriminator
from torch import nn

from sslzoo.encoders import InputSpec
from sslzoo.optimizers import build_optimizer
from sslzoo.views.color import denormalize

CONFIG = BiGANConfig(latent_dim=12, generator_width=8, discriminator_width=4)
PLAYERS = ("encoder.", "head.", "generator.", "discriminator.")


def made(encoder: str = "test_resnet", config: BiGANConfig = CONFIG) -> Any:
    method = built(BiGAN, config, encoder)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm closes residual branches at first, by a weight of zero
            nn.init.ones_(module.weight)
    return method


def test_the_discriminator_of_64_pixels_is_the_authors() -> None:
    discriminator = Discriminator(3, latent_dim=200, width=64)
    convolutions = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [
        *((3, 64), (64, 128), (128, 256), (256, 512))
    ]
    assert all(layer.kernel_size == (5, 5) and layer.stride == (2, 2) for layer in convolutions)
    assert [layer.in_features for layer in discriminator.condition] == [200] * 3
    assert [layer.out_features for layer in discriminator.condition] == [128, 256, 512]
    for layer in convolutions:
        assert abs(float(layer.weight.detach().std()) - 0.02) < 0.001
    for layer in discriminator.condition:
        assert abs(float(layer.weight.detach().std()) - 0.5) < 0.01
    maps = discriminator.first(torch.zeros(1, 3, 64, 64))
    for convolve in discriminator.convolve:
        maps = convolve(maps)
    assert maps.shape == (1, 512, 4, 4)


def test_a_pair_is_judged_as_one() -> None:
    """Each convolution's output is moved by the latent before it is normalised, at all places alike."""
    discriminator = Discriminator(3, latent_dim=5, width=2).double().eval()
    draw = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, 3, 64, 64, generator=draw, dtype=torch.float64)
    latents = torch.rand(2, 5, generator=draw, dtype=torch.float64) * 2 - 1

    def leaky(values: torch.Tensor) -> torch.Tensor:
        return torch.where(values > 0, values, 0.2 * values)

    with torch.no_grad():
        maps = leaky(F.conv2d(pictures, discriminator.first.weight, stride=2, padding=2))
        for convolve, condition in zip(discriminator.convolve, discriminator.condition, strict=True):
            moved = F.conv2d(maps, convolve.weight, stride=2, padding=2)
            moved += (latents @ condition.weight.T).reshape(2, -1, 1, 1)
            maps = leaky(moved / math.sqrt(1 + 1e-5))  # statistics that nothing has moved yet
        expected = maps.flatten(1) @ discriminator.last[-1].weight.T
        torch.testing.assert_close(discriminator(pictures, latents), expected)
        assert not torch.allclose(discriminator(pictures, latents.flip(0)), expected)


def test_the_losses_are_the_papers() -> None:
    method, batch = made().eval(), batch_of(BiGAN, CONFIG)
    with torch.no_grad():
        losses = {name: float(value) for name, value in method(batch).items()}
        inferred = 2 / (1 + torch.exp(-method.head(method.encoder(batch["views"][0])))) - 1
        real = torch.sigmoid(method.discriminator(batch["views"][0], inferred)).double().numpy()
        fake = torch.sigmoid(method.discriminator(method.generator(batch["latent"]), batch["latent"])).double().numpy()
    expected = {
        "discriminator_loss": -np.log(real).mean() - np.log(1 - fake).mean(),
        "encoder_loss": -np.log(1 - real).mean(),
        "generator_loss": -np.log(fake).mean(),
    }
    assert losses.pop("loss") == pytest.approx(sum(expected.values()), rel=1e-5)
    assert losses == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_each_player_has_the_gradient_of_its_own_loss_alone(encoder: str) -> None:
    """The discriminator maximises equation 2, encoder and generator minimise it with the labels exchanged."""
    method, batch = made(encoder), batch_of(BiGAN, CONFIG)
    alone = copy.deepcopy(method)
    method(batch)["loss"].backward()

    picture, latent, right, wrong = batch["views"][0], batch["latent"], torch.ones(4, 1), torch.zeros(4, 1)
    pictures = torch.cat([picture, alone.generator(latent)])
    found, unmasked = alone.discriminator(pictures, torch.cat([alone.infer(picture), latent])).chunk(2)
    cost = F.binary_cross_entropy_with_logits
    judge = cost(found, right) + cost(unmasked, wrong)
    deceive = cost(found, wrong) + cost(unmasked, right)
    for prefix, loss in zip(PLAYERS, (deceive, deceive, deceive, judge), strict=True):
        players = {name: p for name, p in alone.named_parameters() if name.startswith(prefix)}
        expected = torch.autograd.grad(loss, [*players.values()], retain_graph=True)
        for name, gradient in zip(players, expected, strict=True):
            torch.testing.assert_close(method.get_parameter(name).grad, gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_one_step_of_one_optimizer_is_a_step_of_both_players() -> None:
    """Down the loss of each, by plain gradient descent."""
    method, batch = made(), batch_of(BiGAN, CONFIG)
    recipe = replace(BiGAN.defaults, optimizer="sgd", momentum=0.0, lr=0.1, weight_decay=0.0)
    optimizer, before = build_optimizer(method, recipe), method(batch)
    parts = {name: [p for n, p in method.named_parameters() if n.startswith(name)] for name in PLAYERS}
    deceive = before["encoder_loss"] + before["generator_loss"]  # encoder and generator have it in common
    losses = dict(zip(PLAYERS, (deceive, deceive, deceive, before["discriminator_loss"]), strict=True))
    expected = {
        name: [p.detach() - 0.1 * g for p, g in zip(part, _gradients(losses[name], part), strict=True)]
        for name, part in parts.items()
    }
    before["loss"].backward()
    optimizer.step()
    for name, part in parts.items():
        for parameter, moved in zip(part, expected[name], strict=True):
            torch.testing.assert_close(parameter.detach(), moved, msg=name)


def _gradients(loss: torch.Tensor, parameters: list[nn.Parameter]) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss, parameters, retain_graph=True)


def test_at_first_latents_that_are_found_are_spread_as_the_random_ones() -> None:
    config = replace(CONFIG, latent_dim=200)
    method, batch = made(config=config), batch_of(BiGAN, config, count=64)
    with torch.no_grad():
        inferred = method.infer(batch["views"][0])
    assert inferred.abs().max() < 1
    assert abs(float(inferred.std()) - float(batch["latent"].std())) < 0.05
    assert abs(float(inferred.mean())) < 0.02


def test_the_encoder_may_see_more_than_is_generated() -> None:
    config = replace(CONFIG, generated_size=16)
    method, batch = made(config=config).eval(), batch_of(BiGAN, config)
    flat = batch | {"views": [torch.ones(4, 3, 32, 32)]}
    with torch.no_grad():
        assert method.generator(batch["latent"]).shape == method.shrink(batch["views"][0]).shape == (4, 3, 16, 16)
        torch.testing.assert_close(method.shrink(flat["views"][0]), torch.ones(4, 3, 16, 16))
        assert method(batch)["loss"].isfinite() and method.infer(batch["views"][0]).shape == (4, 12)
    same = made()
    assert same.shrink(batch["views"][0]) is batch["views"][0]


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(BiGAN, CONFIG, encoder) == []


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(BiGAN, CONFIG) == []


def test_views_depend_on_picture_and_key_alone() -> None:
    check_views_depend_on_picture_and_key_alone(BiGAN, CONFIG)


def test_pictures_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(BiGAN, CONFIG)


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = BiGAN.defaults, BiGANConfig()
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.batch_size) == ("adam", 2e-4, 0.5, 128)
    assert (recipe.weight_decay, recipe.epochs, recipe.image_size) == (2.5e-5, 100, 112)
    assert (config.latent_dim, config.generated_size) == (200, 64)


def test_illustrations_are_pictures_made_of_what_is_found_in_others() -> None:
    method, batch, spec = made().eval(), batch_of(BiGAN, CONFIG), InputSpec.square(32)
    with torch.no_grad():
        pictures, reconstructed, generated = method.illustrate(batch).values()
        again = method.generator(method.infer(batch["views"][0]))
        samples = method.generator(batch["latent"])
    torch.testing.assert_close(pictures, denormalize(batch["views"][0], spec.mean, spec.std))
    assert torch.equal(reconstructed, denormalize(again, spec.mean, spec.std))
    assert torch.equal(generated, denormalize(samples, spec.mean, spec.std))
    assert generated.shape == (4, 3, 32, 32) and generated.min() >= 0 and generated.max() <= 1
