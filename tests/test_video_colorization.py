"""Video colorization is the paper's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from clip_samples import (
    batch_of,
    built,
    changed_by_held_out_scores,
    check_views_depend_on_clip_and_key_alone,
    counting_clip,
    windows,
    without_gradient,
)
from sslzoo_plugins.generation.video_colorization import (
    ColorClusters,
    Embedding,
    GreyFrames,
    VideoColorization,
    VideoColorizationConfig,
    copied,
    copying_loss,
)
from torch import Tensor, nn
from two_processes import average_gradients, on_two_processes, world

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.nn.color_bins import gamut_bins
from sslzoo.views.color import denormalize
from sslzoo.views.lab import only_lightness, rgb_to_lab

CONFIG = VideoColorizationConfig(clusters=5, embedding_dim=8, head_dim=16, decoder_dim=32)


def made(encoder: str = "test_resnet") -> Any:
    return built(VideoColorization, CONFIG, encoder)


def some_colors(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)) * 30


def test_the_encoder_sees_the_lightness_of_four_frames_of_one_crop() -> None:
    batch, spec = batch_of(VideoColorization, CONFIG), InputSpec.square(32)
    assert len(batch["views"]) == 4 and batch["lab"].shape == (4, 4, 3, 32, 32)
    for frame, view in enumerate(batch["views"]):
        seen = denormalize(view, spec.mean, spec.std)
        torch.testing.assert_close(seen, only_lightness(batch["lab"][:, frame]), rtol=0, atol=1e-5)
        assert (seen.amax(dim=1) - seen.amin(dim=1)).max() < 1e-5


def test_frames_are_a_sixth_of_a_second_apart() -> None:
    views = GreyFrames(CONFIG, InputSpec.square(16))
    assert views.sampling is not None
    window = views.sampling.at(0.0, num_frames=48, fps=15.0)
    assert window.index.tolist() == [0, 2, 5, 7] and window.step == 2.5
    samples = windows(views, [{"clip": counting_clip(4), "index": 0, "key": 3}])
    assert views(samples)["lab"][0, :, 0].mean((1, 2)).diff().min() > 0  # in order


def test_views_depend_on_clip_and_key_alone() -> None:
    check_views_depend_on_clip_and_key_alone(VideoColorization, CONFIG)


def test_clusters_are_the_first_batchs_then_the_means_of_all_that_they_were_given() -> None:
    clusters = ColorClusters(4)
    center = torch.tensor([[60.0, 0.0], [-60.0, 0.0], [0.0, 60.0], [0.0, -60.0]])
    first = (center[:, None] + some_colors(50) / 10).flatten(0, 1)
    clusters.add(first)
    nearest_to = torch.cdist(clusters.centroids, center).argmin(1)
    assert sorted(nearest_to.tolist()) == [0, 1, 2, 3]
    torch.testing.assert_close(clusters.centroids, first.view(4, 50, 2).mean(1)[nearest_to])

    given = [[*first.view(4, 50, 2)[cluster].numpy()] for cluster in nearest_to]
    for seed in (1, 2):
        batch = some_colors(30, seed)
        means = np.array([np.mean(colors, axis=0) for colors in given])
        for color in batch.numpy():
            given[((means - color) ** 2).sum(axis=1).argmin()].append(color)
        clusters.add(batch)
        assert clusters.counts.tolist() == [len(colors) for colors in given]
    np.testing.assert_allclose(clusters.centroids, [np.mean(colors, axis=0) for colors in given], atol=1e-3)


def test_clusters_are_a_function_of_the_colours_alone() -> None:
    torch.manual_seed(1)
    one = ColorClusters(5)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    other = ColorClusters(5)
    assert torch.equal(one.centroids, other.centroids)
    for clusters in (one, other):
        clusters.add(some_colors(200))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.centroids, other.centroids)
    before = ColorClusters(5)(gamut_bins().T[:, :, None]).flatten()
    assert before.bincount(minlength=5).min() > 20  # before the first batch they share out what there is


def test_colours_belong_to_the_nearest_cluster() -> None:
    clusters, ab = ColorClusters(6), some_colors(24).view(2, 3, 4, 2).movedim(-1, 1)
    labels = clusters(ab)
    for clip, row, column in ((0, 0, 0), (1, 2, 3), (1, 0, 2)):
        away = (clusters.centroids - ab[clip, :, row, column]).square().sum(1)
        assert labels[clip, row, column] == away.argmin()


def test_colours_are_copied_with_the_softmax_of_inner_products() -> None:
    generator = torch.Generator().manual_seed(0)
    targets, references = torch.randn(2, 3, 4, generator=generator), torch.randn(2, 7, 4, generator=generator)
    colors = torch.rand(2, 7, 5, generator=generator)
    found = copied(targets, references, colors)
    for clip in range(2):
        for place in range(3):
            weights = [math.exp(float(reference @ targets[clip, place])) for reference in references[clip]]
            mean = sum(weight * color for weight, color in zip(weights, colors[clip], strict=True)) / sum(weights)
            torch.testing.assert_close(found[clip, place], mean)


def test_colours_follow_what_moves() -> None:
    """Each place of a frame moves one to the right: an embedding that knows what is there points to where it was."""
    embedded = 20 * torch.eye(6)[None]
    colors = torch.eye(6)[None]
    moved = copied(embedded.roll(1, dims=1), embedded, colors)
    torch.testing.assert_close(moved, colors.roll(1, dims=1))


def test_the_loss_is_the_cross_entropy_of_the_copied_colours() -> None:
    method, batch = made().eval(), batch_of(VideoColorization, CONFIG)
    batch["lab"][0, :3, 1:] = 0.0  # what is coloured in the last frame of this clip only cannot be copied
    with torch.no_grad():
        losses = method(batch)
        embedded = method.embed(torch.stack(batch["views"], dim=1))
    assert embedded.shape == (4, 4, 4, 4, 8)
    ab = batch["lab"][:, :, 1:].unflatten(3, (4, 8)).unflatten(5, (4, 8)).mean((4, 6))
    labels = torch.cdist(ab.movedim(2, -1).flatten(0, 3), method.clusters.centroids).argmin(1).view(4, 4, 16)
    total, asked, right = 0.0, 0, 0
    for clip in range(4):
        source, given = embedded[clip, :3].reshape(48, 8), labels[clip, :3].flatten()
        for place in range(16):
            similarity = torch.softmax(source @ embedded[clip, 3].view(16, 8)[place], dim=0)
            share = torch.zeros(5).index_add_(0, given, similarity)
            right += int(share.argmax() == labels[clip, 3, place])
            if labels[clip, 3, place] in given:
                total, asked = total - math.log(share[labels[clip, 3, place]]), asked + 1
    assert 0 < asked < 64
    assert math.isclose(float(losses["loss"]), total / 64, rel_tol=1e-4)
    assert math.isclose(float(losses["accuracy"]), right / 64, rel_tol=1e-6)
    unmoved = (labels[:, 2] == labels[:, 3]).float().mean()
    assert math.isclose(float(losses["accuracy_unmoved"]), float(unmoved), rel_tol=1e-6)


def test_a_share_of_zero_has_a_finite_gradient() -> None:
    targets = torch.tensor([[[200.0]]], requires_grad=True)
    colors = copied(targets, torch.tensor([[[1.0], [-1.0]]]), torch.eye(2)[None])
    loss = copying_loss(colors, torch.tensor([[1]]), torch.tensor([[True]]))
    loss.backward()
    assert loss.isfinite() and targets.grad is not None and targets.grad.isfinite().all()


def test_the_colours_of_the_last_frame_are_not_given_away() -> None:
    method, batch = made().eval(), batch_of(VideoColorization, CONFIG)
    with torch.no_grad():
        shown = method.illustrate(batch)["with copied colours"]
        batch["lab"][:, -1, 1:] += 20
        again = method.illustrate(batch)["with copied colours"]
    torch.testing.assert_close(shown, again)


def test_layers_upon_the_maps_look_about_over_space_and_over_time() -> None:
    layers = [layer for layer in Embedding(512, (32, 32), 256, 64).layers if isinstance(layer, nn.Conv3d)]
    assert [layer.dilation[1] for layer in layers[:-1:2]] == [1, 2, 4, 8, 16]
    assert [layer.kernel_size for layer in layers] == [(1, 3, 3), (3, 1, 1)] * 5 + [(1, 1, 1)]
    assert (layers[0].in_channels, layers[-1].out_channels) == (514, 64)
    small = Embedding(8, (8, 8), 16, 4)
    assert [layer.dilation[1] for layer in small.layers if isinstance(layer, nn.Conv3d)][:-1:2] == [1, 2, 4, 4, 4]
    assert small.places[:, 0, 0].tolist() == [-1, -1] and small.places[:, 0, -1].tolist() == [-1, 1]


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(VideoColorization, CONFIG, encoder) == []


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(VideoColorization, CONFIG) == []


def test_what_does_not_suit_is_refused() -> None:
    for wrong in ({"stride": 0}, {"stride": 33}, {"clusters": 0}, {"clusters": 400}):
        with pytest.raises(UsageError, match="clusters are 1 to 313"):
            VideoColorization(create_encoder("test_resnet", 32), VideoColorizationConfig(**wrong))
    with pytest.raises(UsageError, match="an encoder of pictures"):
        made("test_r3d")
    with pytest.raises(UsageError, match="--channels"):
        VideoColorization(create_encoder("test_resnet", 32, 1), CONFIG)


def step_on_my_part() -> tuple[dict[str, Tensor], Tensor]:
    """Averaged gradients, and the clusters, of a batch of 6 of which each process has its part."""
    method, batch = made("test_vit"), batch_of(VideoColorization, CONFIG, count=6)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):  # batch statistics are of each process by nature
            module.eval()
    if world() > 1:
        rank = torch.distributed.get_rank()
        torch.manual_seed(rank)
        batch = {
            "views": [view.chunk(2)[rank] for view in batch["views"]],
            "lab": batch["lab"].chunk(2)[rank],
        }
    method(batch)["loss"].backward()
    return average_gradients(method), method.clusters.centroids


def test_two_processes_have_the_gradient_and_the_clusters_of_one() -> None:
    expected, clusters = step_on_my_part()
    (gradients, mine), (_, other) = on_two_processes(step_on_my_part)
    assert torch.equal(mine, other)
    torch.testing.assert_close(mine, clusters)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = VideoColorization.defaults, VideoColorizationConfig()
    assert (recipe.encoder, recipe.image_size, recipe.batch_size) == ("resnet18", 256, 32)
    assert (recipe.optimizer, recipe.lr, recipe.schedule) == ("adam", 1e-3, "step")
    steps = recipe.epochs * 300_000 / recipe.batch_size
    assert np.allclose([steps, recipe.milestones[0] * steps], [400_000, 60_000], rtol=0.01)
    assert (config.clusters, config.embedding_dim, config.rate, 256 // config.stride) == (16, 64, 6.0, 32)


def test_illustrations_keep_the_lightness() -> None:
    method, batch = made().eval(), batch_of(VideoColorization, CONFIG)
    batch["lab"] = rgb_to_lab(0.3 + 0.3 * torch.rand(16, 3, 32, 32)).unflatten(0, (4, 4))
    with torch.no_grad():
        earlier, grey, colored, original = method.illustrate(batch).values()
    for shown in (grey, colored, original):
        assert shown.shape == (4, 3, 32, 32) and shown.min() >= 0 and shown.max() <= 1
        torch.testing.assert_close(rgb_to_lab(shown)[:, 0], batch["lab"][:, -1, 0], rtol=0, atol=0.1)
    torch.testing.assert_close(rgb_to_lab(earlier), batch["lab"][:, 2], rtol=0, atol=0.01)
    torch.testing.assert_close(rgb_to_lab(original), batch["lab"][:, 3], rtol=0, atol=0.01)
