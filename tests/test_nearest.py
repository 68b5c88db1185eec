"""Similarities in blocks are the product; the largest, found in groups, are those that ``topk`` finds."""

from __future__ import annotations

import pytest
import torch

from sslzoo.evaluations import nearest
from sslzoo.evaluations.nearest import largest, similarities

SHAPES = [(5, 1, 1), (5, 7, 7), (5, 7, 1), (9, 80, 20), (9, 81, 20), (7, 921, 21), (3, 1009, 1), (2, 5000, 20)]
"""Rows, columns, k; groups are of one column (so there are none) up to 16, and some leave a rest."""


@pytest.mark.parametrize(("rows", "columns", "k"), SHAPES)
def test_the_largest_are_topks(rows: int, columns: int, k: int) -> None:
    order = torch.rand(rows, columns, generator=torch.Generator().manual_seed(0)).argsort(1)
    for values in (order.float(), order.double().neg(), order.float().T.contiguous().T):
        for found, expected in zip(largest(values, k), values.topk(k, dim=1), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize(("rows", "columns", "k"), SHAPES)
def test_of_equal_entries_as_many_are_found_and_none_twice(rows: int, columns: int, k: int) -> None:
    values = torch.randint(3, (rows, columns), generator=torch.Generator().manual_seed(0)).float()
    values[0], values[-1] = 1, -torch.inf
    found, places = largest(values, k)
    assert torch.equal(found, values.topk(k, dim=1).values)
    assert torch.equal(found, values.gather(1, places))
    assert all(len(set(row)) == k for row in places.tolist())


@pytest.mark.parametrize(("queries", "rows"), [(130, 25), (1, 20), (64, 1), (0, 5)])
def test_similarities_in_blocks_are_the_product(monkeypatch: pytest.MonkeyPatch, queries: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randint(-9, 9, (number, 3), generator=generator).float() for number in (queries, rows))
    monkeypatch.setattr(nearest, "_CHUNK", 1)
    monkeypatch.setattr(nearest, "_BLOCK", 10)
    assert torch.equal(torch.cat([chunk.clone() for chunk in similarities(left, right)]), left @ right.T)


def test_the_largest_may_be_in_one_group_or_in_the_rest() -> None:
    values = torch.arange(103.0).neg()[None].repeat(3, 1)
    size, groups = 5, 20  # of k = 4, with 3 columns left over
    values[1, groups * torch.arange(size) + 3] = 7 + torch.arange(5.0)
    values[2, size * groups :] = 7 + torch.arange(3.0)
    assert largest(values, 4)[1].tolist() == [[0, 1, 2, 3], [83, 63, 43, 23], [102, 101, 100, 0]]
