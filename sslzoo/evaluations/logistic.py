"""Multinomial logistic regression with an L2 penalty, for a whole path of penalties.

It minimises what scikit-learn's ``LogisticRegression`` minimises, divided by ``C * N``::

    mean_i cross_entropy(weight @ x_i + bias, y_i) + |weight|^2 / (2 * C * N)

with L-BFGS (Nocedal & Wright, *Numerical Optimization*, 2nd ed., algorithm 7.4) and three things that suit the problem:

- steps are scaled by the inverse of the curvature, averaged over classes: one D x D Cholesky factor for each ``C``; of
  a small problem whose minimum is far, by each class's own, which takes K of them and less than half the steps;
- logits are linear along a line, so finding the length of a step takes no product with the features;
- each ``C`` starts where the one before ended, and first goes on in the direction that the path had.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

_HISTORY = 10
_LENGTHS = 20
_SLOPE = 0.5  # a step ends where the slope along it has fallen to this share (approximate Wolfe, Hager & Zhang 2005)
_PATIENCE = 16  # steps before each class gets a curvature of its own
_CURVATURES = 2**30  # multiplications, some 20 ms, up to which that costs less than the steps it saves
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
    0 .. classes - 1, and each class must occur. Computed in the precision and on the device of ``features``, until no
    entry of the gradient is over ``tolerance``. More features than samples are first rotated to their row space, which
    changes nothing.
    """
    samples, dim = features.shape
    with _threads(1 if samples * dim * classes < _SMALL else torch.get_num_threads()), torch.no_grad():
        rotation = None
        if dim > samples:
            rotation, upper = torch.linalg.qr(features.T)
            features = upper.T
        fits = []
        for strength, point, steps in _path(_Problem(features, targets, classes), strengths, tolerance, max_steps):
            weight, bias = point.weight[:, :-1], point.weight[:, -1]
            weight = weight if rotation is None else weight @ rotation.T
            fits.append(LogisticFit(strength, weight, bias, point.largest, steps, point.largest <= tolerance))
    return fits


@dataclass(frozen=True, eq=False)
class _Point:
    """A place of the search, and what is known of it."""

    weight: Tensor
    """(K, D + 1), the bias last."""
    logits: Tensor
    """(K, N)."""
    loss: float
    """The mean cross-entropy."""
    error: Tensor
    """(K, N): its gradient by the logits, times N."""
    gradient: Tensor
    """(K, D + 1), of the whole objective."""
    largest: float
    """Its largest entry."""


class _Problem:
    """The objective. Classes come first in every tensor, which is the fast layout for few classes."""

    def __init__(self, features: Tensor, targets: Tensor, classes: int) -> None:
        samples, dim = features.shape
        self.classes = classes
        self.rows = torch.cat([features, features.new_ones(samples, 1)], dim=1)  # (N, D + 1)
        self.targets = targets[None]
        self.minus_one = features.new_full((1, samples), -1.0)
        self.penalty = features.new_zeros(dim + 1)

    def set_strength(self, strength: float) -> None:
        self.penalty[:-1] = 1 / (strength * len(self.rows))

    def start(self) -> tuple[Tensor, Tensor]:
        """Weights and logits of zero."""
        zeros = self.rows.new_zeros
        return zeros(self.classes, self.rows.shape[1]), zeros(self.classes, len(self.rows))

    def error(self, logits: Tensor) -> tuple[float, Tensor]:
        """The mean cross-entropy, and its gradient by the logits times N: probabilities, less 1 at the target."""
        shifted = logits - logits.amax(0)
        own = shifted.gather(0, self.targets).mean()
        error = shifted.exp_()
        total = error.sum(0)
        loss = total.log().mean() - own
        return loss.item(), error.div_(total).scatter_add_(0, self.targets, self.minus_one)

    def point(self, weight: Tensor, logits: Tensor, loss: float, error: Tensor) -> _Point:
        gradient = (error @ self.rows).div_(len(self.rows)).addcmul_(weight, self.penalty)
        return _Point(weight, logits, loss, error, gradient, gradient.abs().max().item())

    def inverse_curvature(self, error: Tensor) -> Tensor:
        """(D + 1, D + 1): of the second derivative, averaged over classes and without what couples them."""
        probability = self._probability(error)
        return self._inverse((1 - probability.square().sum(0)) / self.classes)

    def inverse_curvatures(self, error: Tensor) -> Tensor:
        """(K, D + 1, D + 1): of each class's second derivative, without what couples them."""
        probability = self._probability(error)
        return torch.stack([self._inverse(spread) for spread in probability * (1 - probability)])

    def _probability(self, error: Tensor) -> Tensor:
        return error.scatter_add(0, self.targets, -self.minus_one)

    def _inverse(self, spread: Tensor) -> Tensor:
        """Of the second derivative where that of the loss by a sample's logit is ``spread`` (N,)."""
        spread = spread.clamp(min=0) / len(self.rows)  # rounding may take it below
        curvature = ((self.rows.T * spread) @ self.rows).double()
        diagonal = curvature.diagonal()
        diagonal += self.penalty + 1e-7 * diagonal.mean()
        factor, failed = torch.linalg.cholesky_ex(curvature)
        if failed:  # rounding, at a vanishing penalty: the diagonal alone still scales well
            return torch.diag(1 / diagonal.clamp(min=1e-12)).to(spread.dtype)
        return torch.cholesky_inverse(factor).to(spread.dtype)


def _path(
    problem: _Problem, strengths: Sequence[float], tolerance: float, max_steps: int
) -> Iterator[tuple[float, _Point, int]]:
    """For each strength the minimum, and the number of steps to it."""
    weight, logits = problem.start()
    came_from = None
    for strength in strengths:
        problem.set_strength(strength)
        point = problem.point(weight, logits, *problem.error(logits))
        if came_from and point.largest > tolerance:
            point = _step(problem, point, weight - came_from[0], logits - came_from[1]) or point
        point, steps = _minimise(problem, point, tolerance, max_steps)
        yield strength, point, steps
        came_from, weight, logits = (weight, logits), point.weight, point.logits


def _minimise(problem: _Problem, point: _Point, tolerance: float, max_steps: int) -> tuple[_Point, int]:
    """The minimum, as near as asked for or as the numbers' precision allows, and the number of steps to it."""
    scale = problem.inverse_curvature(point.error)
    history = _History.empty(point.weight)
    affordable = len(problem.rows) * problem.classes * scale.numel() <= _CURVATURES
    for step in range(max_steps):
        if point.largest <= tolerance:
            return point, step
        if step == _PATIENCE and affordable:
            scale, history = problem.inverse_curvatures(point.error), _History.empty(point.weight)
        direction = history.direction(point.gradient, scale)
        following = _step(problem, point, direction, direction @ problem.rows.T)
        if following is None:
            return point, step
        history = history.after(following.weight - point.weight, following.gradient - point.gradient)
        point = following
    return point, max_steps


@dataclass(frozen=True, eq=False)
class _History:
    """The last steps and how the gradient changed over each, both (m, K * (D + 1)), the oldest first."""

    moved: Tensor
    changed: Tensor

    @classmethod
    def empty(cls, weight: Tensor) -> _History:
        return cls(weight.new_empty(0, weight.numel()), weight.new_empty(0, weight.numel()))

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

        ``scale``, what is known of it before, is (D + 1, D + 1) for all classes or (K, D + 1, D + 1).
        The two loops of the book, each written as a triangular system: the same result in fewer operations.
        """
        if not len(self.moved):
            return -_scaled(gradient, scale)
        products = (self.moved @ self.changed.T).triu()
        flat = gradient.view(-1)
        share = torch.linalg.solve_triangular(products, (self.moved @ flat)[:, None], upper=True)[:, 0]
        flat = torch.addmv(flat, self.changed.T, share, alpha=-1)
        flat = _scaled(flat.view_as(gradient), scale).view(-1)
        rest = (products.diagonal() * share - self.changed @ flat)[:, None]
        share = torch.linalg.solve_triangular(products.T, rest, upper=False)[:, 0]
        return torch.addmv(flat, self.moved.T, share).neg_().view_as(gradient)


def _scaled(gradient: Tensor, scale: Tensor) -> Tensor:
    """The gradient (K, D + 1), scaled; nothing moves all classes alike, as that would change no probability."""
    if scale.dim() == 2:
        return gradient @ scale
    scaled = torch.bmm(gradient[:, None], scale)[:, 0]
    return scaled.sub_(scaled.mean(0))


def _step(problem: _Problem, point: _Point, direction: Tensor, along: Tensor) -> _Point | None:
    """Where the objective is about lowest in a direction, along which logits change by ``along``; None if nowhere.

    The objective is convex there, so its slope brackets the minimum: a length is good enough where the slope has
    flattened and the objective has not risen.
    """
    start = _dot(point.gradient, direction)
    first = _dot(point.weight * problem.penalty, direction)
    second = _dot(direction * problem.penalty, direction)
    low, low_slope, high, high_slope = 0.0, start, math.inf, 0.0
    length = 1.0
    for _ in range(_LENGTHS if start < 0 else 0):
        logits = torch.add(point.logits, along, alpha=length)
        loss, error = problem.error(logits)
        rise = loss - point.loss + length * first + length * length * second / 2
        slope = _dot(error, along) / along.shape[1] + first + length * second
        if abs(slope) <= _SLOPE * abs(start) and rise <= _ROUNDING * point.loss:
            return problem.point(point.weight.add(direction, alpha=length), logits, loss, error)
        if slope > 0:
            high, high_slope = length, slope
        else:
            low, low_slope = length, slope
        if high < math.inf:  # a straight line through the two slopes, kept off the ends
            length = low + (high - low) * min(0.9, max(0.1, low_slope / (low_slope - high_slope)))
        else:
            length *= min(10.0, start / (start - slope)) if slope > start else 10.0
    return None


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
