"""DCGAN is the paper's: the generator, the two losses, and whose gradient goes where."""

from __future__ import annotations

import copy
import math
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
from sslzoo_plugins.generation.dcgan import DCGAN, DCGANConfig
from torch import nn

from sslzoo.encoders import InputSpec
from sslzoo.nn.adversarial import judged
from sslzoo.nn.generators import Generator
from sslzoo.views.color import denormalize

CONFIG = DCGANConfig(latent_dim=12, generator_width=8)


def made(encoder: str = "test_resnet") -> Any:
    return built(DCGAN, CONFIG, encoder)


def open_branches(method: nn.Module) -> None:
    """Timm closes residual branches at first, by a weight of zero."""
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)


def test_the_generator_of_64_pixels_is_the_papers() -> None:
    generator = Generator(100, InputSpec.square(64), width=128)
    project, *_ = generator.layers
    assert project.weight.shape == (1024 * 4 * 4, 100)
    doublings = [layer for layer in generator.layers if isinstance(layer, nn.ConvTranspose2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in doublings] == [
        *((1024, 512), (512, 256), (256, 128)),
        (128, 3),
    ]
    assert all(layer.kernel_size == (5, 5) and layer.stride == (2, 2) for layer in doublings)
    assert [layer.num_features for layer in generator.layers if isinstance(layer, nn.BatchNorm2d)] == [
        *(1024, 512, 256, 128)
    ]
    for layer in (project, *doublings):
        assert abs(float(layer.weight.detach().std()) - 0.02) < 0.001


@pytest.mark.parametrize(("size", "start"), [(16, 4), (32, 4), (48, 6), (50, 7), (64, 4), (96, 6), (224, 7)])
def test_a_generator_makes_pictures_of_any_size(size: int, start: int) -> None:
    spec = InputSpec.square(size)
    generator = Generator(6, spec, width=2)
    assert generator.layers[1].unflattened_size[1:] == (start, start)
    latent = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pictures = generator(latent)
    assert pictures.shape == (3, 3, size, size)
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    unit = pictures * std + mean
    assert unit.min() >= -1e-6 and unit.max() <= 1 + 1e-6 and unit.std() > 0


def test_latents_are_uniform_and_the_keys() -> None:
    latent = batch_of(DCGAN, DCGANConfig(latent_dim=4000))["latent"]
    assert latent.shape == (4, 4000) and latent.min() >= -1 and latent.max() < 1
    assert abs(float(latent.mean())) < 0.03 and abs(float(latent.std()) - 3**-0.5) < 0.01
    check_views_depend_on_picture_and_key_alone(DCGAN, CONFIG)


def test_judging_is_the_binary_cross_entropy() -> None:
    logits = torch.tensor([[-2.0], [0.5], [3.0]])
    d = 1 / (1 + np.exp(-logits.double().numpy()))
    assert math.isclose(float(judged(logits, real=True)), -np.log(d).mean(), rel_tol=1e-6)
    assert math.isclose(float(judged(logits, real=False)), -np.log(1 - d).mean(), rel_tol=1e-6)


def test_the_losses_are_the_papers() -> None:
    method, batch = made().eval(), batch_of(DCGAN, CONFIG)
    with torch.no_grad():
        losses = method(batch)
        real = torch.sigmoid(method.head(method.encoder(batch["views"][0]))).double().numpy()
        fake = torch.sigmoid(method.head(method.encoder(method.generator(batch["latent"])))).double().numpy()
    assert math.isclose(
        float(losses["discriminator_loss"]), -np.log(real).mean() - np.log(1 - fake).mean(), rel_tol=1e-5
    )
    assert math.isclose(float(losses["generator_loss"]), -np.log(fake).mean(), rel_tol=1e-5)
    assert float(losses["loss"]) == float(losses["discriminator_loss"] + losses["generator_loss"])


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_each_player_has_the_gradient_of_its_own_loss_alone(encoder: str) -> None:
    method, batch = made(encoder), batch_of(DCGAN, CONFIG)
    open_branches(method)
    alone = copy.deepcopy(method)
    method(batch)["loss"].backward()

    fake = alone.generator(batch["latent"])
    found, unmasked = alone.head(alone.encoder(torch.cat([batch["views"][0], fake]))).chunk(2)
    right, wrong = torch.ones(4, 1), torch.zeros(4, 1)
    judge = F.binary_cross_entropy_with_logits(found, right) + F.binary_cross_entropy_with_logits(unmasked, wrong)
    deceive = F.binary_cross_entropy_with_logits(unmasked, right)
    for prefix, loss in (("generator.", deceive), ("encoder.", judge), ("head.", judge)):
        players = {name: p for name, p in alone.named_parameters() if name.startswith(prefix)}
        expected = torch.autograd.grad(loss, [*players.values()], retain_graph=True)
        for name, gradient in zip(players, expected, strict=True):
            torch.testing.assert_close(method.get_parameter(name).grad, gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_the_encoders_statistics_are_of_real_and_generated_pictures_together() -> None:
    method, batch = made(), batch_of(DCGAN, CONFIG)
    alone = copy.deepcopy(method)
    method(batch)
    with torch.no_grad():
        alone.encoder(torch.cat([batch["views"][0], alone.generator(batch["latent"])]))
    for name, buffer in alone.encoder.named_buffers():
        torch.testing.assert_close(method.encoder.get_buffer(name), buffer, msg=name)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(DCGAN, CONFIG, encoder) == []


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(DCGAN, CONFIG) == []


def test_pictures_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(DCGAN, CONFIG)


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = DCGAN.defaults, DCGANConfig()
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.batch_size) == ("adam", 2e-4, 0.5, 128)
    assert (recipe.image_size, config.latent_dim, config.generator_width) == (64, 100, 128)


def test_illustrations_are_a_sheet_of_samples() -> None:
    method, batch, spec = made().eval(), batch_of(DCGAN, CONFIG), InputSpec.square(32)
    with torch.no_grad():
        pictures, samples, between = method.illustrate(batch).values()
        again = method.generator(batch["latent"])
        middle = method.generator((batch["latent"][3:] + batch["latent"][:1]) / 2)
    assert torch.equal(samples, denormalize(again, spec.mean, spec.std))
    torch.testing.assert_close(between[3:], denormalize(middle, spec.mean, spec.std), rtol=0, atol=1e-6)
    torch.testing.assert_close(pictures, denormalize(batch["views"][0], spec.mean, spec.std))
    assert samples.shape == (4, 3, 32, 32) and samples.min() >= 0 and samples.max() <= 1
