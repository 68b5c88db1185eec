"""Multinomial logistic regression with an L2 penalty, for a whole path of penalties.

It minimises what scikit-learn's ``LogisticRegression`` minimises, divided by ``C * N``::

    mean_i cross_entropy(weight @ x_i + bias, y_i) + |weight|^2 / (2 * C * N)

with L-BFGS (Nocedal & Wright, *Numerical Optimization*, 2nd ed., algorithm 7.4) and three things that suit the problem:

- steps are scaled by the inverse of the curvature, averaged over classes: one D x D Cholesky factor for each ``C``;
- logits are linear along a line, so finding the length of a step takes no product with the features;
- each ``C`` starts where the one before, more strongly penalised, ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

_HISTORY = 30
_LENGTHS = 20
_SLOPE = 0.5  # a step ends where the slope along it has fallen to this share (approximate Wolfe, Hager & Zhang 2005)
_ROUNDING = 1e-6  # share of the objective that may be lost to float32
_SMALL = 1e8  # multiplications in a product with the features up to which a second thread costs more than it gives


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """One solution of the path."""

    strength: float
    """``C``: scikit-learn's, but for two classes, where its single weight vector makes it half of scikit-learn's."""
    weight: Tensor
    """(K, D)."""
    bias: Tensor
    """(K,), not penalised."""
    gradient: float
    """Largest entry of the gradient at the end."""
    steps: int
    converged: bool

    def logits(self, features: Tensor) -> Tensor:
        """(N, D) features to (N, K)."""
        return features @ self.weight.T + self.bias


def fit_path(
    features: Tensor,
    targets: Tensor,
    classes: int,
    strengths: Sequence[float],
    tolerance: float = 1e-5,
    max_steps: int = 2000,
) -> list[LogisticFit]:
    """The solutions for ``strengths`` (values of ``C``), fastest if they ascend.

    ``features`` (N, D) should be standardised, as the penalty is the same for all; ``targets`` (N,) are in
    0 .. classes - 1. Computed in the precision and on the device of ``features``, until no entry of the gradient is over
    ``tolerance``. More features than samples are rotated to their row space first, which changes nothing.
    """
    samples, dim = features.shape
    with _threads(1 if samples * dim * classes < _SMALL else torch.get_num_threads()), torch.no_grad():
        rotation = None
        if dim > samples:
            rotation, upper = torch.linalg.qr(features.T)
            features = upper.T
        problem = _Problem(features, targets, classes)
        fits, state = [], problem.start()
        for strength in strengths:
            problem.strength = strength
            state, gradient, steps = _minimise(problem, state, tolerance, max_steps)
            weight, bias = state.weight[:, :-1], state.weight[:, -1]
            weight = weight.clone() if rotation is None else weight @ rotation.T
            fits.append(LogisticFit(strength, weight, bias.clone(), gradient, steps, gradient <= tolerance))
    return fits


@dataclass(eq=False)
class _State:
    """Weights (K, D + 1), the bias last, and the logits (K, N) that they give."""

    weight: Tensor
    logits: Tensor


class _Problem:
    """The objective. Classes come first in every tensor, which is the fast layout for few classes."""

    def __init__(self, features: Tensor, targets: Tensor, classes: int) -> None:
        self.rows = torch.cat([features, features.new_ones(len(features), 1)], dim=1)  # (N, D + 1)
        self.columns = self.rows.T.contiguous()
        self.targets = targets[None]
        self.minus_one = features.new_full((1, len(features)), -1.0)
        self.classes = classes
        self.strength = 1.0

    def start(self) -> _State:
        zeros = self.rows.new_zeros
        return _State(zeros(self.classes, self.rows.shape[1]), zeros(self.classes, len(self.rows)))

    @property
    def penalty(self) -> Tensor:
        """(D + 1,)."""
        penalty = self.rows.new_full(self.rows.shape[1:], 1 / (self.strength * len(self.rows)))
        penalty[-1] = 0
        return penalty

    def error(self, logits: Tensor) -> tuple[float, Tensor]:
        """The mean cross-entropy, and its gradient by the logits times N: probabilities less the targets' ones."""
        shifted = logits - logits.amax(0)
        own = shifted.gather(0, self.targets).mean()
        error = shifted.exp_()
        total = error.sum(0)
        loss = total.log().mean() - own
        return loss.item(), error.div_(total).scatter_add_(0, self.targets, self.minus_one)

    def gradient(self, error: Tensor, weight: Tensor, penalty: Tensor) -> Tensor:
        return (error @ self.rows).div_(len(self.rows)).addcmul_(weight, penalty)

    def inverse_curvature(self, error: Tensor, penalty: Tensor) -> Tensor:
        """(D + 1, D + 1): of the second derivative, averaged over classes and without what couples them."""
        probability = error.scatter_add(0, self.targets, -self.minus_one)
        weight = (1 - probability.square().sum(0)).clamp_(min=0) / (self.classes * len(self.rows))
        curvature = ((self.columns * weight) @ self.rows).double()
        diagonal = curvature.diagonal()
        diagonal.add_(penalty + 1e-7 * diagonal.mean())
        factor, failed = torch.linalg.cholesky_ex(curvature)
        if failed:  # rounding, at a vanishing penalty: the diagonal alone still scales well
            return torch.diag(1 / diagonal.clamp(min=1e-12)).to(self.rows.dtype)
        return torch.cholesky_inverse(factor).to(self.rows.dtype)


def _minimise(problem: _Problem, state: _State, tolerance: float, max_steps: int) -> tuple[_State, float, int]:
    """The minimum, the largest entry of the gradient there, and the number of steps that it took."""
    weight, logits, penalty = state.weight, state.logits, problem.penalty
    loss, error = problem.error(logits)
    gradient = problem.gradient(error, weight, penalty)
    scale = problem.inverse_curvature(error, penalty)
    history = _History(weight.new_empty(0, weight.numel()), weight.new_empty(0, weight.numel()))
    for step in range(max_steps + 1):
        largest = gradient.abs().max().item()
        if largest <= tolerance or step == max_steps:
            break
        direction = history.direction(gradient, scale)
        line = _Line(
            logits=logits,
            along=direction @ problem.columns,
            loss=loss,
            slope=_dot(gradient, direction),
            first=_dot(weight * penalty, direction),
            second=_dot(direction * penalty, direction),
        )
        length, loss, error = line.search(problem)
        if length == 0:  # the end of the numbers' precision
            break
        logits = logits.add_(line.along, alpha=length)
        moved = direction.mul_(length)
        weight = weight + moved
        before, gradient = gradient, problem.gradient(error, weight, penalty)
        history = history.after(moved, gradient - before)
    return _State(weight, logits), largest, step


@dataclass(frozen=True, eq=False)
class _History:
    """The last steps and how the gradient changed over each, both (m, K * (D + 1)), the oldest first."""

    moved: Tensor
    changed: Tensor

    def after(self, moved: Tensor, changed: Tensor) -> _History:
        """With one more step, unless rounding has taken its curvature."""
        if _dot(moved, changed) <= 0:
            return self
        return _History(
            torch.cat([self.moved[1 - _HISTORY :], moved.view(1, -1)]),
            torch.cat([self.changed[1 - _HISTORY :], changed.view(1, -1)]),
        )

    def direction(self, gradient: Tensor, scale: Tensor) -> Tensor:
        """(K, D + 1): minus the inverse second derivative, as L-BFGS knows it, times the gradient.

        The two loops of the book as two triangular systems: equal, and fewer operations.
        """
        if not len(self.moved):
            return -gradient @ scale
        products = (self.moved @ self.changed.T).triu()
        flat = gradient.view(-1)
        share = torch.linalg.solve_triangular(products, (self.moved @ flat)[:, None], upper=True)[:, 0]
        flat = torch.addmv(flat, self.changed.T, share, alpha=-1)
        flat = (flat.view_as(gradient) @ scale).view(-1)
        rest = (products.diagonal() * share - self.changed @ flat)[:, None]
        share = torch.linalg.solve_triangular(products.T, rest, upper=False)[:, 0]
        return torch.addmv(flat, self.moved.T, share).neg_().view_as(gradient)


@dataclass(frozen=True, eq=False)
class _Line:
    """The objective along a direction, a convex function of the step's length."""

    logits: Tensor
    along: Tensor
    """(K, N): how the logits change for a length of 1."""
    loss: float
    """The mean cross-entropy at length 0."""
    slope: float
    """The objective's slope at length 0."""
    first: float
    """Of the penalty's second-order polynomial in the length."""
    second: float

    def search(self, problem: _Problem) -> tuple[float, float, Tensor]:
        """A length where the slope has flattened and the objective not risen, and the cross-entropy and its gradient there.

        The length is 0 if there is none.
        """
        low, low_slope, high, high_slope = 0.0, self.slope, math.inf, 0.0
        length = 1.0
        for _ in range(_LENGTHS):
            loss, error = problem.error(torch.add(self.logits, self.along, alpha=length))
            rise = loss - self.loss + length * self.first + length * length * self.second / 2
            slope = _dot(error, self.along) / self.along.shape[1] + self.first + length * self.second
            if abs(slope) <= -_SLOPE * self.slope and rise <= _ROUNDING * self.loss:
                return length, loss, error
            if slope > 0:
                high, high_slope = length, slope
            else:
                low, low_slope = length, slope
            if high == math.inf:  # on, to where a straight line through the slopes is zero
                length *= min(10.0, max(2.0, self.slope / min(self.slope - slope, -1e-30)))
            else:
                share = low_slope / (low_slope - high_slope)
                length = low + (high - low) * min(0.9, max(0.1, share))
        return 0.0, self.loss, error


def _dot(a: Tensor, b: Tensor) -> float:
    return torch.dot(a.view(-1), b.view(-1)).item()


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Torch's threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
