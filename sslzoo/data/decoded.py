"""Decoded pictures on disk, so that each is decoded once and not in every epoch of every run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import PIL
from filelock import FileLock
from PIL import Image
from torch import Tensor

from sslzoo.config import PretrainConfig, cache_folder
from sslzoo.data.images import with_channels
from sslzoo.data.source import Annotation, Source
from sslzoo.views import Sample

logger = logging.getLogger(__name__)

VERSION = 1
"""Of the files: another number where they are written in another way."""
MEMORY_SHARE, DISK_SHARE = 1 / 8, 1 / 4
"""If no limit is given: pictures are to stay in memory once they were read, and the disk is not to be filled."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_PLACE = struct.Struct("<QIIII")
"""Where a picture is: offset, height, width, channels (0: it is not there), CRC-32."""


class Decoded(Source):
    """A source whose samples are single pictures, each kept with its channels as asked for when it was first read.

    Workers and processes share the files: ``pixels``, to which they append under a lock, and ``places``, one record for
    each sample, written when its pixels are. A process checks each picture against its checksum when it first reads it,
    so whatever a crash left unfinished is decoded again. Samples that hold anything but a picture are left alone.
    """

    def __init__(self, source: Source, channels: int, limit: int) -> None:
        """``limit`` is in bytes, for all data sets together; those not used for longest make room."""
        self.source, self.channels, self.limit = source, channels, limit
        self.name, self.license = source.name, source.license
        self.class_names, self.mask_names = source.class_names, source.mask_names
        key = [VERSION, PIL.__version__, source.fingerprint, channels]
        self.folder = decoded_folder() / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
        self._files: _Files | None = None
        self._full = False
        self._checked = bytearray(len(source))

    def __len__(self) -> int:
        return len(self.source)

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint

    def labels(self) -> Tensor:
        return self.source.labels()

    def annotation(self, index: int) -> Annotation:
        return self.source.annotation(index)

    def read(self, index: int) -> Sample:
        image = None if self._full and self._files is None else self._kept(index)
        if image is not None:
            return {"image": image}
        sample = self.source.read(index)
        if not self._full and sample.keys() == {"image"} and isinstance(sample["image"], Image.Image):
            sample["image"] = with_channels(sample["image"], self.channels)
            self._keep(index, sample["image"])
        return sample

    def _kept(self, index: int) -> Image.Image | None:
        try:
            files = self._files = self._files or _Files.open(self.folder)
            place = os.pread(files.places, _PLACE.size, index * _PLACE.size)
            if len(place) < _PLACE.size:
                return None
            offset, height, width, channels, checksum = _PLACE.unpack(place)
            if channels != self.channels:
                return None
            pixels = os.pread(files.pixels, height * width * channels, offset)
        except OSError as error:
            self._give_up(error)
            return None
        if not self._checked[index]:
            if len(pixels) != height * width * channels or zlib.crc32(pixels) != checksum:
                return None
            self._checked[index] = True
        return Image.frombytes(_MODES[channels], (width, height), pixels)

    def _keep(self, index: int, image: Image.Image) -> None:
        pixels = image.tobytes()
        try:
            files = self._files = self._files or _Files.open(self.folder)
            offset = self._reserve(files, len(pixels))
            if offset is None:
                self._full = True
                return
            _write(files.pixels, pixels, offset)
            place = _PLACE.pack(offset, image.height, image.width, self.channels, zlib.crc32(pixels))
            _write(files.places, place, index * _PLACE.size)
        except OSError as error:
            self._give_up(error)

    def _reserve(self, files: _Files, size: int) -> int | None:
        """Where ``size`` bytes may be written; None if there is no room."""
        with FileLock(files.lock):
            end = os.fstat(files.pixels).st_size
            if not make_room(end + size, self.limit, but=self.folder):
                return None
            os.ftruncate(files.pixels, end + size)
            return end

    def _give_up(self, error: OSError) -> None:
        """Nothing is lost but time."""
        if not self._full:
            logger.warning("decoded pictures are not kept: %s: %s", self.folder.parent, error.strerror or error)
        self._full = True

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_files": None}


@dataclass(frozen=True)
class _Files:
    pixels: int
    places: int
    lock: Path

    @classmethod
    def open(cls, folder: Path) -> _Files:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # for whoever looks which was not used for longest
        flags = os.O_RDWR | os.O_CREAT
        pixels, places = (os.open(folder / name, flags, 0o644) for name in ("pixels", "places"))
        return cls(pixels, places, folder / "lock")

    def __del__(self) -> None:
        os.close(self.pixels)
        os.close(self.places)


T = TypeVar("T")


def keep_decoded(source: T, config: PretrainConfig) -> T | Source:
    """``source`` with its pictures kept, if it is one and ``config.cache`` has them kept."""
    limit = usual_limit() if config.cache < 0 else int(config.cache * 1e9)
    pays = config.cache > 0 or config.epochs > 1
    if not isinstance(source, Source) or not (limit and pays) or not hasattr(os, "pread"):
        return source
    return Decoded(source, config.channels, limit)


def _write(file: int, content: bytes, offset: int) -> None:
    written = 0
    while written < len(content):
        written += os.pwrite(file, content[written:], offset + written)


def decoded_folder() -> Path:
    """Where decoded pictures are kept."""
    return cache_folder() / "decoded"


def usual_limit() -> int:
    """Bytes that may be used where nobody says how many."""
    there = decoded_folder()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    disk = shutil.disk_usage(next(folder for folder in (there, *there.parents) if folder.exists()))
    return int(min(memory * MEMORY_SHARE, disk.free * DISK_SHARE + _used(there)))


def make_room(size: int, limit: int, but: Path) -> bool:
    """Whether ``size`` bytes fit below ``limit``, once the data sets not used for longest, all ``but`` one, had to go.

    A run that still reads one of these goes on: its files are gone from the folder, not from under it.
    """
    if size > limit:
        return False
    others = [folder for folder in but.parent.iterdir() if folder != but]
    others.sort(key=lambda folder: folder.stat().st_mtime)
    used = {folder: _used(folder) for folder in others}
    while sum(used.values()) + size > limit:
        folder = next(iter(used))
        shutil.rmtree(folder, ignore_errors=True)
        del used[folder]
    return True


def _used(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("pixels"))
