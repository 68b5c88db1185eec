"""DeepCluster is the paper's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clustering_methods import SAMPLES, SMALL, FakeRun, check_gradients_and_eval, some_batch, started
from sslzoo_plugins.context.deepcluster import DeepCluster, balancing_weights, weighted_cross_entropy

from sslzoo.nn.kmeans import nearest


def test_the_weighted_loss_is_the_mean_loss_of_a_uniform_draw_over_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 0, 0, 0, 2, 2, 3])  # cluster 1 is empty
    logits = torch.randn(8, 4, generator=generator)
    losses = F.cross_entropy(logits, labels, reduction="none").numpy()
    over_clusters = np.mean([losses[labels == cluster].mean() for cluster in (0, 2, 3)])
    weights = balancing_weights(labels, 4)
    assert float(weighted_cross_entropy(logits, labels, weights[labels])) == pytest.approx(over_clusters, rel=1e-5)
    assert weights.tolist() == pytest.approx([8 / 15, 0, 8 / 6, 8 / 3])
    assert float(weights[labels].mean()) == pytest.approx(1)


def test_an_epoch_begins_with_new_clusters_of_whitened_features() -> None:
    method = started(DeepCluster)
    whitened = method.whitened(FakeRun().features(method.encoder))
    torch.testing.assert_close(whitened.norm(dim=1), torch.ones(SAMPLES))
    assert method.pseudo_labels.shape == (SAMPLES,) and len(method.pseudo_labels.unique()) == 3
    assert torch.equal(method.pseudo_labels, nearest(whitened, method.centroids))
    for cluster in range(3):  # Lloyd's algorithm has come to rest
        torch.testing.assert_close(method.centroids[cluster], whitened[method.pseudo_labels == cluster].mean(0))
    assert torch.equal(method.cluster_weights, balancing_weights(method.pseudo_labels, 3))


def test_the_classifier_starts_anew_and_the_optimizer_forgets_it() -> None:
    method = started(DeepCluster, replace(SMALL[DeepCluster], clusters=20, pca_dim=6))
    run = FakeRun()
    with torch.no_grad():
        method.head.weight.fill_(7)
        method.head.bias.fill_(7)
    method.on_epoch_start(run)
    assert float(method.head.weight.detach().std()) == pytest.approx(0.01, rel=0.1) and not method.head.bias.any()
    assert run.forgotten == [method.head]


def test_the_loss_is_of_the_pseudo_labels_by_index() -> None:
    method, batch = started(DeepCluster), some_batch(DeepCluster)
    batch["index"] = torch.tensor([3, 19, 0, 7, 12, 1, 5, 9])
    with torch.no_grad():
        logits = method.head(method.encoder(batch["views"][0]))
        labels = method.pseudo_labels[batch["index"]]
        losses = F.cross_entropy(logits, labels, reduction="none")
        expected = (losses * balancing_weights(method.pseudo_labels, 3)[labels]).mean()
        torch.testing.assert_close(method(batch)["loss"], expected)


def test_held_out_pictures_belong_to_the_closest_cluster() -> None:
    method, batch = started(DeepCluster).eval(), some_batch(DeepCluster)
    with torch.no_grad():
        features = method.encoder(batch["views"][0])
        closest = torch.cdist(method.whitened(features), method.centroids).argmin(1)
        expected = F.cross_entropy(method.head(features), closest)
        torch.testing.assert_close(method(batch)["loss"], expected)


def test_fewer_pictures_than_clusters_make_a_cluster_each() -> None:
    method = started(DeepCluster, replace(SMALL[DeepCluster], clusters=50))
    assert sorted(method.pseudo_labels.tolist()) == list(range(SAMPLES))
    assert method.cluster_weights[:SAMPLES].tolist() == [1.0] * SAMPLES and not method.cluster_weights[SAMPLES:].any()


def test_pictures_are_shown_by_cluster() -> None:
    method, batch = started(DeepCluster).eval(), some_batch(DeepCluster)
    with torch.no_grad():
        rows = method.illustrate(batch)
    assert sum(len(row) for row in rows.values()) == 8
    assert all(name.startswith("cluster ") and row.shape[1:] == (3, 32, 32) for name, row in rows.items())


def test_gradients_and_eval() -> None:
    check_gradients_and_eval(DeepCluster)


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = DeepCluster.defaults, DeepCluster.Config()
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("momentum", 0.05, 0.9, 1e-5)
    assert (recipe.batch_size, recipe.epochs, recipe.schedule) == (256, 500, "constant")
    assert (config.clusters, config.pca_dim, config.kmeans_iterations) == (10000, 256, 20)
