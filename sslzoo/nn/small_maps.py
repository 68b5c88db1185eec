"""Convolutions of small maps on a CPU.

In bf16 oneDNN (as of torch 2.14) leaves the gradient of those weights that no pixel meets as it found the memory: what
was there before, NaN too, becomes their gradient, which is zero. A map of one pixel before a stride of two is enough,
such as a small crop becomes deep in a convnet.

Over time it is worse. In bf16 two frames before a kernel of three are enough, as in the last stage of r3d_18 on 16
frames, whatever the stride; and where the kernel is larger than the map, memory of others is written to, in fp32 too
(seven frames before S3D's stem).
"""

from __future__ import annotations

from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn


def pad_small_maps(model: nn.Module) -> None:
    """From now on pad what reaches a strided convolution of ``model`` with zeros, up to the size of its stride.

    Nothing that is computed changes, for as many zeros are in the convolution's own padding; but now a zero meets each
    weight. Of convolutions over time all of the padding is done so. Larger maps and other devices are left alone.
    Copies of the model do the same.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv3d) and type(module).forward is nn.Conv3d.forward and _pads_zeros(module):
            module.__class__ = _Conv3d
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1 and _keeps_size(module):
            module.register_forward_pre_hook(_pad)


class _Conv3d(nn.Conv3d):
    """A convolution whose map is padded beforehand where it is no larger than the kernel."""

    def forward(self, input: Tensor) -> Tensor:
        spans = [dilation * (kernel - 1) + 1 for kernel, dilation in zip(self.kernel_size, self.dilation, strict=True)]
        larger = all(side > span for side, span in zip(input.shape[2:], spans, strict=True))
        if larger or input.device.type != "cpu":
            return super().forward(input)
        zeros = [zeros for zeros in reversed(cast(tuple[int, ...], self.padding)) for _ in range(2)]
        return F.conv3d(F.pad(input, zeros), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _pads_zeros(conv: nn.Conv2d | nn.Conv3d) -> bool:
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _keeps_size(conv: nn.Conv2d) -> bool:
    """Whether the padding is such that without its stride the convolution would keep the size of its input.

    Then all maps up to the size of the stride give one place.
    """
    if not _pads_zeros(conv):
        return False
    sides = zip(conv.kernel_size, cast(tuple[int, ...], conv.padding), conv.dilation, strict=True)
    return all(2 * padding == dilation * (kernel - 1) for kernel, padding, dilation in sides)


def _pad(conv: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor] | None:
    (images,) = inputs
    down, across = (max(0, stride - side) for side, stride in zip(images.shape[-2:], conv.stride, strict=True))  # type: ignore[arg-type]
    return (F.pad(images, (0, across, 0, down)),) if (down or across) and images.device.type == "cpu" else None
