"""Build the embedded `cliparts` dataset from Debian's `openclipart-png` (public domain).

    apt-get install openclipart-png
    python scripts/build_cliparts.py --source /usr/share/openclipart/png --output sslzoo/datasets/cliparts

Every picture is cut to its content, shrunk to 96 pixels and kept with its alpha as lossy WebP. Blank, faint, tiny and
near-identical pictures are dropped. The splits follow STL-10: `train` and `test` are labelled from the folder names,
and `unlabeled` is everything that is not in `test`. Nothing is random: the same package gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features
from datasets import Image as ImageFeature
from PIL import Image

SIDE = 96  # pixels of the longest side; nothing is enlarged
SMALLEST = (24, 8)  # pixels of the longest and of the shortest side, below which nothing can be recognised
LARGEST = 170_000_000  # pixels of a source file; three files are larger, up to 29,700 x 20,990
FAINT = 0.02  # mean darkness on white (0 to 1), below which a picture is nearly invisible
SAME = 0.04  # root mean square difference of two signatures (0 to 1), below which two pictures are duplicates
ASPECT = 2800  # weight of the log aspect ratio in a signature: a tenth more width is as far as SAME
CAP = 75  # pictures of one label in one split
QUALITY = 88  # of the WebP colours; alpha is kept exactly

# What a label is made of: regular expressions over the names, relative to the source folder. The first match wins.
LABELS = {
    "arrow": r"shapes/arrows/|computer/buttons/(arrow|tasto_[3-6])",
    "bird": r"animals/birds/|animals/(pinguino|tux_head)|"
    r"unsorted/(Anatra|Colombo|Pinguino|colombo|gabbiano|papera|pennuto|struzzo)",
    "bug": r"animals/bugs/|animals/(mosquito|punaisa|scorpion)",
    "building": r"buildings/(homes/)?[^/]+$|computer/(building|residential_house)_zazou|"
    r"unsorted/(Condominio|azienda|fattoria|grattacieli|igloo)",
    "button": r"signs_and_symbols/led/|(computer/)?buttons/",
    "card": r"recreation/games/cards/(bordered|cardbacks|ornamental|simple|white)/",
    "dessert": r"food/desserts/|food/breads_and_carbs/(muffin|pancake)",
    "drink": r"food/beverages/",
    "flag": r"signs_and_symbols/flags/|geography/basque",
    "fruit": r"food/fruit/",
    "hardware": r"computer/(hardware|connectors)/|electronics/[^/]+$",
    "icon": r"computer/icons/flat-theme/",
    "mammal": r"animals/mammals/|animals/(bison|sailor_monkey|seal)|unsorted/(cammello|elefant|mucca|pecorella)",
    "meal": r"food/",
    "music": r"recreation/music/",
    "person": r"people/[^/]+$|unsorted/(ragazz|signorin|carpentiere|Traslocatore|donna)",
    "pictogram": r"signs_and_symbols/map_symbols/aiga",
    "plant": r"plants/|signs_and_symbols/map_symbols/(plant|tree)|unsorted/(foglie|ros[ae])",
    "sign": r"transportation/roadsigns/|signs_and_symbols/(hazard/|.*yve|Champ|Danger|Mati|Radi|Risq|Treb|Vehi)",
    "sport": r"recreation/sports/",
    "stickman": r"people/stickmen/",
    "vehicle": r"transportation/(vehicles/)?[^/]+$|unsorted/(ambulanza|betoniera|caterpillar)",
}
# In the folder of a label, but showing something else: kept without a label.
MISPLACED = r"XXX"
# Nothing to see: textures, and drawings whose picture was lost ("Linked Image Not Found").
DROPPED = r"special/|.*(duck_yellow_ii_|tux_didier|stylized_yoga)"


@dataclass
class Clipart:
    """A picture as it is published: its first name, its label and its pixels, RGBA."""

    name: str
    label: str | None
    image: Image.Image


def find(source: Path) -> Iterable[tuple[str, list[str]]]:
    """Every different file once, with all its names: the package links one file into several folders."""
    names = defaultdict(list)
    for file in sorted(source.rglob("*.png")):
        names[hashlib.sha256(file.read_bytes()).digest()].append(file.relative_to(source).as_posix())
    return names.values()


def label_of(names: list[str]) -> tuple[str, str | None]:
    """The name that carries a label, and the label; the first name if none does."""
    if not any(re.match(MISPLACED, name) for name in names):
        for label, pattern in LABELS.items():
            for name in names:
                if re.match(pattern, name):
                    return name, label
    return names[0], None


def on_white(image: Image.Image) -> np.ndarray:
    """The picture as it looks on white paper, `(H, W, 3)`, 0 to 255."""
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    return np.asarray(paper.convert("RGB"))


def cut(image: Image.Image, white_counts: bool) -> Image.Image | None:
    """Cut `image` to its content and shrink it to `SIDE`; None if nothing would be left to see.

    Pillow resizes RGBA in premultiplied alpha, so that hidden colours do not bleed into the outline.
    """
    image = image.convert("RGBA")
    content = image.getchannel("A").point(lambda alpha: 255 * (alpha > 8))
    if not white_counts and content.getextrema()[0] == 255:  # no alpha: cut a white margin instead
        content = image.convert("L").point(lambda grey: 255 * (grey < 248))
    box = content.getbbox()
    if box is None:
        return None
    image = image.crop(box)
    scale = SIDE / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=4)
    tiny = max(image.size) < SMALLEST[0] or min(image.size) < SMALLEST[1]
    faint = 1 - on_white(image).min(axis=2).mean() / 255 < FAINT
    return None if tiny or faint else image


def signature(image: Image.Image) -> np.ndarray:
    """What duplicates share: the picture on white, squashed to 16 x 16 RGB, and its aspect ratio; `(769,)` integers."""
    small = Image.fromarray(on_white(image)).resize((16, 16), Image.Resampling.BOX)
    return np.append(np.asarray(small, dtype=np.float64).ravel(), round(ASPECT * math.log(image.width / image.height)))


def unique(cliparts: list[Clipart]) -> list[Clipart]:
    """Drop every picture that looks like an earlier one. Labelled pictures come first, so they are the ones kept."""
    cliparts = sorted(cliparts, key=lambda clipart: (clipart.label is None, clipart.name))
    x = np.stack([signature(clipart.image) for clipart in cliparts])
    norms = (x**2).sum(axis=1)  # sums of integers below 2**53: exact, so no platform decides otherwise
    near = norms[:, None] + norms - 2 * x @ x.T < SAME**2 * 255**2 * (x.shape[1] - 1)
    kept = np.zeros(len(x), dtype=bool)
    for i in range(len(x)):
        kept[i] = not near[i, kept].any()
    return [clipart for clipart, keep in zip(cliparts, kept, strict=True) if keep]


def family(name: str) -> str:
    """What the variants of one drawing share: the start of the file name without number, colour or card style."""
    stem = re.sub(r"^(bordered|ornamental|simple|white)_", "", Path(name).stem)
    stem = re.sub(r"[_-](bw|bn|black|blue|brown|colou?r|gr[ae]y|green|orange|pink|purple|red|seagreen|white|yellow)"
                  r"(?=[_-]|$)", "", stem)
    return re.sub(r"[_\d]+$", "", stem)[:12]


def split(cliparts: list[Clipart]) -> dict[str, list[Clipart]]:
    """Share every label between `train` and `test`, whole families at a time, up to `CAP` each; large ones first."""
    splits: dict[str, list[Clipart]] = {"unlabeled": [], "train": [], "test": []}
    for label in LABELS:
        families = defaultdict(list)
        for clipart in cliparts:
            if clipart.label == label:
                families[family(clipart.name)].append(clipart)
        count = {"test": 0, "train": 0}
        order = {key: hashlib.sha256(f"{label}/{key}".encode()).digest() for key in families}
        for key in sorted(families, key=lambda key: (-len(families[key]), order[key])):
            side = min(count, key=lambda side: count[side])
            if count[side] + len(families[key]) <= CAP:
                splits[side] += families[key]
                count[side] += len(families[key])
    held_out = {clipart.name for clipart in splits["test"]}
    splits["unlabeled"] = [clipart for clipart in cliparts if clipart.name not in held_out]
    return {name: sorted(members, key=lambda clipart: clipart.name) for name, members in splits.items()}


def write(cliparts: list[Clipart], file: Path, labelled: bool) -> None:
    """Write parquet that `datasets` opens as pictures with their original names."""
    features = Features({"image": ImageFeature()} | ({"label": ClassLabel(names=list(LABELS))} if labelled else {}))
    rows = []
    for clipart in cliparts:
        buffer = io.BytesIO()
        clipart.image.save(buffer, "WEBP", quality=QUALITY, method=6)
        row = {"image": {"bytes": buffer.getvalue(), "path": clipart.name}}
        rows.append(row | ({"label": list(LABELS).index(clipart.label)} if labelled else {}))
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("/usr/share/openclipart/png"))
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "sslzoo/datasets/cliparts")
    arguments = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None  # LARGEST is checked instead

    cliparts = []
    for names in find(arguments.source):
        if any(re.match(DROPPED, name) for name in names):
            continue
        name, label = label_of(names)
        with Image.open(arguments.source / name) as image:
            if image.width * image.height <= LARGEST and (small := cut(image, white_counts=label == "flag")):
                cliparts.append(Clipart(name, label, small))
    splits = split(unique(cliparts))

    arguments.output.mkdir(parents=True, exist_ok=True)
    for split_name, members in splits.items():
        write(members, arguments.output / f"{split_name}.parquet", labelled=split_name != "unlabeled")
    print(f"{'label':12}{'train':>10}{'test':>10}{'unlabeled':>12}")
    for label in [*LABELS, None]:
        counts = [sum(clipart.label == label for clipart in splits[name]) for name in ("train", "test", "unlabeled")]
        print(f"{label or '(none)':12}{counts[0]:10}{counts[1]:10}{counts[2]:12}")


if __name__ == "__main__":
    main()
