"""The columns of a table of images: which they are, and how a value of one is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import datasets
import fsspec
import numpy as np
from PIL import Image

from sslzoo.config import UsageError
from sslzoo.data.images import decode_image, image_size
from sslzoo.data.source import Unreadable

IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "pixel_values")
LABEL_NAMES = ("label", "labels", "fine_label", "class", "cls", "category", "target")


@dataclass(frozen=True)
class Columns:
    """The columns that are used. Nothing reads any other."""

    image: str
    label: str | None

    @classmethod
    def of(cls, features: Mapping[str, Any], name: str, image_column: str = "", label_column: str = "") -> Columns:
        """Recognised in a data set's ``features`` by name, else as the only one of its type; or as they are given.

        Raises:
            UsageError: for a column that does not exist or holds no images, and if no image column is recognised.
        """
        for given in filter(None, (image_column, label_column)):
            if given not in features:
                raise UsageError(unknown("column", given, features, name))
        label = label_column or _recognise(features, LABEL_NAMES, datasets.ClassLabel)
        return cls(_image_column(features, name, image_column), label)


def _image_column(features: Mapping[str, Any], name: str, given: str) -> str:
    images = {column: feature for column, feature in features.items() if _holds_images(feature)}
    if given:
        if given not in images:
            raise UsageError(f"column {given!r} of {name} holds {features[given]}, not images")
        return given
    found = _recognise(images, IMAGE_NAMES, datasets.Image)
    if found is None:
        what = f"several image columns ({', '.join(images)})" if images else f"no images among {', '.join(features)}"
        raise UsageError(f"{name} has {what}: choose a column with --image-column")
    return found


def _recognise(features: Mapping[str, Any], names: Iterable[str], kind: type) -> str | None:
    by_name = {column.lower(): column for column in features}
    for name in names:
        if name in by_name:
            return by_name[name]
    of_kind = [column for column, feature in features.items() if isinstance(feature, kind)]
    return of_kind[0] if len(of_kind) == 1 else None


def _holds_images(feature: Any) -> bool:
    """Encoded images (an Image, plain bytes, or bytes beside a path), or arrays (H, W, C) uint8."""
    if isinstance(feature, dict):
        feature = feature.get("bytes")
    if isinstance(feature, datasets.Array3D):
        return bool(feature.dtype == "uint8")
    if isinstance(feature, datasets.Value):
        return feature.dtype in {"binary", "large_binary"}
    return isinstance(feature, datasets.Image)


def unknown(kind: str, given: str, known: Iterable[str], name: str) -> str:
    """The line about a column, split or config of ``name`` that does not exist."""
    known = list(known)
    near = difflib.get_close_matches(given, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{name} has no {kind} {given!r}: {hint}it has {', '.join(known) or 'none'}"


def stored_path(value: Any) -> str | None:
    """The path that an image came with: of a remote one its place in the repo, of a machine's own the last part."""
    if not isinstance(value, dict) or not value["path"]:
        return None
    path = value["path"].split("::")[0].split("://")[-1]
    return PurePath(path).name if PurePath(path).is_absolute() else path


def bytes_of(value: dict[str, Any] | None, root: Path | None = None) -> bytes:
    """The encoded image of a cell ``{"bytes": …, "path": …}``; its path is local (in ``root``) or remote.

    Raises:
        OSError: if its file cannot be read, or it has none.
    """
    if value is None or (value["bytes"] is None and value["path"] is None):
        raise FileNotFoundError("the cell is empty")
    if value["bytes"] is not None:
        return value["bytes"]
    if "://" in value["path"]:
        with fsspec.open(value["path"], "rb") as file:
            return file.read()
    return (root or Path()).joinpath(value["path"]).read_bytes()


def image_of(value: Any, name: str, root: Path | None = None) -> Image.Image | np.ndarray:
    """The decoded image of a cell, or its array (H, W, C).

    Raises:
        Unreadable: ``name`` and the reason.
    """
    if not isinstance(value, dict | None):
        return np.asarray(value, dtype=np.uint8)
    return decode_image(_raw(value, name, root), name)


def size_of(value: Any, name: str, root: Path | None = None) -> tuple[int, int]:
    """Width and height of what ``image_of`` gives, without decoding it.

    Raises:
        Unreadable: ``name`` and the reason.
    """
    if not isinstance(value, dict | None):
        height, width = np.shape(value)[:2]
        return width, height
    return image_size(_raw(value, name, root), name)


def _raw(value: dict[str, Any] | None, name: str, root: Path | None) -> bytes:
    try:
        return bytes_of(value, root)
    except OSError as error:
        raise Unreadable(f"{name}: {error.strerror or error}") from error
