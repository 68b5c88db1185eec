"""Folders of image files: flat, nested, one folder per class, and any of these in one folder per split."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import datasets
import pyarrow as pa

from sslzoo.config import UsageError, UserError
from sslzoo.data.images import picture_extensions
from sslzoo.data.rows import Rows
from sslzoo.data.splits import PRETRAINING, TESTING, check_split, slices

_WHOLE = "train"


@dataclass(frozen=True)
class Folder:
    """The image files below ``root``, whose paths in ``splits`` start from there.

    The top directories are splits if two or more of them have a split's name (train, test, val, unlabeled, …), or the
    only one has; files beside them belong to none. Otherwise everything is the split ``train``.
    """

    root: Path
    splits: dict[str, list[str]]
    is_split: bool
    """Whether the top directories are splits."""

    @classmethod
    def scan(cls, path: Path) -> Folder:
        """Every picture below ``path`` in sorted order; hidden files, and those Pillow does not read, are left out.

        Raises:
            UserError: if it is not a folder, cannot be read, or holds no pictures.
        """
        root = path.expanduser().resolve()
        if not root.is_dir():
            raise UsageError(f"{path} is a file, not a folder" if root.exists() else f"there is no folder {path}")
        try:
            prefix = os.path.join(root, "")
            files = [file.removeprefix(prefix) for file in _pictures(str(root), picture_extensions())]
            "".join(files).encode()
        except OSError as error:
            raise UserError(f"folder {path} cannot be read: {error.filename}: {error.strerror}") from error
        except UnicodeEncodeError as error:
            raise UserError(f"folder {path} has file names that are not UTF-8: rename them") from error
        if not files:
            raise UsageError(f"folder {path} holds no images: no file has an ending such as .jpg, .png or .webp")
        tops = _tops(files)
        named = [top for top in tops if top in PRETRAINING + TESTING]
        is_split = len(named) >= 2 or (len(named) == 1 and len(tops) == 1)
        return cls(root, _by_top(files) if is_split else {_WHOLE: files}, is_split)

    @property
    def name(self) -> str:
        """Without the path, which is this machine's."""
        return f"folder:{self.root.name}"

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The directories inside the splits, over all splits in which every image lies in one and there are several."""
        names: set[str] = set()
        for split in self.splits:
            classes = self._classes(split)
            names |= classes if len(classes) > 1 else set()
        return tuple(sorted(names))

    def _classes(self, split: str) -> set[str]:
        """The first-level directories of a split; none if an image lies outside of them."""
        parts = [file.split(os.sep) for file in self.splits[split]]
        return {part[self.is_split] for part in parts} if min(map(len, parts)) > 1 + self.is_split else set()

    def open(self, split: str, image_column: str = "", label_column: str = "") -> Rows:
        """The images of a split or a slice of one, with their classes as labels where they have them."""
        check_split(split, list(self.splits), self.name)
        parts = slices(split, {name: len(files) for name, files in self.splits.items()}, self.name)
        files = [file for name, part in parts for file in self.splits[name][part.start : part.stop]]
        columns = {"image": pa.array(files, pa.string())}
        features = datasets.Features({"image": datasets.Image(decode=False)})
        classes = [self._classes(name) for name, _ in parts]
        if all(known and known <= set(self.class_names) for known in classes):
            number = {name: place for place, name in enumerate(self.class_names)}
            columns["label"] = pa.array([number[file.split(os.sep)[self.is_split]] for file in files], pa.int64())
            features["label"] = datasets.ClassLabel(names=list(self.class_names))
        table = datasets.Dataset.from_dict(columns, features=features)
        return Rows(table, f"{self.name}[{split}]", image_column, label_column, root=self.root)


def _pictures(directory: str, endings: frozenset[str]) -> Iterator[str]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not (entry.is_symlink() and _lies_in(directory, entry.path)):  # or it would never end
                yield from _pictures(entry.path, endings)
        elif os.path.splitext(entry.name)[1].lower() in endings:
            yield entry.path


def _lies_in(directory: str, other: str) -> bool:
    return Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(other))


def _tops(files: Sequence[str]) -> list[str]:
    """The top directories that hold pictures."""
    return sorted({file.split(os.sep)[0] for file in files if os.sep in file})


def _by_top(files: Sequence[str]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {top: [] for top in _tops(files)}
    for file in files:
        if os.sep in file:
            splits[file.split(os.sep)[0]].append(file)
    return splits
