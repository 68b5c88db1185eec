"""The keyed random numbers: SplitMix64, fair, independent, and nobody's state."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor

from sslzoo.views import collate, draw_for
from sslzoo.views.keyed import _GAMMA, Draw, _mix, _signed

MASK = 2**64 - 1


def splitmix64(state: int, count: int) -> list[int]:
    """Vigna's public-domain splitmix64.c, in unsigned arithmetic."""
    numbers = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        numbers.append(z ^ (z >> 31))
    return numbers


def draw_of(count: int, seed: int = 0) -> Draw:
    return Draw.root(seed).of(torch.arange(count))


def unsigned(numbers: Tensor) -> list[int]:
    return [number & MASK for number in numbers.flatten().tolist()]


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten().double(), b.flatten().double()]))[0, 1])


def test_the_reference_gives_the_published_numbers() -> None:
    assert splitmix64(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("seed", [0, 1, 1234567, 2**63, 2**64 - 1])
def test_the_generator_is_splitmix64(seed: int) -> None:
    states = _signed(seed) + torch.arange(1, 101) * _GAMMA
    assert unsigned(_mix(states)) == splitmix64(seed, 100)


def test_the_bits_of_a_draw_are_splitmix64_started_at_its_branch() -> None:
    draw = draw_of(5)
    bits = draw.bits("anything", (2, 3))
    assert bits.shape == (5, 2, 3)
    for sample, key in zip(bits, unsigned(draw.at("anything").key), strict=True):
        assert unsigned(sample) == splitmix64(key, 6)


def test_every_bit_is_set_half_of_the_time() -> None:
    bits = draw_of(2000).bits("bits", (4,))
    share = torch.stack([((bits >> place) & 1).double().mean() for place in range(64)])
    assert (share - 0.5).abs().max() < 0.025


def test_uniform_numbers_fill_their_range_evenly() -> None:
    unit = draw_of(5000).uniform("unit", shape=(4,))
    assert unit.dtype == torch.float32 and unit.min() >= 0 and unit.max() < 1
    counts = (unit.flatten() * 20).long().bincount(minlength=20)
    assert (counts - 1000).abs().max() < 150
    scaled = draw_of(5000).uniform("scaled", -3.0, 5.0)
    assert scaled.min() >= -3 and scaled.max() <= 5 and abs(float(scaled.mean()) - 1) < 0.15


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_a_bernoulli_draw_is_true_with_its_probability(p: float) -> None:
    share = float(draw_of(10_000).bernoulli("coin", p).double().mean())
    assert abs(share - p) < 0.02 and (share == p or 0 < p < 1)


@pytest.mark.parametrize("high", [1, 2, 3, 7, 24, 1000])
def test_integers_take_every_value_equally_often(high: int) -> None:
    count = 20_000
    numbers = draw_of(count).integers("number", high)
    counts = numbers.bincount(minlength=high).double()
    assert len(counts) == high and counts.sum() == count
    chi_square = float(((counts - count / high) ** 2 / (count / high)).sum())
    assert chi_square < high - 1 + 5 * (2 * high) ** 0.5


def test_integers_reach_both_ends_of_a_large_range() -> None:
    numbers = draw_of(20_000).integers("number", 2**31).double() / 2**31
    assert numbers.min() >= 0 and numbers.min() < 0.001 and 0.999 < numbers.max() < 1


def test_normal_numbers_have_mean_zero_and_variance_one() -> None:
    normal = draw_of(10_000).normal("noise", (2,))
    assert normal.isfinite().all()
    assert normal.mean(dim=0).abs().max() < 0.04 and (normal.var(dim=0) - 1).abs().max() < 0.06
    assert abs(float((normal.abs() < 1).double().mean()) - 0.6827) < 0.02
    assert abs(correlation(normal[:, 0], normal[:, 1])) < 0.04


def test_permutations_are_permutations_and_equally_likely() -> None:
    orders = draw_of(6000).permutation("order", 3)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(3).expand(6000, 3))
    counts = (orders * torch.tensor([9, 3, 1])).sum(dim=1).bincount()
    assert (counts[counts > 0] - 1000).abs().max() < 150 and (counts > 0).sum() == 6


def test_the_same_purpose_gives_the_same_numbers_again() -> None:
    draw = draw_of(50)
    assert torch.equal(draw.uniform("a", shape=(3,)), draw.uniform("a", shape=(3,)))
    assert torch.equal(draw.at("view", 1).key, draw.at("view").at(1).key)


@pytest.mark.parametrize(
    ("one", "other"),
    [(("a",), ("b",)), ((1,), (2,)), ((1,), ("1",)), (("a", "b"), ("b", "a")), (("a",), ("a", "a"))],
)
def test_draws_of_different_purposes_are_independent(one: tuple, other: tuple) -> None:
    draw = draw_of(5000)
    first, second = draw.at(*one), draw.at(*other)
    assert not (first.key == second.key).any()
    assert abs(correlation(first.uniform("u"), second.uniform("u"))) < 0.05
    assert abs(correlation(first.uniform("u")[1:], second.uniform("u")[:-1])) < 0.05


def test_samples_epochs_and_seeds_are_independent() -> None:
    epochs = [Draw.root(seed).at("epoch", epoch).of(torch.arange(5000)) for seed in (0, 1) for epoch in (0, 1)]
    numbers = [epoch.uniform("u") for epoch in epochs]
    assert len(torch.cat([epoch.key for epoch in epochs]).unique()) == 20_000
    for place, number in enumerate(numbers):
        assert abs(correlation(number[1:], number[:-1])) < 0.05
        assert all(abs(correlation(number, other)) < 0.05 for other in numbers[:place])


def test_a_sample_draws_the_same_in_any_batch() -> None:
    draw = draw_of(16)
    for numbers in (
        lambda d: d.bits("a", (2,)),
        lambda d: d.uniform("a", -1, 1, (2, 3)),
        lambda d: d.integers("a", 10),
        lambda d: d.bernoulli("a", 0.5),
        lambda d: d.normal("a", (2,)),
        lambda d: d.permutation("a", 9),
        lambda d: d.of(d.key).key,
    ):
        together = numbers(draw)
        assert torch.equal(together, torch.cat([numbers(Draw(draw.key[i : i + 1])) for i in range(16)]))
        assert torch.equal(together, numbers(Draw(draw.key.flip(0))).flip(0))


def test_a_longer_draw_begins_with_the_shorter() -> None:
    draw = draw_of(4)
    assert torch.equal(draw.uniform("a", shape=(9,))[:, :4], draw.uniform("a", shape=(4,)))


def test_keys_are_the_same_in_every_session() -> None:
    key = Draw.root(0).at("epoch", 3).of(torch.tensor([7])).key
    assert unsigned(key) == [3903811886627265299]


def test_samples_bring_their_keys_into_the_batch() -> None:
    class Nothing:
        def crop(self, samples: list) -> dict:
            return {"drawn": draw_for(samples).uniform("a")}

    samples = [{"index": i, "key": key} for i, key in enumerate(draw_of(3).key.tolist())]
    batch = collate(Nothing(), samples)  # type: ignore[arg-type]
    assert torch.equal(batch["key"], draw_of(3).key) and batch["index"].tolist() == [0, 1, 2]
    assert torch.equal(batch["drawn"], draw_of(3).uniform("a"))


def test_a_draw_can_be_pickled() -> None:
    assert torch.equal(pickle.loads(pickle.dumps(draw_of(3))).key, draw_of(3).key)
