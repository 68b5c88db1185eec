"""Images beside what people drew on them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from sslzoo.data.rows import Rows
from sslzoo.data.source import Annotation, Source, Unreadable
from sslzoo.data.tally import UnreadableTally
from sslzoo.views import Sample

_NOT_COUNTED = -1


class Annotations(ABC):
    """What people drew on some images, by the images' positions. Picklable."""

    class_names: tuple[str, ...]
    mask_names: tuple[str, ...]
    """As ``Source.mask_names``."""

    @abstractmethod
    def of(self, index: int, name: str, size: tuple[int, int]) -> Annotation:
        """The annotation of an image of ``size`` (W, H), which messages call ``name``.

        Raises:
            Unreadable: if it cannot be read, or does not fit the image.
        """

    @abstractmethod
    def things(self, index: int) -> tuple[Sequence[int], Sequence[bool]]:
        """The classes of all that is in an image, and whether each is ignored.

        Raises:
            Unreadable: if they cannot be read.
        """

    @abstractmethod
    def content(self, index: int) -> bytes:
        """What an image's annotation is made of, for a digest."""


class AnnotatedRows(Source):
    """Images with their annotations."""

    def __init__(self, images: Rows, annotations: Annotations) -> None:
        self.name, self.license = images.name, images.license
        self.class_names, self.mask_names = annotations.class_names or images.class_names, annotations.mask_names
        self._images, self._annotations = images, annotations

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> Sample:
        return self._images.read(index)

    def annotation(self, index: int) -> Annotation:
        return self._annotations.of(index, *self._images.name_and_size(index))

    def labels(self) -> Tensor:
        return self._labels if self._annotations.class_names else self._images.labels()

    @cached_property
    def _labels(self) -> Tensor:
        """Images whose annotation cannot be read are counted by the tally, and say nothing of any class."""
        labels = torch.zeros(len(self), len(self.class_names), dtype=torch.int64)
        tally = UnreadableTally(self.name, len(self))
        for index, row in enumerate(labels):
            try:
                classes, ignored = self._annotations.things(index)
            except Unreadable as error:
                row.fill_(_NOT_COUNTED)
                tally.add([str(error)], 1)
            else:
                row[list(classes)] = _NOT_COUNTED
                row[[label for label, unsure in zip(classes, ignored, strict=True) if not unsure]] = 1
        return labels

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the images' fingerprint, the names of the classes, and all annotations."""
        digest = hashlib.sha256(repr((self._images.fingerprint, self.class_names, self.mask_names)).encode())
        for index in range(len(self)):
            digest.update(self._annotations.content(index))
        return digest.hexdigest()
