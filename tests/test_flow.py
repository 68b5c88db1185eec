"""Evaluation by optical flow: its scores by hand, and that it learns from frozen features of two frames."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from moved_clips import moved_sample
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Source
from sslzoo.encoders import create_encoder
from sslzoo.evaluation import Result
from sslzoo.evaluations.flow import Flow, FlowConfig, measured
from sslzoo.method import Sample

FAST: dict[str, Any] = {"epochs": 1, "batch_size": 8, "width": 8, "radius": 1, "pairs": 2}


class Moving(Source):
    """Pictures that move up to two pixels with each frame, right or left and down or up."""

    def __init__(self, count: int, name: str = "moving[train]", seed: int = 0) -> None:
        self.name, self.count, self.seed = name, count, seed

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Sample:
        right, down = index % 5 - 2, index // 5 % 5 - 2
        sample = moved_sample(right, down, key=self.seed + index, frames=3, size=40)
        return {name: sample[name] for name in ("clip", "flow")}

    @property
    def fingerprint(self) -> str:
        return f"{self.name} {self.count} {self.seed}"


def run(encoder: nn.Module, train: Source, test: Source, **settings: Any) -> Result:
    return Flow(FlowConfig(**settings)).run(encoder, train, test)


def encoder_of(architecture: str = "test_resnet", size: int = 32) -> nn.Module:
    return create_encoder(architecture, size, seed=0)


def test_scores_by_hand() -> None:
    truth = torch.tensor([[[[3.0, 0.0, 0.0, 80.0, torch.nan]], [[4.0, 0.0, 1.0, 0.0, 0.0]]]])
    found = torch.tensor([[[[3.0, 0.0, 0.0, 83.5, 9.0]], [[4.5, 2.0, 9.0, 0.0, 9.0]]]])
    # off by 0.5, 2, 8 and 3.5 (of 80: no outlier)
    expected = [4, 0.5 + 2 + 8 + 3.5, 5 + 0 + 1 + 80, 1, 2, 1]
    assert measured(found, truth).tolist() == pytest.approx(expected)


def test_flow_is_learned_from_frozen_features() -> None:
    encoder = encoder_of()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    train, test = Moving(50), Moving(25, "moving[test]", seed=1000)
    result = run(encoder, train, test, epochs=10, batch_size=10, width=16, radius=1, lr=5e-3, pairs=1)
    losses = result.details["loss"]
    assert losses[-1] < 0.8 * losses[0] and len(losses) == 10
    assert result.metrics["epe"] < 0.7 * result.metrics["epe_of_no_motion"]
    assert result.metrics["within_1px"] <= result.metrics["within_3px"] <= 1
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.training and all(parameter.requires_grad for parameter in encoder.parameters())
    assert Flow(FlowConfig()).draw({"trained": result}).keys() == {"flow"}


def test_the_score_of_no_motion_is_the_length_of_the_flow_in_pixels_of_the_data() -> None:
    result = run(encoder_of(), Moving(8), Moving(25, seed=9), **FAST)
    lengths = torch.cartesian_prod(torch.arange(5.0) - 2, torch.arange(5.0) - 2).norm(dim=1)
    assert result.metrics["epe_of_no_motion"] == pytest.approx(lengths.mean().item(), rel=1e-5)
    assert result.details["pixels"] == 25 * 2 * 40 * 40


def test_the_same_comes_out_again_and_an_encoder_of_one_map_serves() -> None:
    for architecture, size in (("test_resnet", 32), ("test_vit", 160)):
        encoder, few = encoder_of(architecture, size), Moving(8)
        first = run(encoder, few, few, **FAST)
        if architecture == "test_resnet":
            assert run(encoder, few, few, **FAST).metrics == first.metrics
        assert first.details["loss"][0] > 0


class Without(Moving):
    """Clips without flow, or of which none is known."""

    def __init__(self, flow: bool) -> None:
        super().__init__(4)
        self.flow = flow

    def read(self, index: int) -> Sample:
        sample = super().read(index)
        unknown: Tensor = sample.pop("flow") * torch.nan
        return {**sample, "flow": unknown} if self.flow else sample


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(UsageError, match="has no flow"):
        run(encoder_of(), Without(flow=False), Moving(4), **FAST)
    with pytest.raises(UserError, match="no pixel"):
        run(encoder_of(), Moving(4), Without(flow=True), **FAST)
    with pytest.raises(UsageError, match="encoder of images"):
        run(create_encoder("test_r3d", 32, frames=4), Moving(4), Moving(4), **FAST)
    with pytest.raises(UsageError, match="epochs must be above 0"):
        run(encoder_of(), Moving(4), Moving(4), epochs=0)
