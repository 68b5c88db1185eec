"""The columns of a table of images or videos: which they are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import datasets

from sslzoo.config import UsageError

IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "pixel_values")
VIDEO_NAMES = ("video", "videos", "clip", "clips", "mp4", "avi", "mov", "mkv", "webm")
LABEL_NAMES = ("label", "labels", "fine_label", "class", "cls", "category", "target")


@dataclass(frozen=True)
class Columns:
    """The columns that are used. Nothing reads any other."""

    image: str
    label: str | None
    is_video: bool = False
    """Whether the first holds videos."""

    @classmethod
    def of(cls, features: Mapping[str, Any], name: str, image_column: str = "", label_column: str = "") -> Columns:
        """Recognised in a data set's ``features`` by name, else as the only one of its type; or as they are given.

        A column of videos is taken where there is none of images.

        Raises:
            UsageError: for a column that does not exist or holds neither, and if no column is recognised.
        """
        for given in filter(None, (image_column, label_column)):
            if given not in features:
                raise UsageError(unknown("column", given, features, name))
        label = label_column or _recognise(features, LABEL_NAMES, datasets.ClassLabel)
        return cls._with(features, name, image_column, label)

    @classmethod
    def _with(cls, features: Mapping[str, Any], name: str, given: str, label: str | None) -> Columns:
        videos = {column: feature for column, feature in features.items() if _holds_videos(column, feature)}
        others = {column: feature for column, feature in features.items() if column not in videos}
        images = {column: feature for column, feature in others.items() if _holds_images(feature)}
        if given:
            if given not in images | videos:
                raise UsageError(f"column {given!r} of {name} holds {features[given]}, not images or videos")
            return cls(given, label, given in videos)
        if found := _recognise(images, IMAGE_NAMES, datasets.Image):
            return cls(found, label)
        if not images and (found := _recognise(videos, VIDEO_NAMES, datasets.Video)):
            return cls(found, label, is_video=True)
        several = ", ".join(images | videos)
        what = f"several image columns ({several})" if several else f"no images among {', '.join(features)}"
        raise UsageError(f"{name} has {what}: choose a column with --image-column")


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


def _holds_videos(column: str, feature: Any) -> bool:
    """Encoded videos: of their own type, or bytes in a column that is called so."""
    if isinstance(feature, dict):
        feature = feature.get("bytes")
    named = column.lower() in VIDEO_NAMES
    return isinstance(feature, datasets.Video) or (
        named and isinstance(feature, datasets.Value) and feature.dtype in {"binary", "large_binary"}
    )


def unknown(kind: str, given: str, known: Iterable[str], name: str) -> str:
    """The line about a column, split or config of ``name`` that does not exist."""
    known = list(known)
    near = difflib.get_close_matches(given, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{name} has no {kind} {given!r}: {hint}it has {', '.join(known) or 'none'}"
