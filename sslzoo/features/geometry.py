"""How features lie in their space: how many dimensions they fill, and how evenly.

Pure functions. Spectra are (D,) float64 in descending order; they are summed up in float64, block by block, so that no
copy of all features is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-7
"""Added to shares before their entropy is taken, by RankMe and LiDAR."""
DELTA = 1e-4
"""LiDAR's: what is added to the within-sample covariance so that it can be inverted."""
FIT = (12, 50)
"""alpha-ReQ's: the first and the last eigenvalue, counted from 1, that the authors' scripts fit."""
_BLOCK = 4096
_ROUNDING = torch.finfo(torch.float32).eps


@dataclass(frozen=True, eq=False)
class Spectra:
    """Eigenvalues of the two second moments of features (N, D)."""

    gram: Tensor
    """(D,): of the mean of z zᵀ. Its roots are the singular values of the features, divided by the root of N."""
    covariance: Tensor
    """(D,): of the mean of (z - mean)(z - mean)ᵀ."""


def spectra(features: Tensor) -> Spectra:
    """The spectra of (N, D) features, N at least 1, in one pass.

    Eigenvalues that are not above the rounding of float32 features are 0. Fewer features than dimensions are compared
    with each other, (N, N), which has the same eigenvalues and is less to decompose.
    """
    count, dim = features.shape
    if count < dim:
        rows = features.double()
        centred = rows - rows.mean(0)
        gram, covariance = eigenvalues(rows @ rows.T / count), eigenvalues(centred @ centred.T / count)
    else:
        matrix = features.new_zeros(dim, dim, dtype=torch.float64)
        mean = matrix.new_zeros(dim)
        for block in features.split(_BLOCK):
            matrix += block.double().T @ block.double() / count
            mean += block.double().sum(0) / count
        gram, covariance = eigenvalues(matrix), eigenvalues(matrix - torch.outer(mean, mean))
    covariance[covariance <= _ROUNDING**2 * gram[0]] = 0
    return Spectra(*(F.pad(found, (0, dim - len(found))) for found in (gram, covariance)))


def eigenvalues(matrix: Tensor) -> Tensor:
    """(D,) eigenvalues of a positive semi-definite (D, D) matrix, descending; those that are rounding are 0."""
    found = torch.linalg.eigvalsh(matrix).flip(0).clamp(min=0)
    found[found <= _ROUNDING**2 * found[0]] = 0
    return found


def entropy_rank(weights: Tensor, epsilon: float = 0.0) -> float:
    """exp of the entropy of weights (D,) made shares: D if all are equal, 1 if one has everything, 0 if all are 0."""
    if not weights.sum() > 0:
        return 0.0
    shares = weights / weights.sum() + epsilon
    return float(torch.special.entr(shares).sum().exp())


def effective_rank(covariance: Tensor) -> float:
    """Roy & Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007, of the covariance.

    Unlike RankMe it looks at variances, not at their roots, and leaves the mean out: a direction counts by how much of
    the variance it has, so it is the smaller of the two, and many weak directions do not make a large rank.
    """
    return entropy_rank(covariance)


def rankme(gram: Tensor) -> float:
    """Garrido, Balestriero, Najman & LeCun, "RankMe", ICML 2023, equation 1: of singular values, nothing centred."""
    return entropy_rank(gram.sqrt(), EPSILON)


def nesum(covariance: Tensor) -> float:
    """The sum of the eigenvalues over the largest (He & Ozay, "Exploring the Gap between Collapsed & Whitened Features
    in Self-Supervised Learning", ICML 2022): 1 if one direction has everything, D if features are white."""
    return float(covariance.sum() / covariance[0]) if covariance[0] > 0 else 0.0


def alpha_req(covariance: Tensor) -> float | None:
    """The exponent alpha of a power law i ** -alpha fitted to the eigenvalues (Agrawal, Mondal, Ghosh & Richards,
    "alpha-ReQ", NeurIPS 2022): near 1 is good, 0 is white, large is collapsed.

    As in the authors' scripts, least squares of logarithms over the eigenvalues of ``FIT``, each weighted by 1 / i.
    None if fewer than three of these are above 0.
    """
    first, last = FIT
    values = covariance[first - 1 : last]
    values = values[values > 0]
    if len(values) < 3:
        return None
    place = torch.arange(first, first + len(values), dtype=torch.float64, device=values.device)
    weight = (1 / place) / (1 / place).sum()
    x, y = place.log(), values.log()
    x, y = x - (weight * x).sum(), y - (weight * y).sum()
    return -float((weight * x * y).sum() / (weight * x * x).sum())


def lidar(views: Tensor) -> float:
    """Thilak et al., "LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL Architectures", ICLR 2024.

    The rank, as RankMe's, of the linear discriminant matrix that tells samples apart by their views, of features
    (n, q, D) of q views of each of n samples. It is at most n - 1.
    """
    n, q, dim = views.shape
    between = views.new_zeros(dim, dim, dtype=torch.float64)
    within = between.clone()
    centre = views.mean(dim=(0, 1), dtype=torch.float64)
    for block in views.split(max(1, _BLOCK // q)):
        block = block.double()
        mean = block.mean(1, keepdim=True)
        inside, outside = (block - mean).flatten(0, 1), mean[:, 0] - centre
        within += inside.T @ inside / (n * q)
        between += outside.T @ outside / n
    root = torch.linalg.cholesky(within + DELTA * torch.eye(dim, dtype=within.dtype, device=within.device))
    half = torch.linalg.solve_triangular(root, between, upper=False)
    # The eigenvalues of W^-1/2 B W^-1/2 are those of L^-1 B L^-T.
    return entropy_rank(eigenvalues(torch.linalg.solve_triangular(root, half.T, upper=False)), EPSILON)


def alignment(first: Tensor, second: Tensor) -> float:
    """The mean squared distance of L2-normalised features (N, D) of two views (Wang & Isola, "Understanding Contrastive
    Representation Learning through Alignment and Uniformity on the Hypersphere", ICML 2020): 0 is best."""
    return float((F.normalize(first.double(), dim=1) - F.normalize(second.double(), dim=1)).square().sum(1).mean())


def uniformity(features: Tensor) -> float:
    """The logarithm of the mean of exp(-2 d²) over the pairs of L2-normalised features (N, D), N at least 2, d apart
    (Wang & Isola): 0 if all are one, about -4 at best if there are many."""
    unit = F.normalize(features.double(), dim=1)
    n = len(unit)
    sums = [(4 * (block @ unit.T) - 4).exp().sum() for block in unit.split(_BLOCK)]  # d² = 2 - 2 cos
    return float(((torch.stack(sums).sum() - n) / (n * (n - 1))).log())
