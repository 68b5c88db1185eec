"""The data side of a method: from decoded samples to the tensors its ``forward`` reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from sslzoo.views.keyed import Draw

if TYPE_CHECKING:
    from sslzoo.views.clips import ClipSampling

Sample = dict[str, Any]
"""One decoded sample: ``image`` (PIL, or (C, H, W) uint8), ``clip``, ``audio``, …, with ``index`` and ``key`` (int).

What belongs to a clip is listed in ``views/clips.py``. There is never a human label in it.
"""

Batch = dict[str, Any]
"""Tensors with the batch first: ``views`` (a list, one (B, ...) per view), ``target``, …, ``index``, ``key`` (B,)."""


class Views(ABC):
    """Turns samples into a batch in two halves. Must be picklable: it travels to the loader's workers."""

    sampling: ClipSampling | None = None
    """The frames of a clip that ``crop`` is given; None gives clips as they are, and 16 frames of a video file."""

    @abstractmethod
    def crop(self, samples: list[Sample]) -> Batch:
        """Decoded samples of any size in, uint8 tensors of one size out. Runs in the loader's workers."""

    def augment(self, batch: Batch) -> Batch:
        """Colour, blur, masks, pseudo-labels: a batched tensor function with the same result on every device."""
        return batch

    def __call__(self, samples: list[Sample]) -> Batch:
        """Both halves in a row."""
        return self.augment(collate(self, samples))


def draw_for(samples: list[Sample]) -> Draw:
    """The random numbers of these samples, for use in ``crop``; in ``augment`` it is ``Draw(batch["key"])``."""
    return Draw(torch.tensor([sample["key"] for sample in samples], dtype=torch.int64))


def collate(views: Views, samples: list[Sample]) -> Batch:
    """``views.crop``, with ``index`` and ``key`` of the samples carried along."""
    batch = views.crop(samples)
    batch["index"] = torch.tensor([sample["index"] for sample in samples])
    batch["key"] = torch.tensor([sample["key"] for sample in samples], dtype=torch.int64)
    return batch
