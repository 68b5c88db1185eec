"""Names of data sets with a split, such as ``cliparts[train]`` or ``org/name:config[train[:10%]]``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from datasets import ReadInstruction

from sslzoo.config import UsageError
from sslzoo.data.columns import unknown

PRETRAINING = ("unlabeled", "train")
TESTING = ("test", "validation", "valid", "val", "dev")
_LIST = re.compile(r"\b(?:train|test)([23]?)\b")


def parse_name(name: str) -> tuple[str, str | None]:
    """``D[split]`` as (``D``, ``split``), where a split may itself be a slice: ``D[train[:10%]]``.

    Raises:
        UsageError: if the brackets do not pair, or nothing stands in or before them.
    """
    if not name.endswith("]"):
        base, split = name, None
    else:
        start = _opening(name)
        base, split = name[:start], name[start + 1 : -1]
    if not base or split == "":
        raise UsageError(f"{name!r} names no data set and split: write D or D[split], such as cliparts[train[:10%]]")
    return base, split


def _opening(name: str) -> int:
    """Where the bracket opens that the last character closes."""
    depth = 0
    for place in range(len(name) - 1, -1, -1):
        depth += (name[place] == "]") - (name[place] == "[")
        if depth == 0:
            return place
    raise UsageError(f"the brackets of {name!r} do not pair: write D[split] or D[split[from:to]]")


def default_split(names: Sequence[str], name: str) -> str:
    """What to pretrain on if nothing is said: unlabeled, else train, else the only split.

    Raises:
        UsageError: if that leaves a choice.
    """
    for split in PRETRAINING:
        if split in names:
            return split
    if len(names) == 1:
        return names[0]
    raise UsageError(f"{name} has the splits {', '.join(names)}: choose one as {name}[{names[0]}]")


def default_test_split(names: Sequence[str], name: str, train: str = "") -> str:
    """What to test on if nothing is said: test, else validation (in its usual spellings).

    It is test2 if ``train`` is train2, for these are lists of one way to split all samples (UCF101, HMDB51).

    Raises:
        UsageError: if there is neither.
    """
    official = {"train2": "test2", "train3": "test3"}.get(train.split("[")[0], "")
    for split in (official, *TESTING):
        if split in names:
            return split
    raise UsageError(f"{name} has no test split, only {', '.join(names)}: name the split to test on")


def of_different_lists(train: str, test: str) -> bool:
    """Whether the numbers of two splits differ: train2 and test, where UCF101 and HMDB51 have test2 beside train2."""
    return len(set(_LIST.findall(f"{train} {test}"))) > 1


def check_split(split: str, names: Sequence[str], name: str) -> None:
    """That ``split`` is made of existing ones.

    Raises:
        UsageError: if it is not, or is no such expression as ``train[:10%]`` or ``train+test``.
    """
    for part in split.split("+"):
        wanted = part.split("[")[0].split("(")[0].strip()
        if wanted not in names:
            raise UsageError(unknown("split", wanted, names, name))
    slices(split, dict.fromkeys(names, 100), name)


def slices(split: str, lengths: Mapping[str, int], name: str) -> list[tuple[str, range]]:
    """The rows that ``split`` means, in the notation of ``datasets``: ``train[:10%]``, ``train[100:]``, ``train+test``.

    Raises:
        UsageError: if it is not in that notation.
    """
    try:
        parts = ReadInstruction.from_spec(split).to_absolute(lengths)
    except ValueError as error:  # how datasets says that it cannot read it
        raise UsageError(f"split {split!r} of {name}: {error}; write train[:10%], train[100:] or train+test") from error
    return [(part.splitname, range(part.from_, part.to)) for part in parts]
