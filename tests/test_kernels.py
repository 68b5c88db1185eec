"""First-layer filters: found in any architecture, scaled each by itself, and in an order that means something."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_source import TinySource
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluations.kernels import Kernels, KernelsConfig, as_pictures, first_filters, in_order

SOURCE = TinySource()


def wave(periods: float, colour: tuple[float, float, float] = (1, 1, 1), size: int = 8) -> Tensor:
    """(3, size, size): a cosine across, times a colour."""
    across = torch.cos(2 * math.pi * periods * torch.arange(size) / size).expand(size, size)
    return torch.tensor(colour)[:, None, None] * across


@pytest.mark.parametrize(
    ("architecture", "layer", "shape"),
    [
        ("test_resnet", "conv1.0", (3, 3, 3)),
        ("resnet18", "conv1", (3, 7, 7)),
        ("test_vit", "patch_embed.proj", (3, 16, 16)),
        ("test_convnext", "stem.0", (3, 4, 4)),
        ("test_efficientnet", "conv_stem", (3, 3, 3)),
        ("test_mambaout", "stem.conv1", (3, 3, 3)),
    ],
)
def test_the_first_layer_is_the_one_that_sees_pixels(architecture: str, layer: str, shape: tuple[int, ...]) -> None:
    name, weight = first_filters(create_encoder(architecture, 64, seed=0))
    assert name == layer and weight.shape[1:] == shape and not weight.requires_grad


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_filters_over_any_number_of_channels_are_drawn(channels: int) -> None:
    encoder = create_encoder("test_resnet", 32, channels, seed=0)
    result = Kernels(KernelsConfig()).run(encoder, SOURCE, SOURCE)
    assert result.details == {"layer": "conv1.0", "filters": 16, "shape": [channels, 3, 3]}
    assert result.visuals["filters"].shape == (16, 3 if channels == 3 else 1, 3, 3)


def test_each_filter_is_scaled_by_its_largest_weight_around_grey() -> None:
    pictures = as_pictures(torch.stack([wave(1), -3 * wave(2), torch.zeros(3, 8, 8)]))
    assert pictures[0].max() == 1 and pictures[1].min() == 0
    assert torch.equal(pictures[2], torch.full((3, 8, 8), 0.5))
    assert pictures[0][:, :, 2].sub(0.5).abs().max() < 1e-6, "a quarter of the wave is zero, and zero is grey"


def test_many_channels_are_shown_by_the_pattern_they_share_with_its_sign() -> None:
    pattern = wave(1)[:1]
    strengths = torch.tensor([1.0, 0.5, 2.0, 0.1])[:, None, None]
    shown = as_pictures(torch.stack([strengths * pattern, -strengths * pattern]))
    assert torch.allclose(shown[0], 0.5 + pattern / 2, atol=1e-6)
    assert torch.allclose(shown[1], 0.5 - pattern / 2, atol=1e-6)


def test_grey_comes_first_from_coarse_to_fine_then_colour_by_hue() -> None:
    red, green, blue = (1.0, -0.5, -0.5), (-0.5, 1.0, -0.5), (-0.5, -0.5, 1.0)
    filters = [wave(1, blue), wave(4), wave(1, red), wave(1), wave(2, green), wave(2)]
    found = in_order(as_pictures(torch.stack(filters))).tolist()
    assert found[:3] == [3, 5, 1]
    assert found[3:] in ([2, 0, 4], [2, 4, 0]), "as axes, red, blue and green are a third of a turn apart"
    opposite = in_order(as_pictures(torch.stack([wave(1, red), wave(1, green), -wave(1, red)]))).tolist()
    assert abs(opposite.index(0) - opposite.index(2)) == 1, "red on cyan and cyan on red are one axis"


def test_of_too_many_filters_the_strongest_are_drawn() -> None:
    encoder = create_encoder("test_resnet", 32, seed=0)
    with torch.no_grad():
        first_filters(encoder)
        encoder.conv1[0].weight[3] *= 100  # type: ignore[index, operator, union-attr]
    result = Kernels(KernelsConfig(filters=1)).run(encoder, SOURCE, SOURCE)
    assert torch.equal(result.visuals["filters"], as_pictures(encoder.conv1[0].weight[3:4].detach()))  # type: ignore[index, union-attr]


def test_the_figure_has_a_grid_for_each_encoder() -> None:
    kernels = Kernels(KernelsConfig(filters=9))
    result = kernels.run(create_encoder("test_resnet", 32, seed=0), SOURCE, SOURCE)
    figure = kernels.draw({"trained": result, "untrained": result})["kernels"]
    assert len(figure.axes[0].images) == 18
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "trained" in texts and "untrained" in texts
    assert "conv1.0: 16 filters of 3 × 3 over 3 channels, 9 of them" in texts[1]


def test_what_cannot_be_drawn_is_refused_in_a_line() -> None:
    encoder = create_encoder("test_resnet", 32, seed=0)
    with pytest.raises(UsageError, match="at least one filter"):
        Kernels(KernelsConfig(filters=0)).run(encoder, SOURCE, SOURCE)
    flat: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    flat.spec = encoder.spec  # type: ignore[assignment]
    with pytest.raises(UsageError, match="no convolution or patch embedding"):
        Kernels(KernelsConfig()).run(flat, SOURCE, SOURCE)
    torch.nn.init.constant_(encoder.conv1[0].weight, torch.nan)  # type: ignore[index, union-attr, arg-type]
    with pytest.raises(UserError, match=r"weights of conv1\.0 are not finite"):
        Kernels(KernelsConfig()).run(encoder, SOURCE, SOURCE)
