"""k-means on the device the points are on."""

from __future__ import annotations

import torch
from torch import Tensor

_SPLIT = 2.0**-10
"""How far the two halves of a split cluster begin from each other, as a share of the centroid."""
_DISTANCES = 2**24
"""How many distances are held at a time."""


@torch.no_grad()
def kmeans(points: Tensor, clusters: int, iterations: int = 20) -> tuple[Tensor, Tensor]:
    """Centroids (K, D), and for each of the points (N, D) the number of the nearest (N,), by Lloyd's algorithm.

    Starts from K different points, drawn from torch's global generator, as faiss does. Where a cluster becomes empty
    another takes half: its centroid, a little changed, is the empty one's new centroid. It is drawn in proportion to
    its points (Caron et al., "Deep Clustering for Unsupervised Learning of Visual Features", ECCV 2018, section 3.3).
    After the last iteration a cluster may be empty.

    Raises:
        ValueError: if there are fewer points than clusters.
    """
    if len(points) < clusters:
        raise ValueError(f"{len(points)} points cannot make {clusters} clusters")
    centroids = points[torch.randperm(len(points))[:clusters].to(points.device)]
    for _ in range(iterations):
        centroids = _moved(points, nearest(points, centroids), centroids)
    return centroids, nearest(points, centroids)


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """(N,) the nearest of the centroids (K, D) to each of the points (N, D), the first if several are."""
    half_squares = centroids.square().sum(1) / 2
    pieces = points.split(max(1, _DISTANCES // len(centroids)))
    return torch.cat([(piece @ centroids.T - half_squares).argmax(1) for piece in pieces])


def _moved(points: Tensor, labels: Tensor, centroids: Tensor) -> Tensor:
    """The mean of each cluster's points; two near one mean for a cluster that has none."""
    counts = labels.bincount(minlength=len(centroids))
    means = torch.zeros_like(centroids).index_add_(0, labels, points) / counts.clamp(min=1)[:, None]
    empty = counts == 0
    if missing := int(empty.sum()):
        # With fewer clusters than points some cluster has two of them, so the weights are never all zero.
        weights = (counts - 1).clamp(min=0).double().cpu()
        split = torch.multinomial(weights, missing, replacement=True).to(points.device)
        noise = torch.randn(missing, points.shape[1]).to(points)
        means[empty] = means[split] * (1 + _SPLIT * noise)
    return means
