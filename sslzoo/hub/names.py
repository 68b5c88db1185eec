"""Names as the Hub knows them."""

from __future__ import annotations

import re


def split_dataset(name: str) -> tuple[str, str | None, str | None]:
    """``org/name:config[train[:10%]]`` -> ``org/name``, ``config``, ``train[:10%]``."""
    base, bracket, split = name.partition("[")
    dataset, colon, config = base.partition(":")
    if colon and not _is_id(dataset):  # folder:flowers
        dataset, config = base, ""
    return dataset, config or None, split.removesuffix("]") if bracket else None


def hub_dataset(name: str) -> str | None:
    """The id on the Hub of a data set, which may be written with configuration and split; None if it is not there."""
    dataset = split_dataset(name)[0]
    return dataset if _is_id(dataset) and not dataset.endswith((".parquet", ".arrow")) else None


def hub_name(text: str) -> str:
    """Any text as the name of a repository."""
    name = re.sub(r"-{2,}|\.{2,}", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", text)).strip("-.")
    return name.removesuffix(".git")[:90] or "encoder"


def _is_id(name: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) is not None
