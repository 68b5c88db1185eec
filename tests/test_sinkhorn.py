"""Sinkhorn's algorithm has the sums it promises, and a gradient."""

from __future__ import annotations

import numpy as np
import torch

from sslzoo.nn.sinkhorn import log_sinkhorn


def scores(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_square_matrix_becomes_doubly_stochastic() -> None:
    matrix = log_sinkhorn(scores(5, 9, 9), 200).exp()
    torch.testing.assert_close(matrix.sum(dim=2), torch.ones(5, 9, dtype=torch.float64))
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(5, 9, dtype=torch.float64))


def test_one_iteration_is_rows_divided_then_columns() -> None:
    matrix = np.exp(scores(3, 4).numpy())
    for iterations in (1, 2, 3):
        matrix = matrix / matrix.sum(axis=1, keepdims=True)
        matrix = matrix / matrix.sum(axis=0, keepdims=True)
        np.testing.assert_allclose(log_sinkhorn(scores(3, 4), iterations).exp().numpy(), matrix)


def test_no_iteration_changes_nothing() -> None:
    assert torch.equal(log_sinkhorn(scores(3, 4), 0), scores(3, 4))


def test_column_sums_are_exact_and_row_sums_come_closer() -> None:
    errors = []
    for iterations in (1, 3, 10):
        matrix = log_sinkhorn(scores(6, 6), iterations).exp()
        torch.testing.assert_close(matrix.sum(dim=0), torch.ones(6, dtype=torch.float64))
        errors.append(float((matrix.sum(dim=1) - 1).abs().max()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_rows_and_columns_get_the_marginals_they_are_given() -> None:
    rows = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    columns = torch.tensor([0.5, 0.5, 1.0, 4.0], dtype=torch.float64)
    matrix = log_sinkhorn(scores(2, 3, 4), 300, rows, columns).exp()
    torch.testing.assert_close(matrix.sum(dim=2), rows.expand(2, 3))
    torch.testing.assert_close(matrix.sum(dim=1), columns.expand(2, 4))


def test_samples_are_shared_out_equally_among_prototypes() -> None:
    # Swapping assignments (Caron et al., NeurIPS 2020): 4 prototypes, 20 samples that would all take the first one.
    wishes = scores(4, 20)
    wishes[0] += 5
    plan = log_sinkhorn(wishes, 100, rows=20 / 4).exp()
    torch.testing.assert_close(plan.sum(dim=1), torch.full((4,), 5.0, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(dim=0), torch.ones(20, dtype=torch.float64))


def test_a_permutation_with_a_large_score_stays_itself() -> None:
    order = torch.tensor([2, 0, 1])
    matrix = log_sinkhorn(1e4 * torch.eye(3)[order], 2).exp()
    assert torch.equal(matrix, torch.eye(3)[order])


def test_adding_to_a_row_or_a_column_changes_nothing_in_the_end() -> None:
    moved = scores(4, 4) + scores(4, 1) + scores(1, 4)
    torch.testing.assert_close(log_sinkhorn(moved, 200), log_sinkhorn(scores(4, 4), 200))


def test_the_gradient_is_that_of_the_formula() -> None:
    inputs = scores(2, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: log_sinkhorn(s, 3), inputs)
    wide = scores(2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: log_sinkhorn(s, 2, rows=2.0), wide)
