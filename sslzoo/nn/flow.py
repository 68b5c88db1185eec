"""Optical flow from an encoder's maps of two frames.

Flow (B, 2, H, W) is in pixels of its own grid, x right and y down: where a pixel of the first frame is in the second,
minus where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.encoders import spec_of
from sslzoo.nn.decoders import MapShape, Size, encode_maps, map_shapes
from sslzoo.nn.places import pixel_places, sample_at
from sslzoo.nn.precision import in_float32

SLOPE = 0.1
"""Of leaky rectifiers below zero, as in FlowNet."""


@in_float32
def warp(images: Tensor, flow: Tensor) -> Tensor:
    """Images (B, C, H, W) looked at where ``flow`` leads: of a second frame, what the first would see of it.

    Bilinear between pixels; beyond the edge, what is at the edge. What is not a number leads nowhere.
    """
    height, width = flow.shape[2:]
    return sample_at(images, flow.nan_to_num() + pixel_places(height, width, flow.device))


@in_float32
def resize_flow(flow: Tensor, size: Size) -> Tensor:
    """Flow on a grid of another ``size``, in its pixels; bilinear."""
    scale = flow.new_tensor([size[1] / flow.shape[3], size[0] / flow.shape[2]])
    return F.interpolate(flow, size, mode="bilinear") * scale[:, None, None]


@in_float32
def cost_volume(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """(B, (2 radius + 1)^2, H, W): cosines of each place of ``first`` (B, C, H, W) with those around it in ``second``.

    Row by row; 0 beyond the edge.
    """
    first, padded = F.normalize(first, dim=1), F.pad(F.normalize(second, dim=1), [radius] * 4)
    height, width = first.shape[2:]
    shifts = [(down, right) for down in range(2 * radius + 1) for right in range(2 * radius + 1)]
    found = [(first * padded[:, :, y : y + height, x : x + width]).sum(dim=1) for y, x in shifts]
    return torch.stack(found, dim=1)


def endpoint_error(flow: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H, W): by how many pixels ``flow`` (B, 2, H, W) misses the ``truth``, 0 where that is not known; and where it
    is known."""
    known = truth.isfinite().all(dim=1)
    return (flow - truth.nan_to_num()).norm(dim=1) * known, known


class FlowDecoder(nn.Module):
    """What an encoder makes of two frames to their flow at the size of each of its maps, coarsest first.

    At each size the second map is warped by the flow so far, compared with the first within ``radius`` places, and the
    flow is corrected by what that shows (Sun et al., "PWC-Net", CVPR 2018, section 3), by at most as far as is looked:
    else what is wrong at one size grows with each that follows, and rates must be small. A batch norm stands before
    all, so that encoders of any scale suit, and cosines are of what differs from place to place. The features that are
    published of both frames come in beside the coarsest maps, so that they are trained too.
    """

    def __init__(self, feature_dim: int, shapes: Sequence[MapShape], width: int, radius: int) -> None:
        """``shapes`` are of the maps that will be given, coarsest first; all hidden layers are ``width`` wide."""
        super().__init__()
        self.radius = radius
        self.whole = nn.Linear(2 * feature_dim, width)
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(shape.channels), nn.Conv2d(shape.channels, width, 1)) for shape in shapes
        )
        seen = (2 * radius + 1) ** 2 + 2 * width + 2
        self.stages = nn.ModuleList(_stage(seen, width) for _ in shapes)
        self.last = nn.ModuleList(_last(width) for _ in shapes)

    def forward(self, feature: Tensor, maps: Sequence[Tensor], both_ways: bool) -> list[Tensor]:
        """From all first frames, which are the first half of ``feature`` (2 B, D) and ``maps``, to the second half: (B,
        2, h, w) each. Or ``both_ways``: (2 B, 2, h, w), the second half of which is the flow back."""
        hidden = self.whole(torch.cat(_pairs(feature, both_ways), dim=1))[:, :, None, None]
        flow = hidden.new_zeros(len(hidden), 2, 1, 1, dtype=torch.float32)
        flows = []
        for found, lateral, stage, last in zip(maps, self.laterals, self.stages, self.last, strict=True):
            first, second = _pairs(lateral(found), both_ways)
            size = (found.shape[2], found.shape[3])
            flow, hidden = resize_flow(flow, size), F.interpolate(hidden, size, mode="nearest")
            costs = cost_volume(first, warp(second, flow), self.radius)
            hidden = stage(torch.cat([costs, first, hidden, flow], dim=1))
            flow = flow + self.radius * torch.tanh(last(hidden).float() / self.radius)
            flows.append(flow)
        return flows


def _pairs(frames: Tensor, both_ways: bool) -> tuple[Tensor, Tensor]:
    first, second = frames.chunk(2)
    return (frames, torch.cat([second, first])) if both_ways else (first, second)


def _stage(seen: int, width: int) -> nn.Sequential:
    convolutions = [nn.Conv2d(channels, width, 3, padding=1) for channels in (seen, width)]
    for convolution in convolutions:
        nn.init.kaiming_normal_(convolution.weight, SLOPE)
        nn.init.zeros_(cast(Tensor, convolution.bias))
    return nn.Sequential(convolutions[0], nn.LeakyReLU(SLOPE), convolutions[1], nn.LeakyReLU(SLOPE))


def _last(width: int) -> nn.Conv2d:
    """Learning begins near no motion, not anywhere."""
    convolution = nn.Conv2d(width, 2, 3, padding=1)
    nn.init.normal_(convolution.weight, std=1e-3)
    nn.init.zeros_(cast(Tensor, convolution.bias))
    return convolution


def flow_maps(encoder: Any, finest: int) -> Sequence[MapShape]:
    """An encoder's maps, coarsest first, to the one of stride ``finest``; the coarsest at least."""
    side, shapes = spec_of(encoder).input.size[1], map_shapes(encoder)
    return [shape for shape in shapes if shape.size[0] * finest <= side] or shapes[:1]


class SiameseFlow(nn.Module):
    """Flow from one encoder's maps of two frames, from its coarsest to the one of stride ``finest``."""

    def __init__(self, encoder: Any, feature_dim: int, finest: int, width: int, radius: int) -> None:
        super().__init__()
        self.maps = flow_maps(encoder, finest)
        self.decoder = FlowDecoder(feature_dim, self.maps, width, radius)

    def forward(self, encoder: Any, first: Tensor, second: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The flow from the first to the second and back, at each size, coarsest first."""
        flows = self.decoder(*encode_maps(encoder, torch.cat([first, second]), self.maps), both_ways=True)
        theres, backs = zip(*(flow.chunk(2) for flow in flows), strict=True)
        return list(theres), list(backs)
