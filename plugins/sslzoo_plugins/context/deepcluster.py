"""DeepCluster: predict the cluster a picture fell into before this epoch.

Caron, Bojanowski, Joulin & Douze, "Deep Clustering for Unsupervised Learning of Visual Features", ECCV 2018,
https://arxiv.org/abs/1807.05520. Before each epoch the features of all pictures are reduced to 256 whitened principal
components of length one and clustered by k-means; then a new classifier learns to tell the clusters.

Against one huge cluster the paper samples pictures uniformly over clusters. Here an epoch shows each picture once and
weights its loss by the inverse size of its cluster instead, with a mean weight of one over the data set: the expected
gradient is the same. Held-out pictures belong to the cluster whose centroid they are closest to.

Deviations. The encoder's pooled feature takes the place of the output of AlexNet's and VGG's fully connected layers,
whose dropout is left out. Pictures keep their colours: the paper's Sobel filter would have to be a part of the encoder,
which no user of plain timm weights would have. The classifier learns with momentum like all else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from accelerate.utils import broadcast
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.kmeans import kmeans, nearest
from sslzoo.nn.precision import in_float32
from sslzoo.nn.whitening import pca_whitening
from sslzoo.views.color import denormalize
from sslzoo.views.multi_crop import Crop, MultiCrop

if TYPE_CHECKING:
    from sslzoo.run import Run


@dataclass(frozen=True)
class DeepClusterConfig:
    clusters: int = 10000
    """Clusters, of which there can be no more than pictures; ten times the number of classes one hopes for."""
    pca_dim: int = 256
    """Principal components that are clustered; at most the dimensions of the encoder's feature."""
    kmeans_iterations: int = 20
    """Iterations of k-means before each epoch."""
    min_scale: float = 0.08
    """Smallest crop, as a share of the picture's area."""


@in_float32
def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The mean over (B, K) logits of the cross entropy with labels (B,), each times its weight (B,)."""
    return (F.cross_entropy(logits, labels, reduction="none") * weights).mean()


def balancing_weights(labels: Tensor, clusters: int) -> Tensor:
    """(K,): for a cluster with n of the N pictures N / (n C), C being how many of the clusters are not empty.

    So a mean over pictures, each times the weight of its cluster, is a mean over clusters of the means of each.
    """
    counts = labels.bincount(minlength=clusters)
    return torch.where(counts > 0, len(labels) / (counts.clamp(min=1) * (counts > 0).sum()), 0.0)


class DeepCluster(PretextMethod):
    info = MethodInfo(
        name="deepcluster",
        category="context",
        family="clustering",
        modalities=("image",),
        paper=Paper(
            authors="Caron, Bojanowski, Joulin & Douze",
            title="Deep Clustering for Unsupervised Learning of Visual Features",
            venue="ECCV",
            year=2018,
            url="https://arxiv.org/abs/1807.05520",
        ),
        summary="Predict the cluster of a picture's features, which are clustered anew before each epoch.",
    )
    Config = DeepClusterConfig
    # The paper's 500 epochs; the authors' code stops after 200.
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=500,
        batch_size=256,
        optimizer="momentum",
        lr=0.05,
        momentum=0.9,
        weight_decay=1e-5,
        schedule="constant",
    )
    recipes = {"small": {**SMALL, "clusters": 50, "pca_dim": 64, "min_scale": 0.2}}

    pseudo_labels: Tensor
    cluster_weights: Tensor
    mean: Tensor
    whitening: Tensor
    centroids: Tensor

    @staticmethod
    def views(config: DeepClusterConfig, spec: InputSpec) -> Views:
        return MultiCrop(spec, (Crop(spec.size[1:], (config.min_scale, 1.0)),))

    def __init__(self, encoder: nn.Module, config: DeepClusterConfig) -> None:
        super().__init__(encoder, config)
        dim = min(config.pca_dim, self.feature_dim)
        self.head = nn.Linear(self.feature_dim, config.clusters)
        self.register_buffer("pseudo_labels", torch.zeros(0, dtype=torch.long))
        self.register_buffer("cluster_weights", torch.ones(config.clusters))
        self.register_buffer("mean", torch.zeros(self.feature_dim))
        self.register_buffer("whitening", torch.zeros(self.feature_dim, dim))
        self.register_buffer("centroids", torch.zeros(config.clusters, dim))

    def on_start(self, run: Run) -> None:
        self.pseudo_labels = torch.zeros(run.num_samples, dtype=torch.long, device=run.accelerator.device)

    def on_epoch_start(self, run: Run) -> None:
        """Start the classifier anew, then assign every picture to a cluster."""
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        run.forget(self.head)

        features, config = run.features(self.encoder), self.config
        mean, whitening = pca_whitening(features, self.whitening.shape[1])
        self.mean.copy_(mean)
        self.whitening.copy_(whitening)
        clusters = min(config.clusters, len(features))
        centroids, labels = kmeans(self.whitened(features), clusters, config.kmeans_iterations)
        self.centroids.zero_()[:clusters] = centroids
        self.pseudo_labels.copy_(labels)
        self.cluster_weights.copy_(balancing_weights(labels, config.clusters))
        if run.accelerator.num_processes > 1:  # sums on a GPU have no fixed order: the first process's result counts
            broadcast([self.mean, self.whitening, self.centroids, self.pseudo_labels, self.cluster_weights])

    def whitened(self, features: Tensor) -> Tensor:
        """Principal components (B, dim) of length one of features (B, D)."""
        return F.normalize((features.to(self.mean) - self.mean) @ self.whitening, dim=1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch["views"][0])
        logits = self.head(features)
        if self.training:
            labels = self.pseudo_labels[batch["index"]]
            weights = self.cluster_weights[labels]
        else:
            labels = self.closest(features)
            weights = torch.ones_like(labels)
        loss = weighted_cross_entropy(logits, labels, weights)
        return {"loss": loss, "accuracy": (logits.argmax(1) == labels).float().mean()}

    def closest(self, features: Tensor) -> Tensor:
        """The clusters (B,) that pictures of features (B, D) belong to."""
        with torch.autocast(features.device.type, enabled=False):
            return nearest(self.whitened(features), self.centroids)

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """The pictures of a batch, a row for each cluster."""
        spec, view = spec_of(self.encoder).input, batch["views"][0]
        clusters = self.closest(self.encoder(view))
        pictures = denormalize(view, spec.mean, spec.std)
        return {f"cluster {number}": pictures[clusters == number] for number in clusters.unique().tolist()}
