"""Human labels, read for evaluations only."""

from __future__ import annotations

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.data.source import Source


def class_names_of(labels: datasets.Dataset) -> tuple[str, ...]:
    """The classes of a table of one column: as it declares them, else its different texts in sorted order."""
    ((column, feature),) = labels.features.items()
    if isinstance(feature, datasets.ClassLabel):
        return tuple(feature.names or ())
    values = _column(labels)
    if _is_text(values.type):
        return tuple(sorted(value for value in pc.unique(values).to_pylist() if value is not None))
    return ()


def read_labels(labels: datasets.Dataset, class_names: tuple[str, ...], name: str) -> Tensor:
    """(N,) int64 of a table of one column; texts become their place in ``class_names``.

    Raises:
        UsageError: if the labels are neither whole numbers nor texts, or one is missing, negative or out of range.
    """
    values = _column(labels)
    if _is_text(values.type):
        values = pc.index_in(values, value_set=pa.array(class_names, values.type))
    elif not (pa.types.is_integer(values.type) or pa.types.is_boolean(values.type)):
        (column,) = labels.column_names
        raise UsageError(
            f"column {column!r} of {name} holds {values.type}: labels are one whole number or one text per sample; "
            "choose another with --label-column"
        )
    numbers = pc.fill_null(values.cast(pa.int64()), -1).to_numpy()
    missing = int((numbers < 0).sum())
    if missing:
        raise UsageError(f"{missing} of {len(numbers)} labels of {name} are missing or negative: use a labelled split")
    if class_names and numbers.max() >= len(class_names):
        raise UsageError(f"{name} has {len(class_names)} classes, but a label {numbers.max()}: its labels are broken")
    return torch.from_numpy(np.array(numbers))


def labels_as(source: Source, class_names: tuple[str, ...]) -> Tensor:
    """``source.labels()`` numbered by another split's ``class_names``: a split that lacks a class counts differently.

    Raises:
        UsageError: if it has no labels, or a class that the other split lacks.
    """
    labels = source.labels()
    if source.class_names == class_names:
        return labels
    strange = [name for name in source.class_names if name not in class_names]
    if strange or not source.class_names:
        what = ", ".join(strange) or "without names"
        raise UsageError(f"{source.name} has classes that the training labels lack: {what}")
    return torch.tensor([class_names.index(name) for name in source.class_names])[labels]


def raw_labels(labels: datasets.Dataset) -> bytes:
    """The labels as they are, of whatever type, for a digest."""
    values = _column(labels)
    if pa.types.is_integer(values.type):
        return pc.fill_null(values.cast(pa.int64()), -1).to_numpy().astype("<i8").tobytes()
    return repr(values.to_pylist()).encode()


def _column(labels: datasets.Dataset) -> pa.ChunkedArray:
    (column,) = labels.column_names
    return labels.with_format("arrow")[:].column(column)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
