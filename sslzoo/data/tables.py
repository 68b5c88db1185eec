"""Tables that ``datasets`` opens: ids of the Hub, local parquet and arrow files, ``save_to_disk`` folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetNotFoundError, DatasetsError
from huggingface_hub.errors import HfHubHTTPError

from sslzoo.config import UsageError, UserError
from sslzoo.data.annotated_tables import open_table
from sslzoo.data.columns import unknown
from sslzoo.data.source import Source
from sslzoo.data.splits import check_split, default_split, slices
from sslzoo.data.stream import Stream

_SUFFIXES = {".parquet": "parquet", ".arrow": "arrow"}


def open_rows(base: str, split: str | None, image_column: str = "", label_column: str = "") -> Source:
    """A table, downloaded and unpacked if need be; its default split if none is named.

    Raises:
        UserError: if it cannot be had.
    """
    name, license = display_name(base), None
    if is_saved(base):
        tables = saved_tables(base)
        split = _checked(split, list(tables), name)
        parts = slices(split, {key: len(table) for key, table in tables.items()}, name)
        table = datasets.concatenate_datasets([tables[key].select(part) for key, part in parts])
    else:
        builder = builder_of(base)
        split = _checked(split, split_names_of(builder), name)
        with _one_line(base):
            builder.download_and_prepare()
            table = builder.as_dataset(split=split)
        license = builder.info.license or None
    return open_table(table, f"{name}[{split}]", image_column, label_column, license=license)


def open_stream(base: str, split: str | None, image_column: str = "", label_column: str = "") -> Stream:
    """A table, read from its first row to its last without being downloaded whole.

    Raises:
        UserError: if it cannot be had, or not as a stream.
    """
    name = display_name(base)
    if is_saved(base):
        raise UsageError(f"{name} is on this disk and read in place: leave out --streaming")
    builder = builder_of(base)
    splits = split_names_of(builder)
    split = _checked(split, splits, name)
    if split not in splits:
        raise UsageError(f"a stream cannot be sliced: name a whole split of {name} ({', '.join(splits)}), not {split}")
    if hasattr(builder.config, "decode_num_threads"):
        builder.config.decode_num_threads = 0  # or threads of this process would decode ahead
    with _one_line(base):
        table = builder.as_streaming_dataset(split=split)
    known = (builder.info.splits or {}).get(split)
    return Stream(
        table,
        f"{name}[{split}]",
        length=known.num_examples if known else 0,
        identity=[name, builder.config.name, split, *_version(builder, split)],
        license=builder.info.license or None,
        image_column=image_column,
        label_column=label_column,
    )


def split_names(base: str) -> list[str]:
    """The splits of a table, without downloading it."""
    return list(saved_tables(base)) if is_saved(base) else split_names_of(builder_of(base))


def is_saved(base: str) -> bool:
    """Whether it is a folder that ``save_to_disk`` wrote."""
    folder = Path(base).expanduser()
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def saved_tables(base: str) -> dict[str, datasets.Dataset]:
    """What ``save_to_disk`` wrote, by split; a table saved alone is the split it was, or else train."""
    with _one_line(base):
        saved = datasets.load_from_disk(str(Path(base).expanduser()))
    return dict(saved) if isinstance(saved, dict) else {str(saved.split or "train"): saved}


def builder_of(base: str) -> datasets.DatasetBuilder:
    """What ``datasets`` knows of ``path``, ``org/name`` or ``org/name:config``; no data is loaded.

    Raises:
        UserError: if there is no such thing, or it cannot be reached.
    """
    path = Path(base).expanduser()
    with _one_line(base):
        if path.suffix in _SUFFIXES and path.is_file():
            return datasets.load_dataset_builder(_SUFFIXES[path.suffix], data_files={"train": [str(path)]})
        if path.is_dir():
            builder = datasets.load_dataset_builder(str(path))
        elif path.exists() or path.suffix in _SUFFIXES or base.startswith((".", "/", "~")):
            raise UsageError(f"{base} is no parquet or arrow file, nor a folder of them")
        else:
            return _hub_builder(*base.partition(":")[::2])
    if builder.name in ("imagefolder", "videofolder", "audiofolder"):
        raise UsageError(f"{base} holds {builder.name.removesuffix('folder')} files: write folder:{base}")
    return builder


def _hub_builder(name: str, config: str) -> datasets.DatasetBuilder:
    try:
        return datasets.load_dataset_builder(name, config or None)
    except ValueError:
        configs = datasets.get_dataset_config_names(name)
        if config in configs or len(configs) == 1:
            raise  # about something else
        which = unknown("config", config, configs, name) if config else f"{name} has the configs {', '.join(configs)}"
        raise UsageError(f"{which}; write {name}:{configs[0]}") from None


def split_names_of(builder: datasets.DatasetBuilder) -> list[str]:
    """As its card declares them, or else as its files are laid out."""
    return [str(split) for split in builder.info.splits or builder.config.data_files or {}]


def display_name(base: str) -> str:
    """The id, or the last part of a path: the rest of it is this machine's."""
    path = Path(base).expanduser()
    return path.resolve().name if path.exists() else base


def _checked(split: str | None, names: list[str], name: str) -> str:
    if split is None:
        return default_split(names, name)
    check_split(split, names, name)
    return split


def _version(builder: Any, split: str) -> list[str]:
    """The commit of a Hub repo; the names and sizes of local files."""
    files = [Path(file) for file in (builder.config.data_files or {}).get(split, [])]
    if builder.repo_id or not all(file.is_file() for file in files):
        return [str(builder.hash)]
    return [f"{file.name} {file.stat().st_size}" for file in files]


@contextmanager
def _one_line(base: str) -> Iterator[None]:
    """Turn what ``datasets`` and the Hub's client raise into one line that says what to do."""
    try:
        yield
    except DatasetNotFoundError as error:
        raise UsageError(
            f"the Hub has no data set {base!r}, or it is private or gated (log in with hf auth login); "
            "a folder of images is written folder:PATH"
        ) from error
    except ConnectionError as error:
        raise UserError(
            f"the Hub cannot be reached for the data set {base!r}, and it is not in the cache: check the network; "
            "a folder of images is written folder:PATH"
        ) from error
    except (DatasetsError, HfHubHTTPError, FileNotFoundError, ValueError, RuntimeError) as error:
        # datasets raises these builtins too: an unknown config, a folder without data, a repo with a loading script
        cause = error.__cause__ or error
        raise UserError(f"data set {base!r} cannot be opened: {' '.join(str(cause).split())}") from error
