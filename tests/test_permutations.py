"""Permutations: all of them, and sets that are far apart."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.nn.permutations import distant_permutations, every_permutation


def hamming(orders: Tensor) -> Tensor:
    """(N, N) distances."""
    return (orders[:, None] != orders[None]).sum(dim=2)


def mean_distance(orders: Tensor) -> float:
    return float(hamming(orders).sum()) / (len(orders) * (len(orders) - 1))


@pytest.mark.parametrize("length", [1, 3, 6])
def test_every_permutation_is_there_once_in_lexicographic_order(length: int) -> None:
    orders = every_permutation(length).tolist()
    assert len(orders) == math.factorial(length) and orders == sorted(orders)
    assert len({tuple(order) for order in orders}) == len(orders)
    assert all(sorted(order) == list(range(length)) for order in orders)


def test_a_thousand_of_nine_are_distinct_permutations() -> None:
    orders = distant_permutations(1000, 9)
    assert orders.shape == (1000, 9) and len(orders.unique(dim=0)) == 1000
    assert torch.equal(orders.sort(dim=1).values, torch.arange(9).expand(1000, 9))


@pytest.mark.parametrize("count", [10, 100])
def test_they_are_farther_apart_than_random_ones(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    everything = every_permutation(9)
    random = [everything[torch.randperm(len(everything), generator=generator)[:count]] for _ in range(20)]
    farthest = max(map(mean_distance, random))
    assert mean_distance(distant_permutations(count, 9)) > farthest
    # Random ones share one place in nine on average; no set of more than nine can share none.
    assert sum(map(mean_distance, random)) / 20 == pytest.approx(8, abs=0.1)


def test_nine_of_nine_share_no_place() -> None:
    assert mean_distance(distant_permutations(9, 9)) == 9


def test_each_is_the_farthest_of_those_that_were_left() -> None:
    everything = [tuple(order) for order in every_permutation(4).tolist()]
    orders = [tuple(order) for order in distant_permutations(24, 4).tolist()]
    for count in range(1, 24):
        chosen, following = orders[:count], orders[count]

        def distance(order: tuple, chosen: list = chosen) -> int:
            return sum(mine != theirs for other in chosen for mine, theirs in zip(order, other, strict=True))

        assert following not in chosen
        assert distance(following) == max(distance(order) for order in everything if order not in chosen)


def test_a_smaller_set_begins_a_larger_one_and_never_changes() -> None:
    assert torch.equal(distant_permutations(20, 5)[:7], distant_permutations(7, 5))
    assert distant_permutations(2, 9).tolist() == [[5, 1, 6, 0, 2, 8, 4, 3, 7], [8, 4, 7, 2, 1, 3, 6, 5, 0]]


@pytest.mark.parametrize("count", [0, 25])
def test_more_than_there_are_is_a_usage_error(count: int) -> None:
    with pytest.raises(UsageError, match="4 things have 24 permutations"):
        distant_permutations(count, 4)
