"""The parts methods share, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslzoo.nn.adversarial import frozen_call
from sslzoo.nn.ema import ema_update, frozen_copy
from sslzoo.nn.schedules import cosine, rate_factor


def test_cosine_goes_from_start_through_the_middle_to_end() -> None:
    assert cosine(2.0, 1.0, 0.0) == 2.0
    assert cosine(2.0, 1.0, 0.5) == pytest.approx(1.5)
    assert cosine(2.0, 1.0, 1.0) == pytest.approx(1.0)


def test_the_rate_rises_linearly_and_falls_along_half_a_cosine() -> None:
    factors = [rate_factor(step, 100, warmup_steps=10) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx((1 + math.cos(math.pi * 45 / 90)) / 2)
    assert all(later < earlier for earlier, later in zip(factors[10:], factors[11:], strict=False))


def test_the_step_schedule_is_that_of_rotnet() -> None:
    # 50 epochs of 4 steps; the authors' table is 0.1 before epoch 15, then 0.01, 0.001 from 30, 0.0001 from 45.
    factors = [rate_factor(step, 200, schedule="step", milestones=(0.3, 0.6, 0.9)) for step in range(200)]
    for epoch, factor in [(0, 1), (14, 1), (15, 0.1), (29, 0.1), (30, 0.01), (44, 0.01), (45, 0.001), (49, 0.001)]:
        assert factors[4 * epoch : 4 * epoch + 4] == pytest.approx([factor] * 4), epoch


def test_ema_moves_parameters_and_statistics_and_copies_counts() -> None:
    student = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    teacher = frozen_copy(student)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    with torch.no_grad():
        student(torch.randn(8, 2))
        for parameter in student.parameters():
            parameter.add_(1.0)
    ema_update(teacher, student, 0.9)
    for name, value in teacher.state_dict().items():
        now = student.state_dict()[name]
        expected = 0.9 * before[name] + 0.1 * now if value.is_floating_point() else now
        torch.testing.assert_close(value, expected)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_summed_players_have_the_gradients_of_two_separate_backward_passes() -> None:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
    discriminator = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 1))
    latent, real = torch.randn(16, 4), torch.randn(16, 6)

    def losses() -> tuple[torch.Tensor, torch.Tensor]:
        fake = generator(latent)
        d = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()
        return d, F.softplus(-frozen_call(discriminator, fake)).mean()

    def gradients(loss: torch.Tensor, module: nn.Module) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, list(module.parameters())))

    d_loss, g_loss = losses()
    together_d, together_g = gradients(sum(losses()), discriminator), gradients(sum(losses()), generator)
    alone_d = gradients(d_loss, discriminator)
    # The generator's own pass goes through an unfrozen discriminator, whose gradient is then thrown away.
    alone_g = gradients(F.softplus(-discriminator(generator(latent))).mean(), generator)
    for one, other in zip(together_d + together_g, alone_d + alone_g, strict=True):
        torch.testing.assert_close(one, other)


def test_a_frozen_call_leaves_batch_statistics_alone() -> None:
    module = nn.BatchNorm1d(3)
    frozen_call(module, torch.randn(8, 3) + 5)
    assert torch.equal(module.running_mean, torch.zeros(3)) and module.num_batches_tracked == 0
