"""Opening a data set by its name, unless the name is one that an installed package brings."""

from __future__ import annotations

from pathlib import Path

from sslzoo.config import UsageError
from sslzoo.data import tables
from sslzoo.data.coco import COCOFolder
from sslzoo.data.folder import Folder
from sslzoo.data.source import Source
from sslzoo.data.splits import default_split, parse_name
from sslzoo.data.stream import Stream
from sslzoo.data.voc import VOCFolder

_FOLDER = "folder:"


def open_source(name: str, *, image_column: str = "", label_column: str = "") -> Source:
    """``folder:PATH``, a local parquet or arrow file or folder, or a ``datasets`` id; ``D[split]`` picks a split.

    A folder laid out as PASCAL VOC's or COCO's has their splits, masks and boxes.

    Raises:
        UserError: in one line, if there is no such thing.
    """
    base, split = parse_name(name)
    if base.startswith(_FOLDER):
        folder = _folder(base)
        wanted = split or default_split(list(folder.splits), folder.name)
        return folder.open(wanted, image_column, label_column)
    return tables.open_rows(base, split, image_column, label_column)


def open_stream(name: str, *, image_column: str = "", label_column: str = "") -> Stream:
    """The same as a stream.

    Raises:
        UserError: in one line, if there is no such thing, or it is no stream.
    """
    base, split = parse_name(name)
    if base.startswith(_FOLDER):
        raise UsageError(f"{base} is read in place, not downloaded: leave out --streaming")
    return tables.open_stream(base, split, image_column, label_column)


def split_names(name: str) -> list[str]:
    """The splits that ``name`` has, whichever it names."""
    base, _ = parse_name(name)
    if base.startswith(_FOLDER):
        return list(_folder(base).splits)
    return tables.split_names(base)


def _folder(base: str) -> VOCFolder | COCOFolder | Folder:
    """As it is laid out: as PASCAL VOC's, as COCO's, or else as folders of images."""
    path = Path(base.removeprefix(_FOLDER))
    if VOCFolder.matches(path.expanduser()):
        return VOCFolder.scan(path)
    return COCOFolder.scan(path) if COCOFolder.matches(path.expanduser()) else Folder.scan(path)
