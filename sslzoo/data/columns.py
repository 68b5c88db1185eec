"""The columns of a table of images, videos or sounds: which they are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import datasets

from sslzoo.config import UsageError
from sslzoo.data.cells import Kind

IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "pixel_values")
VIDEO_NAMES = ("video", "videos", "clip", "clips", "mp4", "avi", "mov", "mkv", "webm")
AUDIO_NAMES = ("audio", "sound", "audios", "sounds", "wav", "flac", "mp3", "ogg")
LABEL_NAMES = ("label", "labels", "fine_label", "class", "cls", "category", "target")
_KINDS: dict[Kind, tuple[tuple[str, ...], type]] = {
    "image": (IMAGE_NAMES, datasets.Image),
    "video": (VIDEO_NAMES, datasets.Video),
    "audio": (AUDIO_NAMES, datasets.Audio),
}
"""What their columns are called, and their type; a table's first kind is read."""


@dataclass(frozen=True)
class Columns:
    """The columns that are used. Nothing reads any other."""

    image: str
    label: str | None
    kind: Kind = "image"
    """What the first holds."""

    @classmethod
    def of(cls, features: Mapping[str, Any], name: str, image_column: str = "", label_column: str = "") -> Columns:
        """Recognised in a data set's ``features`` by name, else as the only one of its type; or as they are given.

        A column of videos is taken where there is none of images, and one of sounds where there is none of either.

        Raises:
            UsageError: for a column that does not exist or holds none of these, and if no column is recognised.
        """
        for given in filter(None, (image_column, label_column)):
            if given not in features:
                raise UsageError(unknown("column", given, features, name))
        label = label_column or _recognise(features, LABEL_NAMES, datasets.ClassLabel)
        return cls._with(features, name, image_column, label)

    @classmethod
    def _with(cls, features: Mapping[str, Any], name: str, given: str, label: str | None) -> Columns:
        kinds = {column: _kind(column, feature) for column, feature in features.items()}
        if given:
            if not (kind := kinds[given]):
                raise UsageError(f"column {given!r} of {name} holds {features[given]}, not images, videos or sounds")
            return cls(given, label, kind)
        for kind, (names, feature_of_kind) in _KINDS.items():
            of_kind = {column: features[column] for column in features if kinds[column] == kind}
            if found := _recognise(of_kind, names, feature_of_kind):
                return cls(found, label, kind)
            if of_kind:
                raise UsageError(
                    f"{name} has several {kind} columns ({', '.join(of_kind)}): choose a column with --image-column"
                )
        raise UsageError(
            f"{name} has no images, videos or sounds among {', '.join(features)}: choose a column with --image-column"
        )


def _recognise(features: Mapping[str, Any], names: Iterable[str], kind: type) -> str | None:
    by_name = {column.lower(): column for column in features}
    for name in names:
        if name in by_name:
            return by_name[name]
    of_kind = [column for column, feature in features.items() if isinstance(feature, kind)]
    return of_kind[0] if len(of_kind) == 1 else None


def _kind(column: str, feature: Any) -> Kind | None:
    """Encoded files of their own type, or as bytes: images, unless the column is called otherwise.

    Arrays (H, W, C) uint8 are images, too.
    """
    if isinstance(feature, dict):
        feature = feature.get("bytes")
    if isinstance(feature, datasets.Value) and feature.dtype in {"binary", "large_binary"}:
        return next((kind for kind, (names, _) in _KINDS.items() if column.lower() in names), "image")
    if isinstance(feature, datasets.Array3D) and feature.dtype == "uint8":
        return "image"
    return next((kind for kind, (_, of_kind) in _KINDS.items() if isinstance(feature, of_kind)), None)


def unknown(kind: str, given: str, known: Iterable[str], name: str) -> str:
    """The line about a column, split or config of ``name`` that does not exist."""
    known = list(known)
    near = difflib.get_close_matches(given, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{name} has no {kind} {given!r}: {hint}it has {', '.join(known) or 'none'}"
