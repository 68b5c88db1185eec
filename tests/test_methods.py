"""Every installed method keeps every promise of the contract."""

from __future__ import annotations

import pytest

from sslzoo.registry import datasets, evaluations, methods
from sslzoo.testing import check_dataset, check_evaluation, check_method


@pytest.mark.parametrize("name", methods.names())
def test_a_method_keeps_every_promise(name: str) -> None:
    check_method(name).raise_for_failures()


@pytest.mark.parametrize("name", evaluations.names())
def test_an_evaluation_keeps_every_promise(name: str) -> None:
    check_evaluation(name).raise_for_failures()


@pytest.mark.parametrize("name", datasets.names())
def test_a_data_set_keeps_every_promise(name: str) -> None:
    check_dataset(name).raise_for_failures()
