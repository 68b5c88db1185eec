"""Video prediction is the paper's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from clip_samples import (
    batch_of,
    built,
    changed_by_held_out_scores,
    check_any_number_of_channels,
    check_views_depend_on_clip_and_key_alone,
    counting_clip,
    windows,
    without_gradient,
)
from scipy.signal import correlate2d
from scipy.special import expit
from sslzoo_plugins.generation.video_prediction import (
    ConvLSTM,
    Forecaster,
    SeenAndNext,
    VideoPrediction,
    VideoPredictionConfig,
    pixel_cross_entropy,
)
from torch import Tensor, nn

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.views.color import denormalize

CONFIG = VideoPredictionConfig(seen=3, predicted=2, hidden=(6, 4), kernel=3, decoder_dim=16)


def made(encoder: str = "test_resnet", config: VideoPredictionConfig = CONFIG) -> Any:
    return built(VideoPrediction, config, encoder)


def some_layer(channels: int, hidden: int, size: tuple[int, int], kernel: int) -> ConvLSTM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = ConvLSTM(channels, hidden, size, kernel)
        nn.init.normal_(layer.from_memory)
    return layer


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_a_layer_is_equation_3() -> None:
    layer = some_layer(2, 3, (5, 4), kernel=3)
    inputs, (output, memory) = noise(1, 4, 2, 5, 4), (noise(1, 3, 5, 4, seed=1), noise(1, 3, 5, 4, seed=2))
    found, (last, kept) = layer(inputs, (output, memory), 4)

    assert layer.from_input is not None
    w_x, w_h, w_c = (w.double().numpy() for w in (layer.from_input.weight, layer.from_state.weight, layer.from_memory))
    bias = layer.from_state.bias.double().numpy()  # type: ignore[union-attr]
    h, c = output[0].double().numpy(), memory[0].double().numpy()

    def convolved(weight: Any, maps: Any) -> Any:
        pairs = [[correlate2d(m, w, mode="same") for m, w in zip(maps, ws, strict=True)] for ws in weight]
        return np.array(pairs).sum(axis=1)

    for step in range(4):
        x = inputs[0, step].double().numpy()
        i, f, g, o = np.split(convolved(w_x, x) + convolved(w_h, h) + bias[:, None, None], 4)
        i, f = expit(i + w_c[0] * c), expit(f + w_c[1] * c)
        c = f * c + i * np.tanh(g)
        h = expit(o + w_c[2] * c) * np.tanh(c)
        np.testing.assert_allclose(found[0, step], h, atol=1e-5)
    np.testing.assert_allclose(last[0], h, atol=1e-5)
    np.testing.assert_allclose(kept[0], c, atol=1e-5)


@torch.no_grad()
def test_of_one_place_and_without_its_memory_a_layer_is_torchs_lstm() -> None:
    layer, theirs = some_layer(3, 5, (1, 1), kernel=1), nn.LSTM(3, 5, batch_first=True)
    nn.init.zeros_(layer.from_memory)
    assert layer.from_input is not None
    theirs.weight_ih_l0.copy_(layer.from_input.weight.flatten(1))
    theirs.weight_hh_l0.copy_(layer.from_state.weight.flatten(1))
    theirs.bias_ih_l0.copy_(layer.from_state.bias)
    nn.init.zeros_(theirs.bias_hh_l0)
    inputs, nothing = noise(2, 6, 3), torch.zeros(2, 5, 1, 1)
    found, _ = layer(inputs[..., None, None], (nothing, nothing), 6)
    torch.testing.assert_close(found[..., 0, 0], theirs(inputs)[0])


@torch.no_grad()
def test_the_second_stack_goes_on_from_the_states_of_the_first_and_all_its_layers_draw() -> None:
    forecaster = Forecaster(2, (4, 3), (5, 5), kernel=3)
    maps = noise(2, 3, 2, 5, 5)
    found = forecaster(maps, 2)

    below, states = maps, []
    for layer, width in zip(forecaster.reading, (4, 3), strict=True):
        state = (torch.zeros(2, width, 5, 5), torch.zeros(2, width, 5, 5))
        given = []
        for step in range(3):
            one, state = layer(below[:, step : step + 1], state, 1)
            given.append(one)
        below = torch.cat(given, dim=1)
        states.append(state)
    for step in range(2):
        first, states[0] = forecaster.going_on[0](None, states[0], 1)
        second, states[1] = forecaster.going_on[1](first, states[1], 1)
        torch.testing.assert_close(found[:, step], forecaster.last(torch.cat([first, second], dim=2)[:, 0]))
    assert not torch.allclose(found[:, 0], found[:, 1])
    assert not {id(p) for p in forecaster.reading.parameters()} & {id(p) for p in forecaster.going_on.parameters()}


def test_the_first_frames_are_seen_and_the_next_ones_are_asked_for() -> None:
    config, spec = VideoPredictionConfig(seen=4, predicted=3, stride=2), InputSpec.square(16)
    views = SeenAndNext(config, spec)
    sample = {"clip": counting_clip(20), "index": 0, "key": 11}
    batch = views(windows(views, [sample]))
    seen = [float(denormalize(view, spec.mean, spec.std).mean()) * 51 for view in batch["views"]]
    coming = (batch["target"].mean((0, 2, 3, 4)) * 51).tolist()
    assert np.allclose(np.diff([*seen, *coming]), 2, atol=1e-3) and len(coming) == 3


def test_views_depend_on_clip_and_key_alone() -> None:
    check_views_depend_on_clip_and_key_alone(VideoPrediction, CONFIG)


def test_the_loss_is_the_cross_entropy_of_pixels() -> None:
    method, batch = made().eval(), batch_of(VideoPrediction, CONFIG)
    with torch.no_grad():
        losses, logits = method(batch), method.logits(batch).double()
    assert logits.shape == batch["target"].shape == (4, 2, 3, 32, 32)
    drawn, target = 1 / (1 + np.exp(-logits.numpy())), batch["target"].double().numpy()
    entropy = -(target * np.log(drawn) + (1 - target) * np.log(1 - drawn)).mean()
    assert math.isclose(float(losses["loss"]), entropy, rel_tol=1e-5)
    assert math.isclose(float(losses["squared_error"]), ((drawn - target) ** 2).mean(), rel_tol=1e-4)
    spec = InputSpec.square(32)
    last = denormalize(batch["views"][-1], spec.mean, spec.std).double().numpy()[:, None]
    assert math.isclose(float(losses["squared_error_unmoved"]), ((last - target) ** 2).mean(), rel_tol=1e-4)


def test_nothing_is_better_than_the_pixels_themselves() -> None:
    target = torch.rand(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01
    logits = target.logit().requires_grad_()
    pixel_cross_entropy(logits, target).backward()
    assert logits.grad is not None and logits.grad.abs().max() < 1e-6


def test_what_is_said_of_a_place_is_drawn_as_a_patch() -> None:
    method, batch = made().eval(), batch_of(VideoPrediction, CONFIG)
    last = method.forecaster.last
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.arange(48.0))
        logits = method.logits(batch)
    assert last.out_channels == 4 * 4 * 3
    patch = torch.arange(48.0).view(3, 4, 4)  # by channels, then rows
    torch.testing.assert_close(logits[0, 0], patch.repeat(1, 8, 8))


def test_every_seen_frame_counts_and_no_later_one() -> None:
    method, batch = made().eval(), batch_of(VideoPrediction, CONFIG)
    with torch.no_grad():
        before = method.logits(batch)
        for frame in range(3):
            views = list(batch["views"])
            views[frame] = views[frame].flip(3)
            assert not torch.equal(method.logits({**batch, "views": views}), before)
        assert torch.equal(method.logits({**batch, "target": torch.zeros_like(batch["target"])}), before)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(VideoPrediction, CONFIG, encoder) == []


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(VideoPrediction, CONFIG) == []


def test_clips_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(VideoPrediction, CONFIG)


def test_what_does_not_suit_is_refused() -> None:
    with pytest.raises(UsageError, match="an encoder of pictures"):
        made("test_r3d")
    for wrong in ({"seen": 0}, {"predicted": 0}, {"hidden": ()}, {"hidden": (4, 0)}, {"kernel": 4}):
        with pytest.raises(UsageError, match="1 or more"):
            made(config=VideoPredictionConfig(**wrong))
    with pytest.raises(UsageError, match="--image-size 30"):
        VideoPrediction(create_encoder("test_resnet", 30), CONFIG)


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = VideoPrediction.defaults, VideoPredictionConfig()
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.batch_size) == ("rmsprop", 1e-3, 0.0, 16)
    assert (recipe.image_size, config.seen, config.predicted) == (64, 10, 10)
    assert (config.hidden, config.kernel) == ((128, 64, 64), 5)


def test_illustrations_are_some_frames_seen_predicted_and_true() -> None:
    config = VideoPredictionConfig(seen=7, predicted=2, hidden=(4,), kernel=3, decoder_dim=16)
    method, batch, spec = made(config=config).eval(), batch_of(VideoPrediction, config), InputSpec.square(32)
    with torch.no_grad():
        seen, predicted, real = method.illustrate(batch).values()
        drawn = method.logits(batch).sigmoid()
    assert seen.shape == (4, 3, 32, 4 * 32 + 3 * 2) and predicted.shape == real.shape == (4, 3, 32, 2 * 32 + 2)
    for place, frame in enumerate((0, 2, 4, 6)):
        shown = denormalize(batch["views"][frame], spec.mean, spec.std)
        torch.testing.assert_close(seen[..., 34 * place : 34 * place + 32], shown)
    torch.testing.assert_close(predicted[..., 34:], drawn[:, 1])
    torch.testing.assert_close(real[..., :32], batch["target"][:, 0])
