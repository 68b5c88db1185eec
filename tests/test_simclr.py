"""SimCLR is the paper's."""

from __future__ import annotations

import math

import pytest
import torch
from sslzoo_plugins.context.simclr import SimCLR, nt_xent
from torch import Tensor
from two_view_methods import check_gradients_and_eval, end_step, small, some_batch

TEMPERATURE = 0.3


def two_views(count: int = 6, dim: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, dim, generator=generator) for _ in range(2)]


def test_the_loss_is_equation_1_over_all_ordered_pairs() -> None:
    first, second = two_views()
    z = [vector for pair in zip(first.tolist(), second.tolist(), strict=True) for vector in pair]  # 2k - 1 and 2k

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    def pair_loss(i: int, j: int) -> float:
        others = [math.exp(cosine(z[i], z[k]) / TEMPERATURE) for k in range(len(z)) if k != i]
        return -math.log(math.exp(cosine(z[i], z[j]) / TEMPERATURE) / sum(others))

    by_hand = sum(pair_loss(k, k + 1) + pair_loss(k + 1, k) for k in range(0, len(z), 2)) / len(z)
    assert float(nt_xent(first, second, TEMPERATURE)[0]) == pytest.approx(by_hand, rel=1e-5)


def test_a_hand_solved_case() -> None:
    # Two pictures whose views are equal and orthogonal to the other's: cosine 1 with the partner, 0 with two others.
    views = torch.eye(2)
    loss, accuracy = nt_xent(views, views, temperature=0.5)
    assert float(loss) == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 2)))
    assert accuracy == 1
    assert nt_xent(views, views.flip(0), temperature=0.5)[1] == 0


def test_the_loss_is_lightlys() -> None:
    loss = pytest.importorskip("lightly.loss", reason="lightly is not installed")
    first, second = two_views()
    theirs = loss.NTXentLoss(temperature=TEMPERATURE)(first, second)
    torch.testing.assert_close(nt_xent(first, second, TEMPERATURE)[0], theirs, rtol=1e-5, atol=1e-5)


def test_half_precision_costs_the_loss_nothing() -> None:
    first, second = (view.bfloat16() for view in two_views())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = nt_xent(first, second, 0.1)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, nt_xent(first.float(), second.float(), 0.1)[0])


def test_gradients_and_eval() -> None:
    check_gradients_and_eval(SimCLR)


def test_it_learns_to_find_the_other_view() -> None:
    method, batch = small(SimCLR), some_batch()
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        scores = method(batch)
        optimizer.zero_grad()
        scores["loss"].backward()
        optimizer.step()
        end_step(method)
        losses.append(float(scores["loss"].detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = SimCLR.defaults, SimCLR.Config()
    assert (recipe.optimizer, recipe.lr * 4096 / recipe.base_batch_size, recipe.weight_decay) == ("lars", 4.8, 1e-6)
    assert (recipe.batch_size, recipe.epochs, recipe.warmup_epochs, recipe.schedule) == (4096, 100, 10, "cosine")
    assert (config.temperature, config.projection_dim) == (0.1, 128)
