"""The contract of a data set: raw samples by position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.views import Sample


class Unreadable(Exception):
    """One sample cannot be decoded. Its text is the sample's name and the reason."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """What people drew on one image, for evaluations only. Places are in pixels of the image as ``read`` gives it."""

    mask: Tensor | None = None
    """(H, W) uint8: positions in ``Source.mask_names``; 255 where nothing is to be scored."""
    boxes: Tensor | None = None
    """(N, 4) float32: left, top, right, bottom, with 0 <= left < right <= W."""
    labels: Tensor | None = None
    """(N,) int64: the classes of the boxes, positions in ``Source.class_names``."""
    ignored: Tensor | None = None
    """(N,) bool: boxes that count neither as found nor as missed (VOC's difficult, COCO's crowd); None if there are
    none."""


class Source(ABC):
    """One split of a data set. Picklable, because loader workers read from it."""

    name: str
    """How a user names it, with its split: ``cliparts[train]``. Never a path of this machine's."""
    license: str | None = None
    """SPDX-like identifier, where known."""
    class_names: tuple[str, ...] = ()
    """Names of the human labels, where there are any."""
    mask_names: tuple[str, ...] = ()
    """Names of the classes in masks, background too if it is one; empty if there are no masks."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def read(self, index: int) -> Sample:
        """The decoded sample at ``index``, without its human label. Its ``clip`` may be a ``data.clips.LazyClip``.

        Raises:
            Unreadable: if it cannot be decoded.
        """

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hexadecimal digest of the content: equal wherever the same data is read."""

    def labels(self) -> Tensor:
        """(N,) int64 human labels, for evaluations only; nothing is decoded.

        Where an image can have several labels, (N, K) int64 for K ``class_names``: 1 where it has one, 0 where not, -1
        where that is not to be counted (VOC's difficult objects, COCO's crowds, an annotation that cannot be read).

        Raises:
            UsageError: if there are none.
        """
        raise UsageError(f"{self.name} has no labels, which this evaluation needs")

    def annotation(self, index: int) -> Annotation:
        """The mask and the boxes of the sample at ``index``, for evaluations only.

        Raises:
            UsageError: if there are none.
            Unreadable: if they cannot be read, or do not fit the image.
        """
        raise UsageError(f"{self.name} has no masks or boxes, which this evaluation needs")


@dataclass(frozen=True)
class DatasetInfo:
    """What a named data set says of itself. Written as a literal, as ``MethodInfo`` is."""

    name: str
    """Entry-point name."""
    splits: tuple[str, ...]
    """The first is the default for pretraining."""
    modalities: tuple[str, ...]
    license: str
    homepage: str
    summary: str
    contract: int = 1
    """Version of the contract the data set was written for, as in ``MethodInfo``."""


class NamedDataset(ABC):
    """A data set that an installed package brings, found through the entry-point group ``sslzoo.datasets``."""

    info: ClassVar[DatasetInfo]

    @abstractmethod
    def open(self, split: str) -> Source:
        """One of ``info.splits``, or a slice of one such as ``train[:10%]``."""
