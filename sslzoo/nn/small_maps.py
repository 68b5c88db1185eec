"""Convolutions of maps smaller than their stride, on a CPU in bf16.

There oneDNN (as of torch 2.14) leaves the gradient of those weights that no pixel meets as it found the memory: what
was there before, NaN too, becomes their gradient, which is zero. A map of one pixel before a stride of two is enough,
such as a small crop becomes deep in a convnet; over time as well, of a clip.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def pad_small_maps(model: nn.Module) -> None:
    """From now on pad what reaches a strided convolution of ``model`` with zeros, up to the size of its stride.

    Nothing that is computed changes, for as many zeros are in the convolution's own padding; but now a zero meets each
    weight. Larger maps and other devices are left alone. Copies of the model do the same.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and max(module.stride) > 1 and _keeps_size(module):
            module.register_forward_pre_hook(_pad)


def _keeps_size(conv: nn.Conv2d | nn.Conv3d) -> bool:
    """Whether the padding is such that without its stride the convolution would keep the size of its input.

    Then all maps up to the size of the stride give one place.
    """
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    sides = zip(conv.kernel_size, conv.padding, conv.dilation, strict=True)
    return all(2 * padding == dilation * (kernel - 1) for kernel, padding, dilation in sides)


def _pad(conv: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor] | None:
    (images,) = inputs
    sides = zip(images.shape[2:], conv.stride, strict=True)  # type: ignore[arg-type]
    lacking = [max(0, stride - side) for side, stride in sides]
    if not any(lacking) or images.device.type != "cpu":
        return None
    return (F.pad(images, [zeros for lack in reversed(lacking) for zeros in (0, lack)]),)
