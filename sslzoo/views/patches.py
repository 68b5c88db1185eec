"""Patches cut from a grid over each picture, and grids put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sslzoo.views.crop import AnyImage, image_sizes, resized_crop
from sslzoo.views.keyed import Draw


@dataclass(frozen=True)
class Grid:
    """Square patches in as many rows as columns, each free to move a little in its cell.

    Neighbours are ``pitch - size`` pixels apart if they have moved alike, and always at least ``play`` less than that.
    Cells are numbered by rows from the upper left, from 0.
    """

    columns: int
    size: int
    """Height and width of a patch in pixels."""
    pitch: int
    """From the corner of one cell to that of the next."""
    play: int
    """A patch begins 0 to ``play`` pixels below, and as many right of, its cell's corner."""

    @property
    def extent(self) -> int:
        """Height and width of the picture that just holds the grid."""
        return (self.columns - 1) * self.pitch + self.size + self.play

    def corners(self, cells: Tensor) -> Tensor:
        """Top and left (..., 2) of the ``cells`` (...)."""
        return torch.stack([cells // self.columns, cells % self.columns], dim=-1) * self.pitch


def puzzle_grid(image_size: int, tile_size: int = 0) -> Grid:
    """The 3 x 3 tiles of a jigsaw puzzle, in the proportions of Noroozi & Favaro, ECCV 2016.

    Theirs are 64 pixels wide and lie anywhere in cells of 75, in pictures of 225. A ``tile_size`` of 0 takes as large
    a part of ``image_size``, so that an encoder sees things in tiles as large as in whole images.
    """
    size = tile_size or max(1, round(image_size * 64 / 225))
    play = round(size * 11 / 64)
    return Grid(columns=3, size=size, pitch=size + play, play=play)


def square_crop(images: Sequence[AnyImage], size: int, draw: Draw, share: tuple[float, float]) -> Tensor:
    """A random square of each image, upright and unmirrored, at ``size`` x ``size``: (B, C, size, size) uint8."""
    boxes = random_squares(image_sizes(images), draw, share)
    return resized_crop(images, boxes, torch.zeros(len(images), dtype=torch.bool), (size, size))


def random_squares(sizes: Tensor, draw: Draw, share: tuple[float, float]) -> Tensor:
    """Square boxes (B, 4) int64 of top, left, height, width, anywhere inside images of ``sizes`` (B, 2).

    Their side is uniform in ``share`` of the image's shorter side.
    """
    unit = draw.uniform("square", shape=(3,)).double()
    side = (sizes.amin(dim=1) * (share[0] + (share[1] - share[0]) * unit[:, 0])).round().long().clamp(min=1)[:, None]
    corner = (unit[:, 1:] * (sizes - side + 1)).long()
    return torch.cat([corner, side, side], dim=1)


def cut(images: Tensor, corners: Tensor, size: int) -> Tensor:
    """The ``size`` x ``size`` patches (B, N, C, size, size) of the images (B, C, H, W).

    ``corners`` (B, N, C, 2) are the top and left of each patch in each channel, all inside; (B, N, 1, 2) if it is the
    same in all channels.
    """
    windows = images.unfold(2, size, 1).unfold(3, size, 1)
    image = torch.arange(images.shape[0], device=images.device)[:, None, None]
    channel = torch.arange(images.shape[1], device=images.device)
    top, left = corners.unbind(-1)
    return windows[image, channel, top, left]


def assemble(patches: Tensor, columns: int, gap: int = 2) -> Tensor:
    """Patches (B, N, C, H, W) laid out by rows, with white lines of ``gap`` pixels between: pictures (B, C, ., .)."""
    framed = F.pad(patches, (0, gap, 0, gap), value=1.0).unflatten(1, (-1, columns))
    return framed.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)[..., :-gap, :-gap]


def film_strip(frames: Tensor, count: int = 4) -> Tensor:
    """Frames (B, T, C, H, W) of clips side by side, ``count`` of them or as many as there are, evenly apart."""
    count = min(count, frames.shape[1])
    chosen = torch.linspace(0, frames.shape[1] - 1, count).round().long()
    return assemble(frames[:, chosen], columns=count)
