"""Optical flow from an encoder's maps of two frames.

Flow (B, 2, H, W) is in pixels of its own grid, x right and y down: where a pixel of the first frame is in the second,
minus where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.encoders import spec_of
from sslzoo.nn.decoders import MapShape, Size, encode_maps, map_shapes
from sslzoo.nn.precision import in_float32

SLOPE = 0.1
"""Of leaky rectifiers below zero, as in FlowNet."""


@in_float32
def warp(images: Tensor, flow: Tensor) -> Tensor:
    """Images (B, C, H, W) looked at where ``flow`` leads: of a second frame, what the first would see of it.

    Bilinear between pixels; beyond the edge, what is at the edge.
    """
    height, width = flow.shape[2:]
    x = flow[:, 0] + torch.arange(width, device=flow.device) + 0.5
    y = flow[:, 1] + (torch.arange(height, device=flow.device) + 0.5)[:, None]
    grid = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], dim=-1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


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
    flow is corrected by what that shows (Sun et al., "PWC-Net", CVPR 2018, section 3). The features that are published
    of both frames come in beside the coarsest maps, so that they are trained too.
    """

    def __init__(self, feature_dim: int, shapes: Sequence[MapShape], width: int, radius: int) -> None:
        """``shapes`` are of the maps that will be given, coarsest first; all hidden layers are ``width`` wide."""
        super().__init__()
        self.radius = radius
        self.whole = nn.Linear(2 * feature_dim, width)
        self.laterals = nn.ModuleList(nn.Conv2d(shape.channels, width, 1) for shape in shapes)
        seen = (2 * radius + 1) ** 2 + 2 * width + 2
        self.stages = nn.ModuleList(_stage(seen, width) for _ in shapes)
        self.last = nn.ModuleList(nn.Conv2d(width, 2, 3, padding=1) for _ in shapes)
        for last in self.last:  # what is learned from begins near no motion, not anywhere
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.zeros_(last.bias)

    def forward(self, features: tuple[Tensor, Tensor], maps: tuple[Sequence[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        hidden = self.whole(torch.cat(features, dim=1))[:, :, None, None]
        flow = hidden.new_zeros(len(hidden), 2, 1, 1)
        flows = []
        for lateral, stage, last, *two in zip(self.laterals, self.stages, self.last, *maps, strict=True):
            first, second = (lateral(found) for found in two)
            size = (first.shape[2], first.shape[3])
            flow, hidden = resize_flow(flow, size), F.interpolate(hidden, size, mode="nearest")
            costs = cost_volume(first, warp(second, flow), self.radius)
            hidden = stage(torch.cat([costs, first, hidden, flow], dim=1))
            flow = flow + last(hidden).float()
            flows.append(flow)
        return flows


def _stage(seen: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(seen, width, 3, padding=1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(SLOPE),
    )


class SiameseFlow(nn.Module):
    """Flow from one encoder's maps of two frames, from its coarsest to the one of stride ``finest``."""

    def __init__(self, encoder: Any, feature_dim: int, finest: int, width: int, radius: int) -> None:
        super().__init__()
        side = spec_of(encoder).input.size[1]
        shapes = map_shapes(encoder)
        self.maps = [shape for shape in shapes if shape.size[0] * finest <= side] or shapes[:1]
        self.decoder = FlowDecoder(feature_dim, self.maps, width, radius)

    def forward(self, encoder: Any, first: Tensor, second: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The flow from the first to the second and back, at each size, coarsest first."""
        feature, maps = encode_maps(encoder, torch.cat([first, second]), self.maps)
        back = [each.roll(len(first), 0) for each in maps]
        flows = self.decoder((feature, feature.roll(len(first), 0)), (maps, back))
        forward, backward = zip(*(flow.chunk(2) for flow in flows), strict=True)
        return list(forward), list(backward)
