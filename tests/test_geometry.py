"""The geometry of features, against cases that are solved by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslzoo.features import geometry
from sslzoo.features.geometry import (
    alignment,
    alpha_req,
    effective_rank,
    entropy_rank,
    lidar,
    nesum,
    rankme,
    spectra,
    uniformity,
)


def gaussian(samples: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(samples, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(samples: int, dim: int) -> Tensor:
    """Features (N, D) with orthonormal columns of mean 0: their covariance is that of white noise, exactly."""
    rows = gaussian(samples, dim)
    return torch.linalg.qr(rows - rows.mean(0)).Q


def with_spectrum(values: Tensor, samples: int = 400) -> Tensor:
    """Centred features whose covariance has these eigenvalues."""
    turn = torch.linalg.qr(gaussian(len(values), len(values), seed=1)).Q
    return orthogonal(samples, len(values)) * (samples * values).sqrt() @ turn


def test_white_features_have_every_dimension() -> None:
    found = spectra(orthogonal(100, 8))
    assert effective_rank(found.covariance) == pytest.approx(8)
    assert rankme(found.gram) == pytest.approx(8, rel=1e-5)
    assert nesum(found.covariance) == pytest.approx(8)


def test_an_isotropic_gaussian_nearly_has_and_a_few_samples_of_it_have_less() -> None:
    many, few = (spectra(gaussian(samples, 32).float()) for samples in (20000, 100))
    assert effective_rank(many.covariance) == pytest.approx(32, rel=0.002)
    assert effective_rank(few.covariance) < 29


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_features_of_rank_k_have_rank_k(rank: int) -> None:
    features = orthogonal(60, rank) @ torch.linalg.qr(gaussian(16, rank)).Q.T
    found = spectra(features)
    assert effective_rank(found.covariance) == pytest.approx(rank)
    assert rankme(found.gram) == pytest.approx(rank, rel=1e-4)
    assert nesum(found.covariance) == pytest.approx(rank)
    assert int((found.covariance > 0).sum()) == rank


def test_effective_rank_weighs_variances_and_rankme_their_roots() -> None:
    found = spectra(with_spectrum(torch.tensor([9.0, 1.0], dtype=torch.float64)))
    entropy = -sum(share * math.log(share) for share in (0.9, 0.1))
    assert effective_rank(found.covariance) == pytest.approx(math.exp(entropy))
    entropy = -sum(share * math.log(share) for share in (0.75, 0.25))
    assert rankme(found.gram) == pytest.approx(math.exp(entropy), rel=1e-5)
    assert nesum(found.covariance) == pytest.approx(10 / 9)


def test_a_mean_counts_for_rankme_only() -> None:
    features = with_spectrum(torch.ones(4, dtype=torch.float64))
    plain, moved = spectra(features), spectra(features + 100)
    assert effective_rank(moved.covariance) == pytest.approx(effective_rank(plain.covariance))
    assert rankme(moved.gram) < 1.5 < rankme(plain.gram)


def test_fewer_samples_than_dimensions_have_the_eigenvalues_of_the_large_matrix() -> None:
    features = gaussian(10, 24)
    found = spectra(features)
    centred = features - features.mean(0)
    torch.testing.assert_close(found.gram, torch.linalg.eigvalsh(features.T @ features / 10).flip(0).clamp(min=0))
    torch.testing.assert_close(found.covariance, torch.linalg.eigvalsh(centred.T @ centred / 10).flip(0).clamp(min=0))
    assert len(found.gram) == 24 and int((found.covariance > 0).sum()) == 9


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features = gaussian(50, 6)
    whole, even = spectra(features), uniformity(features)
    monkeypatch.setattr(geometry, "_BLOCK", 7)
    torch.testing.assert_close(spectra(features).covariance, whole.covariance)
    assert uniformity(features) == pytest.approx(even)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_features_have_no_dimension(value: float) -> None:
    found = spectra(torch.full((20, 5), value) * torch.tensor([1.0, 2.0, 0.3, 0.7, 0.1]))
    assert effective_rank(found.covariance) == nesum(found.covariance) == 0
    assert alpha_req(found.covariance) is None
    assert rankme(found.gram) == pytest.approx(1 if value else 0, rel=1e-4)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.5])
def test_the_exponent_of_a_power_law_is_found(alpha: float) -> None:
    law = torch.arange(1, 101, dtype=torch.float64) ** -alpha
    assert alpha_req(3 * law) == pytest.approx(alpha)
    bent = law.clone()
    bent[:11] *= 50  # what is outside the fitted range does not matter
    bent[50:] = 0
    assert alpha_req(bent) == pytest.approx(alpha)
    assert alpha_req(spectra(with_spectrum(law)).covariance) == pytest.approx(alpha, rel=1e-6)


def test_near_eigenvalues_weigh_more_in_the_exponent() -> None:
    """Weighted least squares, written out."""
    values = torch.arange(1, 101, dtype=torch.float64) ** -1.0
    values[30:] *= 0.5
    place = torch.arange(12, 51, dtype=torch.float64)
    matrix = torch.stack([place.log(), torch.ones_like(place)], 1)
    root = place.rsqrt()[:, None]
    slope = torch.linalg.lstsq(matrix * root, values[11:50].log()[:, None] * root).solution[0]
    assert alpha_req(values) == pytest.approx(-float(slope))


def test_too_short_a_spectrum_has_no_exponent() -> None:
    assert alpha_req(torch.ones(13, dtype=torch.float64)) is None


def test_lidar_of_a_matrix_computed_by_hand() -> None:
    """Three samples with means (0, 0), (6, 0), (0, 3), and two views of each that differ by 2 along each axis."""
    means = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    views = torch.stack([means + torch.tensor([1.0, -1.0]), means + torch.tensor([-1.0, 1.0])], 1)
    centred = means - torch.tensor([2.0, 1.0])
    between = centred.T @ centred / 3  # [[8, -2], [-2, 2]]
    assert between.tolist() == [[8.0, -2.0], [-2.0, 2.0]]
    within = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64) + 1e-4 * torch.eye(2, dtype=torch.float64)
    shares = torch.linalg.eigvals(torch.linalg.inv(within) @ between).real.sort(descending=True).values
    shares = shares / shares.sum() + 1e-7
    assert lidar(views) == pytest.approx(math.exp(-float((shares * shares.log()).sum())))


def test_lidar_counts_the_directions_in_which_samples_differ_more_than_their_views() -> None:
    informative = gaussian(300, 5)[:, None].expand(300, 8, 5)
    noise = gaussian(300 * 8, 5, seed=1).reshape(300, 8, 5)
    views = torch.cat([informative + 0.1 * noise, 10 * gaussian(300 * 8, 20, seed=2).reshape(300, 8, 20)], 2)
    assert lidar(views) == pytest.approx(5, abs=0.5)
    assert rankme(spectra(views.flatten(0, 1)).gram) > 20, "RankMe takes the noise for dimensions"
    turned = views @ torch.linalg.qr(gaussian(25, 25, seed=3)).Q
    assert lidar(turned) == pytest.approx(lidar(views), rel=1e-6)


def test_identical_views_are_aligned_and_opposite_ones_are_not() -> None:
    features = gaussian(20, 4)
    assert alignment(features, 3 * features) == pytest.approx(0, abs=1e-12)
    assert alignment(features, -features) == pytest.approx(4)


def test_uniformity_on_the_circle() -> None:
    """Over pairs of a uniform circle, the mean of exp(-2 (2 - 2 cos)) is exp(-4) I_0(4)."""
    angle = 2 * math.pi * torch.arange(2000, dtype=torch.float64) / 2000
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    expected = -4 + math.log(float(torch.special.i0(torch.tensor(4.0, dtype=torch.float64))))
    assert uniformity(circle) == pytest.approx(expected, abs=3e-3)
    assert uniformity(torch.ones(10, 3)) == pytest.approx(0)
    assert uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-8)


def test_the_entropy_rank_of_nothing_is_nothing() -> None:
    assert entropy_rank(torch.zeros(4)) == 0
    assert entropy_rank(torch.tensor([1.0, 1.0, 0.0])) == pytest.approx(2)
