"""Folders of images, videos or sounds: flat, nested, one folder per class, and any of these in one folder per split.

A clip may also be a folder of its frames, which looks like a class of images: such are read as ``frames:PATH``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from sslzoo.config import UsageError, UserError
from sslzoo.data.cells import Kind
from sslzoo.data.images import picture_extensions
from sslzoo.data.rows import Rows, rows_of_files
from sslzoo.data.sounds import SOUND_EXTENSIONS
from sslzoo.data.splits import PRETRAINING, TESTING, check_split, slices
from sslzoo.data.video import VIDEO_EXTENSIONS

_WHOLE = "train"
_PREFERRED: tuple[Kind, ...] = ("image", "video", "audio")
"""Of as many files of each kind."""


@dataclass(frozen=True)
class Folder:
    """The images, videos or sounds, or the folders of frames, below ``root``; paths in ``splits`` start from there.

    The top directories are splits if two or more of them have a split's name (train, test, val, unlabeled, …), or the
    only one has; files beside them belong to none. Otherwise everything is the split ``train``.
    """

    root: Path
    splits: dict[str, list[str]]
    is_split: bool
    """Whether the top directories are splits."""
    kind: Kind = "image"
    of_frames: bool = False
    """Whether each video is a folder of its frames."""

    @classmethod
    def scan(cls, path: Path, frames: bool = False) -> Folder:
        """Every picture, video or sound below ``path``, of whichever there are most, in sorted order.

        Hidden files, and those of other kinds, are left out. With ``frames`` every folder that directly holds pictures
        is one clip.

        Raises:
            UserError: if it is not a folder, cannot be read, or holds none.
        """
        root = path.expanduser().resolve()
        if not root.is_dir():
            raise UsageError(f"{path} is a file, not a folder" if root.exists() else f"there is no folder {path}")
        try:
            prefix = os.path.join(root, "")
            kinds = {ending: kind for ending, kind in _kinds().items() if not frames or kind == "image"}
            files = [file.removeprefix(prefix) for file in _files(str(root), kinds)]
            "".join(files).encode()
        except OSError as error:
            raise UserError(f"folder {path} cannot be read: {error.filename}: {error.strerror}") from error
        except UnicodeEncodeError as error:
            raise UserError(f"folder {path} has file names that are not UTF-8: rename them") from error
        if not files:
            raise UsageError(
                f"folder {path} holds no images, videos or sounds: "
                "no file has an ending such as .jpg, .png, .mp4 or .wav"
            )
        count: Counter[Kind] = Counter(kinds[_ending(file)] for file in files)
        kind: Kind = max(count, key=lambda one: (count[one], -_PREFERRED.index(one)))
        if len(count) > 1:
            files = [file for file in files if kinds[_ending(file)] == kind]
        if frames:
            kind, files = "video", sorted({os.path.dirname(file) for file in files} - {""})
            if not files:
                raise UsageError(f"folder {path} holds pictures, not folders of frames: write folder:{path}")
        tops = _tops(files)
        named = [top for top in tops if top in PRETRAINING + TESTING]
        is_split = len(named) >= 2 or (len(named) == 1 and len(tops) == 1)
        return cls(root, _by_top(files) if is_split else {_WHOLE: files}, is_split, kind, frames)

    @property
    def name(self) -> str:
        """Without the path, which is this machine's."""
        return f"{'frames' if self.of_frames else 'folder'}:{self.root.name}"

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The directories inside the splits, over all splits in which every sample is in one and there are several."""
        names: set[str] = set()
        for split in self.splits:
            classes = self._classes(split)
            names |= classes if len(classes) > 1 else set()
        return tuple(sorted(names))

    def _classes(self, split: str) -> set[str]:
        """The first-level directories of a split; none if a sample lies outside of them."""
        parts = [file.split(os.sep) for file in self.splits[split]]
        return {part[self.is_split] for part in parts} if min(map(len, parts)) > 1 + self.is_split else set()

    def open(self, split: str, image_column: str = "", label_column: str = "") -> Rows:
        """The samples of a split or a slice of one, with their classes as labels where they have them."""
        check_split(split, list(self.splits), self.name)
        parts = slices(split, {name: len(files) for name, files in self.splits.items()}, self.name)
        files = [file for name, part in parts for file in self.splits[name][part.start : part.stop]]
        labels = None
        if all(known and known <= set(self.class_names) for known in (self._classes(name) for name, _ in parts)):
            number = {name: place for place, name in enumerate(self.class_names)}
            labels = [number[file.split(os.sep)[self.is_split]] for file in files]
        return rows_of_files(
            self.root,
            files,
            f"{self.name}[{split}]",
            image_column,
            label_column,
            labels=labels,
            class_names=self.class_names,
            kind=self.kind,
        )


def _files(directory: str, endings: Container[str]) -> Iterator[str]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not (entry.is_symlink() and _lies_in(directory, entry.path)):  # or it would never end
                yield from _files(entry.path, endings)
        elif _ending(entry.name) in endings:
            yield entry.path


def _ending(file: str) -> str:
    return os.path.splitext(file)[1].lower()


@cache
def _kinds() -> dict[str, Kind]:
    """By file name ending."""
    endings: dict[Kind, frozenset[str]] = {
        "image": picture_extensions(),
        "video": VIDEO_EXTENSIONS,
        "audio": SOUND_EXTENSIONS,
    }
    return {ending: kind for kind in reversed(_PREFERRED) for ending in endings[kind]}


def _lies_in(directory: str, other: str) -> bool:
    return Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(other))


def _tops(files: Sequence[str]) -> list[str]:
    """The top directories that hold any."""
    return sorted({file.split(os.sep)[0] for file in files if os.sep in file})


def _by_top(files: Sequence[str]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {top: [] for top in _tops(files)}
    for file in files:
        if os.sep in file:
            splits[file.split(os.sep)[0]].append(file)
    return splits
