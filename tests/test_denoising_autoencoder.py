"""The denoising autoencoder is the paper's."""

from __future__ import annotations

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
from sslzoo_plugins.generation.denoising_autoencoder import (
    DenoisingAutoencoder,
    DenoisingAutoencoderConfig,
    cross_entropy,
)
from view_samples import MEAN, STD

from sslzoo.views.color import denormalize

CONFIG = DenoisingAutoencoderConfig(decoder_dim=32)


@pytest.mark.parametrize("destroyed", [0.0, 0.1, 0.25, 0.4])
def test_a_fixed_number_of_pixels_is_black_in_all_channels_and_the_others_are_as_they_were(destroyed: float) -> None:
    batch = batch_of(DenoisingAutoencoder, DenoisingAutoencoderConfig(destroyed=destroyed))
    seen, target = denormalize(batch["views"][0], MEAN, STD), batch["target"]
    changed = (seen - target).abs().amax(dim=1) > 1e-5
    black_before = (target == 0).all(dim=1)
    for sample in range(4):
        assert (seen[sample][:, changed[sample]].abs() < 1e-5).all()
        at_least = round(destroyed * 32 * 32) - int(black_before[sample].sum())
        assert at_least <= int(changed[sample].sum()) <= round(destroyed * 32 * 32)
    assert target.min() >= 0 and target.max() <= 1


def test_the_loss_is_the_cross_entropy_of_pixels_read_as_probabilities() -> None:
    rng = np.random.default_rng(0)
    logits, x = rng.normal(size=(2, 3, 4, 4)), rng.uniform(size=(2, 3, 4, 4))
    z = 1 / (1 + np.exp(-logits))
    by_hand = -np.mean(x * np.log(z) + (1 - x) * np.log(1 - z))
    assert float(cross_entropy(torch.tensor(logits), torch.tensor(x))) == pytest.approx(by_hand)


def test_what_is_compared_is_the_whole_picture_with_what_was_restored_from_its_rest() -> None:
    method, batch = built(DenoisingAutoencoder, CONFIG).eval(), batch_of(DenoisingAutoencoder, CONFIG)
    with torch.no_grad():
        losses = method(batch)
        restored = method.illustrate(batch)["restored"].double().numpy()
    x = batch["target"].double().numpy()
    by_hand = -np.mean(x * np.log(restored) + (1 - x) * np.log(1 - restored))
    assert float(losses["loss"]) == pytest.approx(by_hand, rel=1e-5)
    assert float(losses["squared_error"]) == pytest.approx(np.mean((restored - x) ** 2), rel=1e-5)


def test_all_that_is_restored_passes_through_the_code() -> None:
    method, batch = built(DenoisingAutoencoder, CONFIG), batch_of(DenoisingAutoencoder, CONFIG)
    assert [shape.size for shape in method.maps] == [(1, 1), (2, 2), (4, 4), (8, 8)]  # and not the one of 16 x 16
    assert method.logits(batch).shape == (4, 3, 32, 32)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(DenoisingAutoencoder, CONFIG, encoder) == []


def test_views_depend_on_picture_and_key_alone() -> None:
    check_views_depend_on_picture_and_key_alone(DenoisingAutoencoder, CONFIG)


def test_pictures_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(DenoisingAutoencoder, CONFIG)


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(DenoisingAutoencoder, CONFIG) == []


def test_a_few_pictures_are_soon_restored() -> None:
    method, batch = built(DenoisingAutoencoder, CONFIG), batch_of(DenoisingAutoencoder, CONFIG)
    optimizer, errors = torch.optim.AdamW(method.parameters(), 3e-3), []
    for _ in range(40):
        losses = method(dict(batch))
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        errors.append(float(losses["squared_error"]))
    assert errors[-1] < errors[0] / 2


def test_illustrations_are_pictures() -> None:
    method = built(DenoisingAutoencoder, CONFIG).eval()
    batch = batch_of(DenoisingAutoencoder, CONFIG)
    with torch.no_grad():
        pictures = method.illustrate(batch)
    assert list(pictures) == ["destroyed", "restored", "original"]
    for shown in pictures.values():
        assert shown.shape == (4, 3, 32, 32) and shown.min() >= 0 and shown.max() <= 1
    assert torch.equal(pictures["original"], batch["target"])
