"""Clusters are those of Lloyd's algorithm, and principal components those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import Tensor

from sslzoo.nn import kmeans as module
from sslzoo.nn.kmeans import kmeans, nearest
from sslzoo.nn.whitening import pca_whitening


def blobs(count: int = 40) -> Tensor:
    """Four well apart, in five dimensions."""
    generator = torch.Generator().manual_seed(0)
    centers = 20 * torch.randn(4, 5, generator=generator)
    return (centers[:, None] + torch.randn(4, count, 5, generator=generator)).flatten(0, 1)


def seeded(points: Tensor, clusters: int, seed: int = 0, iterations: int = 20) -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kmeans(points, clusters, iterations)


def start_of(points: Tensor, clusters: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return points[torch.randperm(len(points), generator=generator)[:clusters]]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("clusters", [2, 4, 7])
def test_clusters_are_those_of_scikit_learn_from_the_same_start(seed: int, clusters: int) -> None:
    points = blobs()
    centroids, labels = seeded(points, clusters, seed)
    start = start_of(points, clusters, seed).numpy()
    theirs = KMeans(clusters, init=start, n_init=1, max_iter=20, tol=0, algorithm="lloyd").fit(points.numpy())
    np.testing.assert_array_equal(labels.numpy(), theirs.labels_)
    np.testing.assert_allclose(centroids.numpy(), theirs.cluster_centers_, rtol=1e-4, atol=1e-4)


def test_blobs_are_found_from_a_start_in_each() -> None:
    found = [seeded(blobs(), 4, seed)[1].reshape(4, -1) for seed in range(20)]
    assert any((labels == labels[:, :1]).all() and len(labels[:, 0].unique()) == 4 for labels in found)


@pytest.mark.parametrize("seed", range(4))
def test_a_case_solved_by_hand(seed: int) -> None:
    centroids, labels = seeded(torch.tensor([[0.0], [1.0], [10.0], [12.0]]), 2, seed)
    assert sorted(centroids.flatten().tolist()) == [0.5, 11.0]
    assert labels[0] == labels[1] != labels[2] == labels[3]


def test_an_empty_cluster_takes_half_of_another() -> None:
    """From two copies of one point the second centroid gets nothing, and without a split never would."""
    points = torch.cat([torch.ones(6, 2), blobs(6)[:, :2]])
    copied = [seed for seed in range(60) if len(start_of(points, 4, seed).unique(dim=0)) < 4]
    assert len(copied) > 5
    for seed in copied:
        assert len(seeded(points, 4, seed)[1].unique()) == 4


def test_the_generator_decides() -> None:
    points = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    one, again, other = (seeded(points, 9, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[1], other[1])


def test_points_are_compared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    points, centroids = blobs(), blobs(2)
    expected = torch.cdist(points, centroids).argmin(1)
    monkeypatch.setattr(module, "_DISTANCES", 3 * len(centroids) + 1)
    assert torch.equal(nearest(points, centroids), expected)


def test_as_many_clusters_as_points_are_the_points_and_more_are_none() -> None:
    points = blobs(2)
    assert sorted(seeded(points, 8)[1].tolist()) == list(range(8))
    with pytest.raises(ValueError, match="8 points cannot make 9 clusters"):
        kmeans(points, 9)


def test_whitened_components_are_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 5
    mean, matrix = pca_whitening(features, 4)
    ours = (features - mean) @ matrix
    torch.testing.assert_close(ours.T @ ours / 200, torch.eye(4), rtol=1e-4, atol=1e-4)
    theirs = PCA(4, whiten=True).fit_transform(features.numpy()) * (200 / 199) ** 0.5
    np.testing.assert_allclose(ours.abs().numpy(), np.abs(theirs), rtol=1e-3, atol=1e-3)


def test_directions_without_variance_are_left_out() -> None:
    features = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    mean, matrix = pca_whitening(features, 8)  # four points vary in three directions
    assert (matrix != 0).any(0).tolist() == [True] * 3 + [False] * 5
    torch.testing.assert_close(((features - mean) @ matrix).square().mean(0)[:3], torch.ones(3))
    assert not pca_whitening(torch.ones(4, 10), 8)[1].any()
