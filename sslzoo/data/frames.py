"""A clip as a folder of pictures, one for each frame."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sslzoo.data.clips import LazyClip
from sslzoo.data.images import decode_image, picture_extensions, with_channels
from sslzoo.data.source import Unreadable


class Frames(LazyClip):
    """The pictures in a folder in the order of the numbers in their names. Picklable."""

    fps = 0.0

    def __init__(self, folder: Path, name: str) -> None:
        """``name`` is what messages call it."""
        self.folder, self.name = folder, name

    @cached_property
    def files(self) -> list[Path]:
        """
        Raises:
            Unreadable: if there are none.
        """
        try:
            files = frame_files(self.folder)
        except OSError as error:
            raise Unreadable(f"{self.name}: {error.strerror or error}") from error
        if not files:
            raise Unreadable(f"{self.name}: no pictures")
        return files

    @property
    def num_frames(self) -> int:  # type: ignore[override]  # read when it is asked for
        return len(self.files)

    def frames(self, index: Tensor, short_side: int = 0) -> Tensor:
        wanted, place = index.unique(return_inverse=True)
        frames = [self._frame(number, short_side) for number in wanted.tolist()]
        if len({frame.shape for frame in frames}) > 1:
            raise Unreadable(f"{self.name}: its frames are of several sizes")
        return torch.from_numpy(np.stack(frames))[place].permute(0, 3, 1, 2)

    def _frame(self, number: int, short_side: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        path = self.files[number]
        image = with_channels(decode_image(path, f"{self.name}/{path.name}"), 3)
        assert isinstance(image, Image.Image)
        if 0 < short_side < min(image.size):
            scale = short_side / min(image.size)
            width, height = (round(side * scale) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image)


def frame_files(folder: Path) -> list[Path]:
    """The pictures in ``folder``: frame 9 before frame 10, whether or not the numbers have leading zeros.

    Raises:
        OSError: if it cannot be read.
    """
    endings = picture_extensions()
    names = [name for name in os.listdir(folder) if not name.startswith(".")]
    pictures = [name for name in names if os.path.splitext(name)[1].lower() in endings]
    return [folder / name for name in sorted(pictures, key=_numbers_first)]


def _numbers_first(name: str) -> tuple[list[tuple[str, int]], str]:
    parts = re.split(r"(\d+)", name)
    return [(text, int(number or 0)) for text, number in zip(parts[::2], [*parts[1::2], ""], strict=True)], name
