"""A data set whose samples are the rows of a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.data.cells import Kind, bytes_of, ends_of, sample_of, size_of, size_on_disk, stored_path
from sslzoo.data.columns import Columns
from sslzoo.data.labels import class_names_of, raw_labels, read_labels
from sslzoo.data.source import Source
from sslzoo.views import Sample

_DIGESTED = 256
_ENCODED: dict[Kind, Any] = {
    "image": datasets.Image(decode=False),
    "video": datasets.Video(decode=False),
    "audio": datasets.Audio(decode=False),
}
Table = TypeVar("Table", datasets.Dataset, datasets.IterableDataset)


class Rows(Source):
    """The rows of a ``datasets.Dataset``. Only its image column is read, and its labels when they are asked for.

    The column may also be one of videos, which are the samples' ``clip`` then, decoded when frames are asked for; or of
    sounds.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        name: str,
        image_column: str = "",
        label_column: str = "",
        root: Path | None = None,
        license: str | None = None,
    ) -> None:
        """``root`` is the folder that the paths in the image column start from, where there is one.

        Raises:
            UsageError: if there are no rows, or the columns are not found.
        """
        if not len(dataset):
            raise UsageError(f"{name} has no samples")
        columns = Columns.of(dataset.features, name, image_column, label_column)
        self.name = name
        self.license = license
        self._root = root
        self._column = columns.image
        self._kind = columns.kind
        self._images = undecoded(dataset.with_format(None).select_columns([columns.image]), columns.kind)
        self._labels = dataset.with_format(None).select_columns([columns.label]) if columns.label else None
        self.class_names = class_names_of(self._labels) if self._labels else ()

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> Sample:
        value = self._images[index][self._column]
        return sample_of(value, self._name_of(value, index), self._kind, self._root)

    def name_and_size(self, index: int) -> tuple[str, tuple[int, int]]:
        """What messages call the image at ``index``, and its width and height, which are in the head of its file.

        Raises:
            Unreadable: if they cannot be read.
        """
        value = self._images[index][self._column]
        name = self._name_of(value, index)
        return name, size_of(value, name, self._root)

    def labels(self) -> Tensor:
        if self._labels is None:
            return super().labels()
        return read_labels(self._labels, self.class_names, self.name)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the number of rows, the class names, all labels, the size of every image, and 256 whole images.

        Of videos and sounds both ends stand for the whole. Wherever the files lie and however they are packed, the same
        images and labels in the same order give the same.
        """
        digest = hashlib.sha256(json.dumps([len(self), *self.class_names]).encode())
        digest.update(raw_labels(self._labels) if self._labels else b"")
        digest.update(self._sizes().astype("<i8").tobytes())
        for index in np.linspace(0, len(self) - 1, min(_DIGESTED, len(self))).astype(int):
            digest.update(self._content(int(index)))
        return digest.hexdigest()

    def _name_of(self, value: Any, index: int) -> str:
        """What the log calls an image: its path in the folder, else its row and the file it came from."""
        path = stored_path(value)
        if path and self._root:
            return path
        return f"row {index} ({path})" if path else f"row {index}"

    def _content(self, index: int) -> bytes:
        value = self._images[index][self._column]
        if not isinstance(value, dict | None):
            return np.asarray(value, dtype=np.uint8).tobytes()
        try:
            return bytes_of(value, self._root) if self._kind == "image" else ends_of(value, self._root)
        except OSError:
            return b""

    def _sizes(self) -> np.ndarray:
        """(N,) int64: bytes of every image; -1 for one that is not there; nothing for arrays, whose shape is fixed."""
        if isinstance(self._images.features[self._column], datasets.Array3D):
            return np.array(self._images.features[self._column].shape)
        sizes = []
        for table in self._images.with_format("arrow").iter(batch_size=1024):
            cells = table.column(self._column)
            paths = pc.struct_field(cells, "path")
            for size, path in zip(pc.binary_length(pc.struct_field(cells, "bytes")).to_pylist(), paths, strict=True):
                sizes.append(self._file_size(path.as_py()) if size is None else size)
        return np.array(sizes)

    def _file_size(self, path: str | None) -> int:
        try:
            return size_on_disk((self._root or Path()) / path) if path else -1
        except OSError:
            return -1


def rows_of_files(
    root: Path,
    files: Sequence[str],
    name: str,
    image_column: str = "",
    label_column: str = "",
    *,
    labels: Sequence[int] | None = None,
    class_names: Sequence[str] = (),
    kind: Kind = "image",
) -> Rows:
    """The images, videos or sounds whose paths in ``root`` are ``files``; without labels, unless they are given."""
    columns: dict[str, pa.Array] = {kind: pa.array(files, pa.string())}
    features = datasets.Features({kind: _ENCODED[kind]})
    if labels is not None:
        columns["label"] = pa.array(labels, pa.int64())
        features["label"] = datasets.ClassLabel(names=list(class_names))
    table = datasets.Dataset.from_dict(columns, features=features)
    return Rows(table, name, image_column, label_column, root=root)


def undecoded(images: Table, kind: Kind) -> Table:
    """A table of one column that gives encoded files, for decoding is ours; arrays stay as they are."""
    ((column, feature),) = images.features.items()
    if isinstance(feature, datasets.Array3D):
        return images
    return images.cast_column(column, _ENCODED[kind])
