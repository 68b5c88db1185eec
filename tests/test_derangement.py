"""Each sample gets another one, whatever the order of the batch."""

from __future__ import annotations

import pytest
import torch
from view_samples import draw_of

from sslzoo.config import UsageError
from sslzoo.nn.derangement import of_others, others


def test_each_sample_gets_another_one_and_each_is_that_of_one() -> None:
    for seed in range(20):
        for count in (2, 3, 8, 33):
            other = others(draw_of(count, seed).key)
            assert sorted(other.tolist()) == list(range(count))
            assert (other != torch.arange(count)).all()


def test_pairs_differ_with_the_keys_and_not_with_the_order() -> None:
    key = draw_of(16).key
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    pairs = dict(zip(key.tolist(), key[others(key)].tolist(), strict=True))
    assert pairs == dict(zip(key[order].tolist(), key[order][others(key[order])].tolist(), strict=True))
    assert len({tuple(others(draw_of(16, seed).key).tolist()) for seed in range(50)}) == 50


def test_a_sample_alone_is_refused_in_training_and_its_own_other_else() -> None:
    rows, key = torch.rand(1, 3), draw_of(1).key
    assert torch.equal(of_others(rows, key, gathered=False), rows)
    with pytest.raises(UsageError, match="larger --batch-size"):
        of_others(rows, key, gathered=True)
