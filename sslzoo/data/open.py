"""Opening a data set by its name, unless the name is one that an installed package brings."""

from __future__ import annotations

from pathlib import Path

from sslzoo.config import UsageError
from sslzoo.data import tables
from sslzoo.data.actions import ActionFolder
from sslzoo.data.coco import COCOFolder
from sslzoo.data.folder import Folder
from sslzoo.data.source import Source
from sslzoo.data.splits import default_split, parse_name
from sslzoo.data.stream import Stream
from sslzoo.data.voc import VOCFolder

_FOLDER, _FRAMES = "folder:", "frames:"


def open_source(name: str, *, image_column: str = "", label_column: str = "") -> Source:
    """``folder:PATH``, a local parquet or arrow file or folder, or a ``datasets`` id; ``D[split]`` picks a split.

    A folder laid out as PASCAL VOC's or COCO's has their splits, masks and boxes; one as UCF101's or HMDB51's their
    splits. ``frames:PATH`` is a folder in which clips are folders of pictures.

    Raises:
        UserError: in one line, if there is no such thing.
    """
    base, split = parse_name(name)
    if base.startswith((_FOLDER, _FRAMES)):
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
    if base.startswith((_FOLDER, _FRAMES)):
        raise UsageError(f"{base} is read in place, not downloaded: leave out --streaming")
    return tables.open_stream(base, split, image_column, label_column)


def split_names(name: str) -> list[str]:
    """The splits that ``name`` has, whichever it names."""
    base, _ = parse_name(name)
    if base.startswith((_FOLDER, _FRAMES)):
        return list(_folder(base).splits)
    return tables.split_names(base)


def _folder(base: str) -> VOCFolder | COCOFolder | ActionFolder | Folder:
    """As it is laid out: as that of a known data set, or else as folders of images, videos or sounds."""
    if base.startswith(_FRAMES):
        return Folder.scan(Path(base.removeprefix(_FRAMES)), frames=True)
    path = Path(base.removeprefix(_FOLDER))
    if VOCFolder.matches(path.expanduser()):
        return VOCFolder.scan(path)
    if ActionFolder.matches(path.expanduser()):
        return ActionFolder.scan(path)
    return COCOFolder.scan(path) if COCOFolder.matches(path.expanduser()) else Folder.scan(path)
