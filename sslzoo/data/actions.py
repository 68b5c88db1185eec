"""Folders of videos laid out as UCF101's or HMDB51's, with the official lists of what is trained and tested on.

There are three ways to split, of which the first is meant by ``train`` and ``test``; the others are ``train2`` and
``test2``, ``train3`` and ``test3``. Every list of a number is drawn from all videos, so the numbers are never mixed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sslzoo.config import UsageError, UserError
from sslzoo.data.rows import Rows, rows_of_files
from sslzoo.data.splits import check_split, slices

_UCF101, _HMDB51 = "ucfTrainTestlist", "testTrainMulti_7030_splits"
_HMDB51_LIST = re.compile(r"(.+)_test_split(\d)\.txt")
_HMDB51_PARTS = {"1": "train", "2": "test"}


@dataclass(frozen=True)
class ActionFolder:
    """Such a folder: for each of its splits the paths of its videos, ``class/name``."""

    root: Path
    videos: str
    """The folder in ``root`` with the folders of the classes."""
    splits: dict[str, list[str]]
    class_names: tuple[str, ...]

    @staticmethod
    def matches(path: Path) -> bool:
        """Whether a folder is laid out so."""
        return (path / _UCF101).is_dir() or (path / _HMDB51).is_dir()

    @classmethod
    def scan(cls, path: Path) -> ActionFolder:
        """Read all lists.

        Raises:
            UserError: if one cannot be read, there are none, or the videos are not there.
        """
        root = path.expanduser().resolve()
        try:
            read = _ucf101 if (root / _UCF101).is_dir() else _hmdb51
            splits = {name: files for name, files in sorted(read(root).items()) if files}
        except OSError as error:
            raise UserError(f"folder {path}: {Path(error.filename).name}: {error.strerror}") from error
        if "train" not in splits or "test" not in splits:
            raise UsageError(f"folder {path} has no lists of what is trained and tested on in {_UCF101} or {_HMDB51}")
        class_names = tuple(sorted({file.split("/")[0] for files in splits.values() for file in files}))
        places = ["", *sorted(entry.name for entry in root.iterdir() if entry.is_dir())]
        for place in places:
            if any((root / place / name).is_dir() for name in class_names):
                return cls(root, place, splits, class_names)
        raise UsageError(f"folder {path} has no folder {class_names[0]} of videos, nor one inside of another folder")

    @property
    def name(self) -> str:
        """Without the path, which is this machine's."""
        return f"folder:{self.root.name}"

    def open(self, split: str, image_column: str = "", label_column: str = "") -> Rows:
        """The videos of a split or a slice of one, with their classes as labels."""
        check_split(split, list(self.splits), self.name)
        parts = slices(split, {name: len(files) for name, files in self.splits.items()}, self.name)
        files = [file for name, part in parts for file in self.splits[name][part.start : part.stop]]
        number = {name: place for place, name in enumerate(self.class_names)}
        return rows_of_files(
            self.root / self.videos,
            files,
            f"{self.name}[{split}]",
            image_column,
            label_column,
            labels=[number[file.split("/")[0]] for file in files],
            class_names=self.class_names,
            kind="video",
        )


def _ucf101(root: Path) -> dict[str, list[str]]:
    """``trainlist01.txt`` has lines such as ``Archery/v_Archery_g08_c01.avi 3``, ``testlist01.txt`` the path only."""
    splits = {}
    for part in ("train", "test"):
        for file in (root / _UCF101).glob(f"{part}list0?.txt"):
            lines = [line.split() for line in file.read_text("utf-8").splitlines()]
            splits[_split(part, file.stem[-1])] = [words[0] for words in lines if words]
    return splits


def _hmdb51(root: Path) -> dict[str, list[str]]:
    """``wave_test_split1.txt`` has lines such as ``name.avi 1``: 1 is for training, 2 for testing, 0 for neither."""
    splits: dict[str, list[str]] = {}
    for file in sorted((root / _HMDB51).iterdir()):
        if found := _HMDB51_LIST.fullmatch(file.name):
            action, number = found.groups()
            for words in map(str.split, file.read_text("utf-8").splitlines()):
                if len(words) == 2 and words[1] in _HMDB51_PARTS:
                    splits.setdefault(_split(_HMDB51_PARTS[words[1]], number), []).append(f"{action}/{words[0]}")
    return splits


def _split(part: str, number: str) -> str:
    return part if number == "1" else part + number
