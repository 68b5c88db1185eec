"""Folders laid out as PASCAL VOC's (``VOCdevkit/VOC2007``): lists of images, an XML file per image, pictures of masks.

The splits are the lists in ``ImageSets/Main`` (train, val, trainval, test) and, with masks, those in
``ImageSets/Segmentation`` (segmentation_train, …).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

from sslzoo.config import UsageError, UserError
from sslzoo.data.annotated import AnnotatedRows, Annotations
from sslzoo.data.annotation import annotate, class_map
from sslzoo.data.images import decode_image, picture_extensions
from sslzoo.data.rows import rows_of_files
from sslzoo.data.source import Annotation, Source, Unreadable
from sslzoo.data.splits import check_split, slices

_IMAGES, _OBJECTS, _MASKS = "JPEGImages", "Annotations", "SegmentationClass"
_SEGMENTATION = "segmentation_"


@dataclass(frozen=True)
class VOCFolder:
    """Such a folder: for each of its splits the names of its images, without ending."""

    root: Path
    splits: dict[str, list[str]]
    class_names: tuple[str, ...]

    @staticmethod
    def matches(path: Path) -> bool:
        """Whether a folder is laid out so."""
        return (path / _IMAGES).is_dir() and (path / "ImageSets").is_dir()

    @classmethod
    def scan(cls, path: Path) -> VOCFolder:
        """Read all lists; and the classes of all objects, where no list is of a class.

        Raises:
            UserError: if there are no lists, or one cannot be read.
        """
        root = path.expanduser().resolve()
        lists = {kind: sorted((root / "ImageSets" / kind).glob("*.txt")) for kind in ("Main", "Segmentation")}
        of_classes = [file for file in lists["Main"] if _is_of_class(file)]
        splits = {file.stem: _first_words(file) for file in lists["Main"] if file not in of_classes}
        splits |= {_SEGMENTATION + file.stem: _first_words(file) for file in lists["Segmentation"]}
        if not splits:
            raise UsageError(f"folder {path} has no lists of images in ImageSets/Main or ImageSets/Segmentation")
        names = {file.stem.rpartition("_")[0] for file in of_classes} or _classes(root / _OBJECTS)
        return cls(root, splits, tuple(sorted(names)))

    @property
    def name(self) -> str:
        """Without the path, which is this machine's."""
        return f"folder:{self.root.name}"

    def open(self, split: str, image_column: str = "", label_column: str = "") -> Source:
        """The images of a split or a slice of one, with their annotations; masks only from lists of segmentation."""
        check_split(split, list(self.splits), self.name)
        parts = slices(split, {name: len(images) for name, images in self.splits.items()}, self.name)
        stems = [stem for name, part in parts for stem in self.splits[name][part.start : part.stop]]
        files = [self._files.get(stem, f"{_IMAGES}/{stem}.jpg") for stem in stems]
        images = rows_of_files(self.root, files, f"{self.name}[{split}]", image_column, label_column)
        masks = all(name.startswith(_SEGMENTATION) for name, _ in parts) and (self.root / _MASKS).is_dir()
        return AnnotatedRows(images, VOCAnnotations(self.root, stems, self.class_names, masks))

    @cached_property
    def _files(self) -> dict[str, str]:
        """Where the images lie, by their names without ending."""
        endings = picture_extensions()
        try:
            names = sorted(file.name for file in (self.root / _IMAGES).iterdir() if file.suffix.lower() in endings)
        except OSError as error:
            raise UserError(f"{_IMAGES} of {self.name} cannot be read: {error.strerror or error}") from error
        return {Path(name).stem: f"{_IMAGES}/{name}" for name in names}


@dataclass(frozen=True)
class Thing:
    """One object in an image."""

    name: str
    box: tuple[float, float, float, float]
    """Left, top, right, bottom: VOC counts pixels from 1, and its right and bottom ones are inside."""
    difficult: bool


class VOCAnnotations(Annotations):
    """Boxes from ``Annotations``, of which difficult ones are ignored; masks from ``SegmentationClass``.

    A mask numbers the classes in alphabetical order from 1, as VOC's do; 0 is the background.
    """

    def __init__(self, root: Path, stems: Sequence[str], class_names: tuple[str, ...], masks: bool) -> None:
        """``stems`` are the images' names without ending."""
        self.class_names = class_names
        self.mask_names = ("background", *class_names) if masks else ()
        self._root, self._stems = root, stems

    def of(self, index: int, name: str, size: tuple[int, int]) -> Annotation:
        things, mask = self._things(index), None
        if self.mask_names:
            place = self._place(_MASKS, index)
            mask = class_map(decode_image(self._root / place, place), place)
        return annotate(
            name,
            size,
            mask=mask,
            classes=len(self.mask_names),
            boxes=[thing.box for thing in things],
            labels=[self._label(thing, index) for thing in things],
            ignored=[thing.difficult for thing in things],
        )

    def things(self, index: int) -> tuple[Sequence[int], Sequence[bool]]:
        things = self._things(index)
        return [self._label(thing, index) for thing in things], [thing.difficult for thing in things]

    def content(self, index: int) -> bytes:
        folders = (_OBJECTS, _MASKS) if self.mask_names else (_OBJECTS,)
        files = [self._root / self._place(folder, index) for folder in folders]
        return b"".join(file.read_bytes() if file.is_file() else b"" for file in files)

    def _things(self, index: int) -> list[Thing]:
        place = self._place(_OBJECTS, index)
        return _things(self._root / place, place)

    def _place(self, folder: str, index: int) -> str:
        return f"{folder}/{self._stems[index]}.{'xml' if folder == _OBJECTS else 'png'}"

    def _label(self, thing: Thing, index: int) -> int:
        if thing.name not in self.class_names:
            place = self._place(_OBJECTS, index)
            raise Unreadable(
                f"{place}: {thing.name!r} is none of the {len(self.class_names)} classes of ImageSets/Main"
            )
        return self.class_names.index(thing.name)


def _is_of_class(file: Path) -> bool:
    """Whether a list says of images whether a class is in them (``000005 -1``), as those of a split do not."""
    return len(_text(file).strip().partition("\n")[0].split()) > 1


def _first_words(file: Path) -> list[str]:
    """Of each line that has any."""
    return [line.split()[0] for line in _text(file).splitlines() if line.strip()]


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(f"the list of images {file} cannot be read: {reason}") from error


def _classes(folder: Path) -> set[str]:
    """The classes of all objects; a file that cannot be read is met again when it is asked for."""
    found = set()
    for file in sorted(folder.glob("*.xml")):
        try:
            found |= {thing.name for thing in _things(file, file.name)}
        except Unreadable:
            continue
    return found


def _things(file: Path, name: str) -> list[Thing]:
    try:
        root = ElementTree.fromstring(file.read_bytes())
    except OSError as error:
        raise Unreadable(f"{name}: {error.strerror or error}") from error
    except ElementTree.ParseError as error:
        raise Unreadable(f"{name}: no XML ({error})") from error
    return [_thing(element, name) for element in root.findall("object")]


def _thing(element: ElementTree.Element, name: str) -> Thing:
    left, top, right, bottom = (element.findtext(f"bndbox/{side}", "") for side in ("xmin", "ymin", "xmax", "ymax"))
    try:
        return Thing(
            element.findtext("name", "").strip(),
            (float(left) - 1, float(top) - 1, float(right), float(bottom)),
            element.findtext("difficult", "0").strip() == "1",
        )
    except ValueError as error:
        raise Unreadable(f"{name}: an object has no box of numbers in <bndbox>") from error
