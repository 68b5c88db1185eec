"""Gradients of convolutions whose map is smaller than their stride."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sslzoo.encoders import create_encoder
from sslzoo.nn.small_maps import pad_small_maps


def soil_memory() -> None:
    """Leave NaN in memory that is handed out next."""
    pieces = [torch.full((64 * 64 * 49,), torch.nan, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)] * 3
    del pieces


def gradients(conv: nn.Conv2d | nn.Conv3d, images: Tensor, half: bool) -> tuple[Tensor, Tensor]:
    conv.weight.grad, images = None, images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        result = conv(images)
    soil_memory()
    result.float().square().sum().backward()
    assert conv.weight.grad is not None and images.grad is not None
    return conv.weight.grad, images.grad


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 2, 1), (5, 2, 1), (3, 4, 3), (7, 4, 2), (3, 2, 2)])
@pytest.mark.parametrize("groups", [1, 64])
def test_gradients_are_those_of_single_precision(kernel: int, stride: int, side: int, groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, kernel, stride, padding=kernel // 2, bias=False, groups=groups)
    images = torch.randn(16, 64, side, side).contiguous(memory_format=torch.channels_last)
    expected = gradients(conv, images, half=False)
    before = conv(images)
    pad_small_maps(conv)
    assert torch.equal(conv(images), before), "the zeros are in the padding"
    for _ in range(5):
        for found, wanted in zip(gradients(conv, images, half=True), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.02 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    ("kernel", "stride", "shape"),
    [
        (3, 1, (2, 3, 3)),  # the last stage of r3d_18
        (3, 2, (1, 1, 1)),
        (4, 2, (2, 2, 2)),
        ((5, 1, 1), 1, (4, 2, 2)),
        ((1, 3, 3), (1, 2, 2), (4, 1, 1)),
    ],
)
def test_gradients_over_time_are_those_of_single_precision(
    kernel: int | tuple[int, ...], stride: int | tuple[int, ...], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    padding = [(side - 1 + side % 2) // 2 for side in (kernel if isinstance(kernel, tuple) else [kernel] * 3)]
    conv = nn.Conv3d(16, 32, kernel, stride, padding, bias=False)  # type: ignore[arg-type]
    clips = torch.randn(4, 16, *shape).contiguous(memory_format=torch.channels_last_3d)
    expected = [gradient.clone() for gradient in gradients(copy.deepcopy(conv), clips, half=False)]
    before = conv(clips)
    pad_small_maps(conv)
    torch.testing.assert_close(conv(clips), before)
    for made in (conv, copy.deepcopy(conv)):
        for found, wanted in zip(gradients(made, clips, half=True), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.02 * float(wanted.abs().max()))


def test_larger_maps_over_time_are_left_alone() -> None:
    conv = nn.Conv3d(2, 2, 3, padding=1)
    clips = torch.randn(1, 2, 4, 4, 4)
    before = conv(clips)
    pad_small_maps(conv)
    assert torch.equal(conv(clips), before) and list(conv.state_dict()) == ["weight", "bias"]


def test_copies_do_the_same_and_nothing_is_saved_of_it() -> None:
    encoder = create_encoder("test_resnet", 32, seed=0)
    names = list(encoder.state_dict())
    pad_small_maps(encoder)
    assert list(encoder.state_dict()) == names
    strided = [module for module in copy.deepcopy(encoder).modules() if getattr(module, "stride", 1) == (2, 2)]
    convolutions = [module for module in strided if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1]
    assert convolutions and all(module._forward_pre_hooks for module in convolutions)


@pytest.mark.parametrize("conv", [nn.Conv2d(3, 3, 2, 2, padding=1), nn.Conv2d(3, 3, 3, 3, padding="valid")])
def test_other_paddings_are_left_alone(conv: nn.Conv2d) -> None:
    """Zeros might give them another place."""
    pad_small_maps(conv)
    assert not conv._forward_pre_hooks
