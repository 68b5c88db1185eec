"""Clips of which the optical flow is known: of a picture that moves as a whole."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from view_samples import draw_of

from sslzoo.method import Sample


def moved_sample(right: int, down: int, key: int = 1, frames: int = 2, size: int = 40) -> Sample:
    """Each frame shows the picture further ``right`` and ``down`` by so many pixels than the one before."""
    generator = torch.Generator().manual_seed(key % 2**31)
    reach = size + 2 * frames * max(abs(right), abs(down))
    coarse = torch.rand(1, 3, reach // 3, reach // 3, generator=generator)
    picture = F.interpolate(coarse, (reach, reach), mode="bicubic")[0].clamp(0, 1) * 255
    middle = (reach - size) // 2
    corners = [(middle - frame * down, middle - frame * right) for frame in range(frames)]
    clip = torch.stack([picture[:, top : top + size, left : left + size] for top, left in corners])
    flow = torch.tensor([right, down]).float()[:, None, None].expand(frames, 2, size, size).clone()
    flow[-1] = torch.nan
    return {"clip": clip.to(torch.uint8), "flow": flow, "index": 0, "key": key}


def moved_samples(*moves: tuple[int, int], size: int = 40) -> list[Sample]:
    keys = draw_of(len(moves)).key.tolist()
    return [
        {**moved_sample(*move, key=key, size=size), "index": index}
        for index, (key, move) in enumerate(zip(keys, moves, strict=True))
    ]
