"""Synthetic multi-task learning is the paper's, and its details the authors' code's."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dense_samples import (
    batch_of,
    built,
    changed_by_held_out_scores,
    check_views_depend_on_sample_and_key_alone,
    dense_samples,
    without_gradient,
)
from sslzoo_plugins.free_label.synthetic_multitask import (
    FEWEST,
    History,
    SyntheticMultitask,
    SyntheticMultitaskConfig,
    contours_loss,
    depth_loss,
    errors,
    normals_loss,
    one_channel,
)
from torch import Tensor
from view_samples import draw_of

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec, create_encoder

CONFIG = SyntheticMultitaskConfig(decoder_dim=32)
ALONE = SyntheticMultitaskConfig(decoder_dim=32, adversarial=0.0)


def made(image: bool = True) -> tuple[SyntheticMultitask, dict]:
    method = built(SyntheticMultitask, CONFIG)
    assert isinstance(method, SyntheticMultitask)
    return method, batch_of(SyntheticMultitask, CONFIG, image=image)


def test_the_loss_of_depth_is_of_its_logarithm_where_there_is_something() -> None:
    rng = np.random.default_rng(0)
    predicted, depth = rng.normal(size=(3, 1, 4, 5)), rng.uniform(0.5, 9, (3, 1, 4, 5))
    depth[rng.random(depth.shape) < 0.3] = np.inf
    depth[2] = np.inf
    pictures = []
    for picture in range(3):
        there = np.isfinite(depth[picture])
        error = predicted[picture][there] - np.log(depth[picture][there])
        pictures.append(0.5 * (np.mean(error**2) + 0.5 * np.mean(error) ** 2) if there.any() else 0.0)
    assert float(depth_loss(torch.tensor(predicted), torch.tensor(depth))) == pytest.approx(np.mean(pictures))


def test_the_loss_of_normals_is_the_cosine_embedding_loss_where_there_are_any() -> None:
    torch.manual_seed(0)
    predicted, normals = torch.randn(2, 3, 4, 5), F.normalize(torch.randn(2, 3, 4, 5), dim=1)
    ones = torch.ones(40)
    rows = [values.permute(0, 2, 3, 1).reshape(-1, 3) for values in (predicted, normals)]
    torch.testing.assert_close(normals_loss(predicted, normals), F.cosine_embedding_loss(*rows, ones))
    some = normals.clone()
    some[:, :, 1:] = 0
    torch.testing.assert_close(normals_loss(predicted, some), normals_loss(predicted[:, :, :1], normals[:, :, :1]))
    assert float(normals_loss(predicted, torch.zeros_like(normals))) == 0


def test_contour_pixels_count_as_much_as_all_others() -> None:
    rng = np.random.default_rng(0)
    logits, contours = rng.normal(size=(3, 1, 20, 20)), rng.random((3, 1, 20, 20)) < 0.1
    contours[2] = False  # too few: it is not asked for
    assert FEWEST > 0.005
    pictures = []
    for picture in range(2):
        edge = contours[picture]
        ratio = (~edge).sum() / edge.sum()
        p = 1 / (1 + np.exp(-logits[picture]))
        pictures.append(np.mean(np.where(edge, -ratio * np.log(p), -np.log(1 - p))))
    found = float(contours_loss(torch.tensor(logits), torch.tensor(contours)))
    assert found == pytest.approx(np.sum(pictures) / 3)
    flat = torch.full((1, 1, 20, 20), 0.3, dtype=torch.float64, requires_grad=True)
    contours_loss(flat, torch.tensor(contours[:1])).backward()
    assert flat.grad is not None
    edge, rest = (flat.grad[mask].sum() for mask in (torch.tensor(contours[:1]), ~torch.tensor(contours[:1])))
    assert float(-edge / rest) == pytest.approx((1 - 1 / (1 + math.exp(-0.3))) / (1 / (1 + math.exp(-0.3))))


def test_held_out_scores_are_relative_errors_and_angles() -> None:
    depth = torch.tensor([1.0, 2.0, 4.0, torch.inf]).view(1, 1, 2, 2)
    guess = torch.tensor([1.5, 1.0, 4.0, 7.0]).log().view(1, 1, 2, 2)
    normals = torch.tensor([[0.0, 0, -1], [0, 0, -1], [0, 1, 0], [0, 0, 0]]).T.view(1, 3, 2, 2)
    predicted = torch.tensor([[0.0, 0, -3], [0, 2, 0], [1, 1, 0], [1, 0, 0]]).T.view(1, 3, 2, 2)
    found = errors(guess, predicted, depth, normals)
    assert float(found["depth_abs_rel"]) == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert float(found["normals_degrees"]) == pytest.approx((0 + 90 + 45) / 3, abs=0.05)


def test_the_losses_are_weighted_as_in_the_authors_code() -> None:
    method, batch = made()
    with torch.no_grad():
        found = {name: float(value) for name, value in method(batch).items()}
    tasks = 5 * found["depth_loss"] + 10 * found["normals_loss"] + found["contours_loss"]
    players = 0.05 * found["adversarial_loss"] + found["discriminator_loss"]
    assert found["loss"] == pytest.approx(tasks + players, rel=1e-5)


def test_pictures_show_one_of_their_channels_in_all() -> None:
    levels = torch.tensor([0.1, 0.2, 0.3])[:, None, None].expand(300, 3, 2, 2)
    shown = one_channel(levels, draw_of(300))
    assert torch.equal(shown, shown[:, :1].expand_as(shown))
    shares = [(shown[:, 0, 0, 0] == level).float().mean() for level in (0.1, 0.2, 0.3)]
    assert all(abs(float(share) - 1 / 3) < 0.1 for share in shares)


def test_gradients_are_those_of_two_separate_backward_passes() -> None:
    method, batch = made()
    method(dict(batch))["loss"].backward()
    together = {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}

    other, _ = made()
    judge, players = other.discriminator, {True: [], False: []}  # type: dict[bool, list[nn.Parameter]]
    assert judge is not None
    for name, parameter in other.named_parameters():
        players[name.startswith("discriminator.")].append(parameter)
    with torch.no_grad():
        _, real = other.predict(batch["views"][1])
    predicted, rendered = other.predict(batch["views"][0])

    def entropy(maps: Tensor, is_real: float) -> Tensor:
        probability = judge(maps).sigmoid()
        return F.binary_cross_entropy(probability, torch.full_like(probability, is_real))

    d_loss = 0.5 * (entropy(rendered.detach(), 0.0) + entropy(real, 1.0))
    g_loss = 5 * depth_loss(predicted["depth"], batch["depth"]) + 10 * normals_loss(
        predicted["normals"], batch["normals"]
    )
    g_loss = g_loss + contours_loss(predicted["contours"], batch["contours"]) + 0.05 * entropy(rendered, 1.0)
    apart = {True: torch.autograd.grad(d_loss, players[True]), False: torch.autograd.grad(g_loss, players[False])}
    for player, gradients in apart.items():
        names = [name for name in together if name.startswith("discriminator.") == player]
        for name, gradient in zip(names, gradients, strict=True):
            torch.testing.assert_close(together[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("config", [CONFIG, ALONE])
def test_the_gradient_reaches_every_parameter(config: SyntheticMultitaskConfig, encoder: str) -> None:
    batch = batch_of(SyntheticMultitask, config, image=True)
    assert without_gradient(built(SyntheticMultitask, config, encoder), batch) == []


def test_without_real_pictures_it_says_so_and_adapts_nothing() -> None:
    method, batch = made(image=False)
    with pytest.warns(UserWarning, match="no real pictures"):
        losses = method(batch)
    losses["loss"].backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = built(SyntheticMultitask, ALONE)(batch)
    assert losses.keys() == alone.keys()
    assert method.discriminator is not None
    assert all(p.grad is not None and not p.grad.any() for p in method.discriminator.parameters())


def test_the_history_gives_an_older_map_for_half_of_the_new_ones() -> None:
    history = History(64, (1, 1, 1))
    numbers = torch.arange(4000.0).view(20, 200, 1, 1, 1)
    assert torch.equal(history.exchange(numbers[0][:64], draw_of(64)), numbers[0][:64])
    assert torch.equal(history.maps, numbers[0][:64])
    for step, new in enumerate(numbers[1:]):
        before = set(history.maps.flatten().tolist())
        given = history.exchange(new, draw_of(200, step)).flatten()
        old = given != new.flatten()
        assert abs(float(old.float().mean()) - 0.5) < 0.15
        assert set(given[old].tolist()) <= before
        kept = set(history.maps.flatten().tolist())
        assert kept <= before | set(new.flatten()[old].tolist()) and len(kept) == 64
        replaced = draw_of(200, step).integers("slot", 64)[old]
        last = {int(slot): float(value) for slot, value in zip(replaced, new.flatten()[old], strict=True)}
        assert all(float(history.maps[slot]) == value for slot, value in last.items())


def test_a_history_that_becomes_full_within_a_batch_gives_what_it_has() -> None:
    history, numbers = History(8, (1, 1, 1)), torch.arange(1.0, 41.0).view(40, 1, 1, 1)
    given = history.exchange(numbers, draw_of(40)).flatten()
    assert torch.equal(given[:8], numbers.flatten()[:8]) and int(history.count) == 8
    assert set(given.tolist()) <= set(numbers.flatten().tolist()) and (given[8:] != numbers.flatten()[8:]).any()


def test_the_discriminator_learns_from_the_history_in_training_alone() -> None:
    method, batch = made()
    method(batch)
    assert [int(history.count) for history in method.history] == [4, 4]
    assert changed_by_held_out_scores(method, batch) == []


@pytest.mark.parametrize("image", [False, True])
def test_views_depend_on_sample_and_key_alone(image: bool) -> None:
    check_views_depend_on_sample_and_key_alone(SyntheticMultitask, CONFIG, image)


@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_may_have_any_number_of_channels(channels: int) -> None:
    batch = batch_of(SyntheticMultitask, CONFIG, image=True, channels=channels)
    assert built(SyntheticMultitask, CONFIG, channels=channels).eval()(batch)["loss"].isfinite()


def test_what_it_cannot_work_with_is_refused() -> None:
    samples = [{name: value for name, value in sample.items() if name != "depth"} for sample in dense_samples(2)]
    with pytest.raises(UsageError, match="no depth"):
        SyntheticMultitask.views(CONFIG, InputSpec.square(32))(samples)
    with pytest.raises(UsageError, match="single frames"):
        SyntheticMultitask(create_encoder("test_r3d", 32, frames=4), CONFIG)


def test_illustrations_show_what_is_predicted_beside_what_is_so() -> None:
    method, batch = made()
    with torch.no_grad():
        shown = method.eval().illustrate(batch)
    assert {picture.shape for picture in shown.values()} == {(4, 3, 32, 32)}
    assert all(picture.min() >= 0 and picture.max() <= 1 for picture in shown.values())
    nothing = batch["depth"].isinf().expand(-1, 3, -1, -1)
    assert nothing.any() and not shown["depth"][nothing].any() and not shown["normals"][nothing].any()
    nearest = batch["depth"].flatten(1).argmin(1)
    assert (shown["depth"][:, 0].flatten(1).gather(1, nearest[:, None]) == 1).all()
