"""Images with their masks, boxes or depth, as an encoder takes them: fitted in whole, and with them what is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from sslzoo.config import UsageError, UserError
from sslzoo.data.loader import Loader, start_worker
from sslzoo.data.samples import read_sample
from sslzoo.data.source import Annotation, Source, Unreadable
from sslzoo.data.tally import UnreadableTally
from sslzoo.encoders import InputSpec
from sslzoo.views import Batch
from sslzoo.views.color import to_float
from sslzoo.views.crop import Interpolation, Size, image_sizes, resized_crop

IGNORED = 255
"""Of masks: where nothing is scored."""
_KEPT = 2**30
"""Bytes of decoded images that are not decoded again."""
_NOUNS = {"mask": ("masks", "cliparts-scenes"), "boxes": ("boxes", "cliparts-scenes"), "depth": ("depth", "world")}
"""Of each part of an annotation: what it is called, and data that have it."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """One image as an encoder takes it, and what is known of it."""

    index: int
    """Position in the data set."""
    image: Tensor
    """(C, H, W) uint8: the picture as large as fits at the top left, and the mean colour in what it leaves free."""
    size: Size
    """Height and width of the picture as it was read."""
    filled: Size
    """Height and width that it fills in ``image``."""
    annotation: Annotation
    """In pixels of the picture as it was read."""

    @property
    def scale(self) -> Tensor:
        """(4,) what boxes are multiplied with to be in pixels of ``image``."""
        (height, width), (high, wide) = self.size, self.filled
        return torch.tensor([wide / width, high / height] * 2)

    def mask(self) -> Tensor:
        """(H, W) int64 in pixels of ``image``, each the nearest of the mask that was drawn; 255 outside the picture."""
        drawn = cast(Tensor, self.annotation.mask)
        fitted = torch.full(self.image.shape[1:], IGNORED, dtype=torch.int64)
        high, wide = self.filled
        fitted[:high, :wide] = F.interpolate(drawn[None, None], self.filled, mode="nearest-exact")[0, 0]
        return fitted

    def depth(self) -> Tensor:
        """(H, W) in pixels of ``image``, each the nearest of those that are known; inf outside the picture."""
        known = cast(Tensor, self.annotation.depth)
        fitted = torch.full(self.image.shape[1:], torch.inf)
        high, wide = self.filled
        fitted[:high, :wide] = F.interpolate(known[None, None], self.filled, mode="nearest-exact")[0, 0]
        return fitted

    def boxes(self) -> tuple[Tensor, Tensor]:
        """Boxes (N, 4) in pixels of ``image`` and their classes (N,), without those to be ignored."""
        boxes, labels = cast(Tensor, self.annotation.boxes), cast(Tensor, self.annotation.labels)
        counted = ~ignored(self.annotation)
        return boxes[counted] * self.scale, labels[counted]


def ignored(annotation: Annotation) -> Tensor:
    """(N,) bool: which boxes count neither as found nor as missed."""
    if annotation.ignored is not None:
        return annotation.ignored
    return torch.zeros(len(cast(Tensor, annotation.boxes)), dtype=torch.bool)


class AnnotatedImages:
    """The samples of a source, fitted into the size of ``spec``, in batches of any order."""

    def __init__(self, source: Source, spec: InputSpec, part: str, workers: int = 0) -> None:
        """``part``, mask, boxes or depth, is what every sample must have.

        Raises:
            UserError: if there are no samples.
        """
        if len(source) == 0:
            raise UserError(f"{source.name} has no samples; choose another split or folder")
        self.source, self.workers = source, workers
        self.readable: set[int] = set()
        """Positions of those that were read so far."""
        self._samples = _Samples(source, spec, part)
        self._tally = UnreadableTally(source.name, len(source))

    def __len__(self) -> int:
        return len(self.source)

    def batches(self, order: Sequence[int], batch_size: int) -> Iterator[list[Annotated]]:
        """The readable samples of ``order``, ``batch_size`` at a time.

        Raises:
            UsageError: if they have no such part.
            UserError: if more than 1 % of the data set cannot be read.
        """
        split = [list(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]
        loader = Loader(
            self._samples,
            batch_sampler=split,
            collate_fn=_sort_out,
            num_workers=self.workers,
            generator=torch.Generator(),
            worker_init_fn=start_worker,
        )
        for batch in loader:
            self._tally.add(batch["unreadable"], len(batch["samples"]) + len(batch["unreadable"]))
            if batch["samples"]:
                self.readable |= {sample.index for sample in batch["samples"]}
                yield batch["samples"]


def stacked(samples: list[Annotated], device: torch.device, mirrored: Tensor | None = None) -> Tensor:
    """(B, C, H, W) images in [0, 1], not normalised; ``mirrored`` (B,) bool says which are turned round."""
    images = torch.stack([sample.image for sample in samples])
    if mirrored is not None:
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return to_float(images.to(device, non_blocking=True))


def same_names(train: Source, test: Source, part: str) -> tuple[str, ...]:
    """The class names of both splits' ``part``, mask or boxes.

    Raises:
        UsageError: if a split has none, or others than the other.
    """
    names = [source.mask_names if part == "mask" else source.class_names for source in (train, test)]
    for source, own in zip((train, test), names, strict=True):
        if not own:
            raise without(source, part)
    if names[0] != names[1]:
        different = sorted(set(names[0]) ^ set(names[1]))
        reason = f"they differ in {', '.join(different[:5])}" if different else "their order differs"
        raise UsageError(
            f"{train.name} and {test.name} do not have the same classes: {reason}; choose splits of one data set"
        )
    return names[0]


def by_name(names: Sequence[str], values: Tensor) -> dict[str, float]:
    """``values`` (K,) by the names of the classes, without those that are NaN."""
    return {name: value for name, value in zip(names, values.tolist(), strict=True) if not math.isnan(value)}


def class_colors(classes: int) -> Tensor:
    """(K, 3) in [0, 1]: twenty colours, taken round."""
    from matplotlib import colormaps

    return torch.tensor(colormaps["tab20"](np.arange(classes) % 20)[:, :3], dtype=torch.float32)


def without(source: Source, part: str) -> UsageError:
    """The error of a source whose samples lack this part of an annotation: mask, boxes or depth."""
    noun, known = _NOUNS[part]
    return UsageError(
        f"{source.name} has no {noun}, which this evaluation needs; choose a data set that has, as {known}"
    )


class _Samples(Dataset):
    """A source by position. As many as fit into ``_KEPT`` are read once."""

    def __init__(self, source: Source, spec: InputSpec, part: str) -> None:
        self.source, self.spec, self.part = source, spec, part
        self._kept: dict[int, Annotated] = {}
        self._room = _KEPT

    def __getitems__(self, indices: Sequence[int]) -> list[Annotated | Unreadable] | UserError:
        read: list[Annotated | Unreadable] = []
        for index in indices:
            try:
                read.append(self._kept.get(index) or self._read(index))
            except Unreadable as error:
                read.append(error)
            except UserError as error:
                return error
        return read

    def _read(self, index: int) -> Annotated:
        image = read_sample(self.source, index, 0, self.spec.size[0])["image"]
        annotation = self.source.annotation(index)
        if getattr(annotation, self.part) is None:
            raise without(self.source, self.part)
        size = cast(Size, tuple(image_sizes([image])[0].tolist()))
        share = min(self.spec.size[1] / size[0], self.spec.size[2] / size[1])
        filled = max(1, round(share * size[0])), max(1, round(share * size[1]))
        mean = torch.tensor([round(255 * value) for value in self.spec.mean], dtype=torch.uint8)
        fitted = mean[:, None, None].repeat(1, *self.spec.size[1:])
        whole = torch.tensor([[0, 0, *size]])
        interpolation = cast(Interpolation, self.spec.interpolation)
        fitted[:, : filled[0], : filled[1]] = resized_crop([image], whole, torch.tensor([False]), filled, interpolation)
        sample = Annotated(index, fitted, size, filled, annotation)
        self._room -= fitted.numel() + size[0] * size[1] * (4 if self.part == "depth" else 1)
        if self._room > 0:
            self._kept[index] = sample
        return sample


def _sort_out(read: list[Annotated | Unreadable] | UserError) -> Batch:
    if isinstance(read, UserError):
        return {"error": read}
    samples = [sample for sample in read if isinstance(sample, Annotated)]
    return {"samples": samples, "unreadable": [str(sample) for sample in read if isinstance(sample, Unreadable)]}
