"""Cross pixel optical-flow similarity is the paper's."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from clip_samples import built, spec_for
from moved_clips import moved_samples
from sslzoo_plugins.cross_modal.cross_pixel import (
    CrossPixel,
    CrossPixelConfig,
    FrameAndFlow,
    compressed,
    embedding_kernel,
    flow_kernel,
    hypercolumns,
    kernel_cross_entropy,
    main_parts,
)
from torch import nn

from sslzoo.config import UsageError
from sslzoo.encoders import create_encoder
from sslzoo.method import Batch

CONFIG = CrossPixelConfig(pixels=40, hidden_dim=16)


def batch_of(*moves: tuple[int, int], channels: int = 3, config: CrossPixelConfig = CONFIG) -> Batch:
    samples = moved_samples(*moves)
    if channels == 1:
        samples = [sample | {"clip": sample["clip"][:, :1]} for sample in samples]
    return FrameAndFlow(config, spec_for("test_resnet", channels=channels))(samples)


def test_the_kernels_are_the_papers() -> None:
    generator = torch.Generator().manual_seed(0)
    flow, embeddings = torch.rand(2, 5, 2, generator=generator), torch.randn(2, 5, 16, generator=generator)
    alike, near = flow_kernel(flow, 0.0036), embedding_kernel(embeddings, 0.25)
    for b, p, q in ((0, 0, 1), (1, 2, 4), (1, 3, 3)):
        apart = float((flow[b, p] - flow[b, q]).square().sum())
        assert alike[b, p, q].item() == pytest.approx(math.exp(-apart / (2 * 0.0036)), rel=1e-4)
        cosine = torch.cosine_similarity(embeddings[b, p], embeddings[b, q], dim=0)
        assert near[b, p, q].item() == pytest.approx(cosine.item() / 4, abs=1e-6)


def test_the_loss_is_the_cross_entropy_of_rows_less_one_on_the_diagonal() -> None:
    target = torch.tensor([[1.0, 0.7, 0.1], [0.7, 1.0, 0.2], [0.1, 0.2, 1.0]])
    kernel = torch.tensor([[0.25, 0.2, -0.1], [0.2, 0.25, 0.0], [-0.1, 0.0, 0.25]])
    loss = least = 0.0
    for row in range(3):
        true = [math.exp(float(target[row, column]) - (row == column)) for column in range(3)]
        found = [math.exp(float(kernel[row, column]) - (row == column)) for column in range(3)]
        loss -= sum(t / sum(true) * math.log(f / sum(found)) for t, f in zip(true, found, strict=True)) / 3
        least -= sum(t / sum(true) * math.log(t / sum(true)) for t in true) / 3
    everything = torch.ones(1, 3, dtype=torch.bool)
    means = kernel_cross_entropy(target[None], kernel[None], everything)
    assert means[0].item() == pytest.approx(loss, rel=1e-5) and means[1].item() == pytest.approx(least, rel=1e-5)
    assert means[1] < means[0] and means[1] < means[2]


def test_pixels_of_unknown_flow_count_neither_as_rows_nor_in_them() -> None:
    generator = torch.Generator().manual_seed(1)
    target, kernel = (torch.rand(2, 6, 6, generator=generator) for _ in range(2))
    known = torch.tensor([[True] * 4 + [False] * 2] * 2)
    every = torch.ones(2, 4, dtype=torch.bool)
    for found, expected in zip(
        kernel_cross_entropy(target, kernel, known),
        kernel_cross_entropy(target[:, :4, :4], kernel[:, :4, :4], every),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)
    assert kernel_cross_entropy(target, kernel, torch.zeros_like(known))[0] == 0


def test_the_length_of_flow_goes_with_its_logarithm_and_its_direction_stays() -> None:
    flow = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, -8.0], [100.0, 0.0]])
    found = compressed(flow, 8.0)
    five = math.log(6) / math.log(9)
    torch.testing.assert_close(found, torch.tensor([[0.6 * five, 0.8 * five], [0, 0], [0, -1], [1, 0]]))


def test_hypercolumns_are_what_all_maps_hold_of_a_pixel() -> None:
    fine = torch.arange(16.0).view(1, 1, 4, 4)
    coarse = torch.tensor([[[[10.0, 20.0], [30.0, 40.0]]]])
    pixels = torch.tensor([[0, 6, 15]])  # of a picture of 4 x 4
    found = hypercolumns(torch.tensor([[7.0]]), [fine, coarse], pixels, 4, 4)
    between = 10 + 0.75 * 10 + 0.25 * 20  # row 1, column 2
    torch.testing.assert_close(found, torch.tensor([[[0.0, 10.0, 7.0], [6.0, between, 7.0], [15.0, 40.0, 7.0]]]))


def test_a_frame_comes_with_its_own_flow_mirrored_or_not() -> None:
    batch = batch_of(*[(3, 1)] * 8, config=CrossPixelConfig(pixels=40, min_scale=1.0))
    x, y = batch["flow"].unbind(1)
    torch.testing.assert_close(y, torch.full_like(y, 32 / 40))
    assert {round(value, 3) for value in x[:, 5, 5].tolist()} == {2.4, -2.4}
    assert batch["pixels"].shape == (8, 40) and batch["pixels"].max() < 32 * 32


def test_what_moves_alike_is_learned_from_one_frame() -> None:
    """Bright squares move, what is behind them does not."""
    generator = torch.Generator().manual_seed(3)
    samples = moved_samples(*[(0, 0)] * 16)
    for sample in samples:
        top, left = torch.randint(4, 20, (2,), generator=generator).tolist()
        sample["clip"] = sample["clip"] // 3
        sample["clip"][:, :, top : top + 14, left : left + 14] += 150
        sample["flow"][0, 0, top : top + 14, left : left + 14] = 3
    method = cast(CrossPixel, built(CrossPixel, CONFIG))
    batch = FrameAndFlow(CONFIG, spec_for("test_resnet"))(samples)
    optimizer = torch.optim.Adam(method.parameters(), 3e-3)
    explained = []
    for _ in range(25):
        out = method(batch)
        optimizer.zero_grad()
        out["loss"].backward()
        optimizer.step()
        explained.append(out["explained"].item())
    assert explained[0] < 0.3 and explained[-1] > 0.5


def test_everything_is_trained_and_held_out_scores_change_nothing() -> None:
    method, batch = built(CrossPixel, CONFIG), batch_of((1, 0), (0, 2))
    batch["flow"][:, 0, :9] = -2
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm closes residual branches at first
            nn.init.ones_(module.weight)
    method(batch)["loss"].backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() for parameter in method.parameters())
    before = {name: value.clone() for name, value in method.eval().state_dict().items()}
    assert method(batch)["loss"].isfinite()
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_grey_frames_are_learned_from_and_drawn_too() -> None:
    method = CrossPixel(create_encoder("test_resnet", 32, 1), CONFIG).eval()
    batch = batch_of((1, 0), (0, 1), channels=1)
    assert method(batch)["loss"].isfinite()
    drawn = method.illustrate(batch)
    assert drawn["embeddings"].shape == drawn["its flow"].shape == (2, 3, 32, 32)


def test_embeddings_are_drawn_by_what_they_differ_in_most() -> None:
    embeddings = torch.zeros(1, 100, 5)
    embeddings[0, :, 2] = torch.linspace(-1, 1, 100)
    parts = main_parts(embeddings)[0]
    assert parts.shape == (100, 3) and abs(parts[0, 0] - parts[-1, 0]) == 1


def test_data_without_flow_and_encoders_of_clips_are_refused() -> None:
    (sample,) = moved_samples((1, 0))
    del sample["flow"]
    with pytest.raises(UsageError, match="have no flow"):
        FrameAndFlow(CONFIG, spec_for("test_resnet"))([sample])
    with pytest.raises(UsageError, match="encoder of images"):
        built(CrossPixel, CONFIG, "test_r3d")
