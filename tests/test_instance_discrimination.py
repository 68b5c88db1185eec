"""Instance discrimination is the paper's: a memory bank, noise-contrastive estimation, proximal regularization."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from clustering_methods import SAMPLES, SMALL, check_gradients_and_eval, end_step, some_batch, started
from sslzoo_plugins.context.instance_discrimination import InstanceDiscrimination, log_normalizer, nce, unit

from sslzoo.nn.memory_bank import MemoryBank
from sslzoo.views.keyed import Draw


def test_the_loss_is_equation_7() -> None:
    rng = np.random.default_rng(0)
    own, noise, z, count = rng.normal(size=3), rng.normal(size=(3, 5)), 40.0, 100

    def no_noise(logit: float) -> float:
        """Equation 6: h."""
        probability = math.exp(logit) / z
        return probability / (probability + 5 / count)

    by_hand = 0.0
    for right, others in zip(own, noise, strict=True):
        by_hand -= (math.log(no_noise(right)) + sum(math.log(1 - no_noise(other)) for other in others)) / 3
    ours = nce(torch.tensor(own), torch.tensor(noise), torch.tensor(z).log(), count)
    assert float(ours) == pytest.approx(by_hand, rel=1e-5)


def test_the_loss_is_finite_for_the_largest_cosines() -> None:
    extremes = torch.tensor([1.0, -1.0]) / 0.01
    loss = nce(extremes, extremes[:, None].expand(2, 4), torch.tensor(12.0), 1000)
    assert loss.isfinite()


def test_z_is_the_count_times_the_mean_of_the_exponentials() -> None:
    noise = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert float(log_normalizer(noise, 1000).exp()) == pytest.approx(1000 * float(noise.exp().mean()), rel=1e-5)


def test_the_bank_begins_as_random_directions_and_averages() -> None:
    torch.manual_seed(0)
    bank = MemoryBank(3, momentum=0.25)
    bank.resize(5)
    torch.testing.assert_close(bank.rows.norm(dim=1), torch.ones(5))
    with torch.no_grad():
        bank.rows[2] = torch.tensor([1.0, 0.0, 0.0])
    before = bank.rows.clone()
    bank.put(torch.tensor([2, 0]), torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(bank.rows[2], torch.tensor([0.25, 0.75, 0.0]) / math.hypot(0.25, 0.75))
    torch.testing.assert_close(bank.rows.norm(dim=1), torch.ones(5))
    assert torch.equal(bank.rows[[1, 3, 4]], before[[1, 3, 4]]) and not torch.equal(bank.rows[0], before[0])


def test_the_loss_compares_with_the_own_entry_and_drawn_ones() -> None:
    method, batch = started(InstanceDiscrimination), some_batch(InstanceDiscrimination)
    batch["index"] = torch.tensor([3, 19, 0, 7, 12, 1, 5, 9])
    drawn = Draw(batch["key"]).integers("noise", SAMPLES, (6,))
    assert len(drawn.unique()) > 10
    rows = method.memory.rows
    with torch.no_grad():
        features = unit(method.head(method.encoder(batch["views"][0])))
        own = torch.stack([f @ rows[i] for f, i in zip(features, batch["index"], strict=True)]) / 0.07
        noise = torch.stack([rows[d] @ f for f, d in zip(features, drawn, strict=True)]) / 0.07
        z = log_normalizer(noise, SAMPLES)
        scores = method(dict(batch))
        torch.testing.assert_close(scores["nce"], nce(own, noise, z, SAMPLES))
        distances = torch.stack([(f - rows[i]).norm() ** 2 for f, i in zip(features, batch["index"], strict=True)])
        torch.testing.assert_close(scores["proximal"], distances.mean())
        torch.testing.assert_close(scores["loss"], scores["nce"] + 30 * scores["proximal"])
        torch.testing.assert_close(method.log_z, z)


def test_z_is_estimated_once() -> None:
    method = started(InstanceDiscrimination)
    first, other = some_batch(InstanceDiscrimination), some_batch(InstanceDiscrimination, count=4)
    method.eval()(dict(other))
    assert not method.log_z.isfinite()
    method.train()(dict(first))
    estimate = method.log_z.clone()
    method(dict(other))
    assert estimate.isfinite() and torch.equal(method.log_z, estimate)


def test_entries_change_when_the_step_ends() -> None:
    method, batch = started(InstanceDiscrimination), some_batch(InstanceDiscrimination)
    at_first = method.memory.rows.clone()
    with torch.no_grad():
        features = unit(method.head(method.encoder(batch["views"][0])))
    method(dict(batch))
    assert torch.equal(method.memory.rows, at_first)
    end_step(method)
    torch.testing.assert_close(method.memory.rows[:8], unit(at_first[:8] + features))  # a momentum of a half
    assert torch.equal(method.memory.rows[8:], at_first[8:]) and not method.newest


def test_a_held_out_picture_is_its_own_entry() -> None:
    method, batch = started(InstanceDiscrimination).eval(), some_batch(InstanceDiscrimination)
    scores = method(dict(batch))
    assert scores["proximal"] == 0 and torch.equal(scores["loss"], scores["nce"])


def test_proximal_regularization_can_be_left_out() -> None:
    method = started(InstanceDiscrimination, replace(SMALL[InstanceDiscrimination], proximal=0.0))
    scores = method(some_batch(InstanceDiscrimination))
    assert torch.equal(scores["loss"], scores["nce"]) and scores["proximal"] > 0


def test_gradients_and_eval() -> None:
    check_gradients_and_eval(InstanceDiscrimination)


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = InstanceDiscrimination.defaults, InstanceDiscrimination.Config()
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("momentum", 0.03, 0.9, 1e-4)
    assert (recipe.batch_size, recipe.epochs, recipe.schedule) == (256, 200, "step")
    assert [round(share * recipe.epochs) for share in recipe.milestones] == [120, 160]
    assert (config.temperature, config.noise_samples, config.proximal) == (0.07, 4096, 30)
    assert (config.memory_momentum, config.projection_dim) == (0.5, 128)
