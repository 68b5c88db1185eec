"""The split-brain autoencoder predicts each part of a picture from the other."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from method_samples import (
    batch_of,
    built,
    changed_by_held_out_scores,
    check_views_depend_on_picture_and_key_alone,
    without_gradient,
)
from sslzoo_plugins.generation.split_brain import SplitBrain, SplitBrainConfig, lightness_cross_entropy

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.nn.color_bins import ColorBins
from sslzoo.nn.decoders import encode_maps
from sslzoo.views.color import denormalize
from sslzoo.views.lab import only_colors, only_lightness, rgb_to_lab

CONFIG = SplitBrainConfig(decoder_dim=32)


def made(encoder: str = "test_resnet") -> Any:
    return built(SplitBrain, CONFIG, encoder)


def test_the_encoder_sees_one_part_at_a_time() -> None:
    batch, spec = batch_of(SplitBrain, CONFIG), InputSpec.square(32)
    grey, colored = (denormalize(view.clone(), spec.mean, spec.std) for view in batch["views"])
    torch.testing.assert_close(grey, only_lightness(batch["lab"]), rtol=0, atol=1e-5)
    torch.testing.assert_close(colored, only_colors(batch["lab"]), rtol=0, atol=1e-5)


def test_views_depend_on_picture_and_key_alone() -> None:
    check_views_depend_on_picture_and_key_alone(SplitBrain, CONFIG)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_each_prediction_is_from_the_other_part(encoder: str) -> None:
    method, batch = made(encoder).eval(), batch_of(SplitBrain, CONFIG)
    grey, colored = batch["views"]
    with torch.no_grad():
        colors, lightness = method.logits(batch)
        alone = [encode_maps(method.encoder, view, method.maps) for view in (grey, colored)]
        torch.testing.assert_close(colors, method.to_colors(*alone[0]), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(lightness, method.to_lightness(*alone[1]), rtol=1e-4, atol=1e-4)
    assert colors.shape == (4, 313, 8, 8) and lightness.shape == (4, 100, 8, 8)


def test_lightness_is_one_of_100_bins() -> None:
    logits = torch.randn(1, 100, 1, 5, generator=torch.Generator().manual_seed(0))
    lightness = torch.tensor([0.0, 0.99, 37.5, 99.0, 100.0])[None, None]
    bins = [0, 0, 37, 99, 99]
    by_hand = -sum(float(logits[0, :, 0, i].log_softmax(0)[b]) for i, b in enumerate(bins)) / 5
    assert math.isclose(float(lightness_cross_entropy(logits, lightness)), by_hand, rel_tol=1e-5)


def test_the_loss_is_the_sum_of_both_cross_entropies() -> None:
    method, batch = made().eval(), batch_of(SplitBrain, CONFIG)
    with torch.no_grad():
        losses, (colors, lightness) = method(batch), method.logits(batch)
    lab = batch["lab"][:, :, ::4, ::4]
    index, weights = ColorBins().encode(lab[:, 1:])
    soft = torch.zeros_like(colors).scatter_(1, index, weights)
    color_loss = -(soft * colors.log_softmax(dim=1)).sum(dim=1).mean()
    hard = lab[:, 0].floor().long().clamp(max=99)
    lightness_loss = -lightness.log_softmax(dim=1).gather(1, hard[:, None]).mean()
    assert math.isclose(float(losses["color_loss"]), float(color_loss), rel_tol=1e-4)
    assert math.isclose(float(losses["lightness_loss"]), float(lightness_loss), rel_tol=1e-4)
    assert math.isclose(float(losses["loss"]), float(color_loss + lightness_loss), rel_tol=1e-4)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(SplitBrain, CONFIG, encoder) == []


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(SplitBrain, CONFIG) == []


@pytest.mark.parametrize("channels", [1, 4])
def test_only_rgb_pictures_have_two_parts(channels: int) -> None:
    with pytest.raises(UsageError, match="--channels"):
        SplitBrain(create_encoder("test_resnet", 32, channels), CONFIG)


def test_illustrations_show_both_parts_and_what_is_made_of_them() -> None:
    method, batch = made().eval(), batch_of(SplitBrain, CONFIG)
    batch["lab"] = rgb_to_lab(0.4 + 0.2 * torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    for decoder in (method.to_colors, method.to_lightness):
        torch.nn.init.zeros_(decoder.last.weight)
    method.to_lightness.last.bias.data[60] = 50.0  # certain of a lightness of 60.5
    with torch.no_grad():
        grey, recolored, colored, relit, original = method.illustrate(batch).values()
    for shown in (grey, recolored, colored, relit, original):
        assert shown.shape == (4, 3, 32, 32) and shown.min() >= 0 and shown.max() <= 1
    lab = batch["lab"]
    torch.testing.assert_close(rgb_to_lab(recolored)[:, 0], lab[:, 0], rtol=0, atol=0.05)
    torch.testing.assert_close(rgb_to_lab(relit)[:, 1:], lab[:, 1:], rtol=0, atol=0.05)
    torch.testing.assert_close(rgb_to_lab(relit)[:, 0], torch.full((4, 32, 32), 60.5), rtol=0, atol=0.05)
    torch.testing.assert_close(rgb_to_lab(original), lab, rtol=0, atol=0.05)
