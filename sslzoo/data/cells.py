"""The values of a column of images, videos or sounds: how they are read."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, Literal

import fsspec
import numpy as np
from PIL import Image
from torch import Tensor

from sslzoo.data.clips import LazyClip
from sslzoo.data.frames import Frames, frame_files
from sslzoo.data.images import decode_image, image_size
from sslzoo.data.sounds import decode_sound
from sslzoo.data.source import Unreadable
from sslzoo.data.video import Video
from sslzoo.views import Sample

Kind = Literal["image", "video", "audio"]
"""What all cells of a column are."""
_END = 2**16
"""Bytes of the beginning of a video or sound, and of its end, that tell it apart."""


def stored_path(value: Any) -> str | None:
    """The path that a cell's file had: of a remote one its place in the repo, of a machine's own the last part."""
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


def ends_of(value: dict[str, Any] | None, root: Path | None = None) -> bytes:
    """The beginning and the end of an encoded video or sound, or of the frames in a folder one after the other.

    Raises:
        OSError: if its file cannot be read, or it has none.
    """
    if value is None or value["bytes"] is not None or "://" in (value["path"] or ""):
        whole = bytes_of(value, root)
        return whole[:_END] + whole[-_END:]
    path = (root or Path()) / (value["path"] or "")
    files = frame_files(path) if path.is_dir() else [path]
    first, last = (files or [path])[0], (files or [path])[-1]
    with first.open("rb") as beginning, last.open("rb") as end:
        end.seek(max(0, size_on_disk(last) - _END))
        return beginning.read(_END) + end.read(_END)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all frames in a folder.

    Raises:
        OSError: if it is not there.
    """
    return sum(file.stat().st_size for file in frame_files(path)) if path.is_dir() else path.stat().st_size


def sample_of(value: Any, name: str, kind: Kind, root: Path | None = None) -> Sample:
    """The ``image``, the undecoded ``clip``, or the ``sound`` of a cell.

    Raises:
        Unreadable: ``name`` and the reason.
        UsageError: if what decodes videos and sounds is not installed.
    """
    if kind == "video":
        return {"clip": video_of(value, name, root)}
    return {"sound": sound_of(value, name, root)} if kind == "audio" else {"image": image_of(value, name, root)}


def image_of(value: Any, name: str, root: Path | None = None) -> Image.Image | np.ndarray:
    """The decoded image of a cell, or its array (H, W, C).

    Raises:
        Unreadable: ``name`` and the reason.
    """
    if not isinstance(value, dict | None):
        return np.asarray(value, dtype=np.uint8)
    return decode_image(_raw(value, name, root), name)


def video_of(value: dict[str, Any] | None, name: str, root: Path | None = None) -> LazyClip:
    """The video of a cell, which is not opened yet; a path may also be that of a folder of frames.

    Raises:
        Unreadable: ``name`` and the reason, if a remote one cannot be had.
        UsageError: if what decodes videos is not installed.
    """
    raw = _raw_or_path(value, name, root)
    return Frames(raw, name) if isinstance(raw, Path) and raw.is_dir() else Video(raw, name)


def sound_of(value: dict[str, Any] | None, name: str, root: Path | None = None) -> Tensor:
    """All of the sound of a cell, (N,) float32 mono at ``SOUND_RATE``.

    Raises:
        Unreadable: ``name`` and the reason.
        UsageError: if what decodes sounds is not installed.
    """
    return decode_sound(_raw_or_path(value, name, root), name)


def size_of(value: Any, name: str, root: Path | None = None) -> tuple[int, int]:
    """Width and height of what ``image_of`` gives, without decoding it.

    Raises:
        Unreadable: ``name`` and the reason.
    """
    if not isinstance(value, dict | None):
        height, width = np.shape(value)[:2]
        return width, height
    return image_size(_raw(value, name, root), name)


def _raw_or_path(value: dict[str, Any] | None, name: str, root: Path | None) -> bytes | Path:
    """A local file stays one, of which a decoder reads what it needs."""
    if value is not None and value["bytes"] is None and value["path"] and "://" not in value["path"]:
        return (root or Path()) / value["path"]
    return _raw(value, name, root)


def _raw(value: dict[str, Any] | None, name: str, root: Path | None) -> bytes:
    try:
        return bytes_of(value, root)
    except OSError as error:
        raise Unreadable(f"{name}: {error.strerror or error}") from error
