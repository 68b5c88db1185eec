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
SAME = 0.06  # root mean square difference of two signatures (0 to 1), below which two pictures are duplicates
ASPECT = 4200  # weight of the log aspect ratio in a signature: a tenth more width is as far as SAME
CAP = 60  # pictures of one label in one split
QUALITY, ALPHA_QUALITY = 75, 60  # of the WebP; more is 1 to 3 MB and looks the same at this size

# What a label is made of: a regular expression over names relative to the source folder, and one over what lies in
# those folders but shows something else (which stays unlabelled, or goes to a later label). The first match wins.
LABELS = {
    "arrow": (r"shapes/arrows/|computer/buttons/(arrow|tasto_[3-6])", r"arrowright_fud|cursor|reincarnate"),
    "bird": (
        r"animals/(birds/|pinguino|tux_head)|unsorted/(Anatra|[Cc]olombo|Pinguino|gabbiano|papera|pennuto|struzzo)",
        r"contour_bat|mirjam|turkey_on|wing_",
    ),
    "bug": (r"animals/(bugs/|mosquito|punaisa|scorpion)", ""),
    "building": (
        r"buildings/(homes/)?[^/]+$|computer/(building|residential_house)_zazou|unsorted/(Condominio|azienda|fattoria)",
        r"brick|capitello|houses_jon|old_sign|school_hallway|wall",
    ),
    "button": (r"signs_and_symbols/led/|(computer/)?buttons/", r"cubo|rainbow|shopping"),
    "card": (r"recreation/games/cards/(bordered|cardbacks|ornamental|simple|white)/", ""),
    "dessert": (r"food/desserts/|food/breads_and_carbs/(muffin|pancake)", ""),
    "drink": (
        r"food/beverages/|unsorted/biberon|office/cup_|signs_and_symbols/map_symbols/coffee",
        r"flower-pot|ice_?cube|ontologia|wine_corks",
    ),
    "flag": (
        r"signs_and_symbols/flags/",
        r"geography/|buildings/|ampel|arkansas_symb|citt_di|fleur_de|florence|inuit|route|semaphore|umbrella",
    ),
    "fruit": (r"food/fruit/", r"champignon|gumnut|juice|kallisti|slate|straw_tote|tree_|turkey"),
    "hardware": (r"computer/(connectors|hardware)/|electronics/[^/]+$", r"filmphoto|navigation|pfd_|saku"),
    "icon": (r"computer/icons/flat-theme/", ""),
    "mammal": (
        r"animals/(mammals/|bison|sailor_monkey|seal)|unsorted/(cammello|elefant|mucca|pecorella)",
        r"scrathing|sleeping_bear",
    ),
    "meal": (
        r"food/",
        r"beverages|champignon|chef|come_si|fondue|food_leif|fruit|frying|fuoco|gumnut|kallisti|libro_di|marshmallow|"
        r"meatgrinder|mix_cucina|ontologia|picnic|_plate[_.]|pumpkin|slate|straw|toque|tree_|wine_corks",
    ),
    "music": (r"recreation/music/", r"a_man|bach_|beethov|handel|jazz"),
    "pictogram": (r"signs_and_symbols/map_symbols/aiga", ""),
    "plant": (
        r"plants/|signs_and_symbols/map_symbols/(plant|tree)|unsorted/(foglie|ros[ae])",
        r"bowsaw|bypass|cayenne|human_|potato|xmas|christmas_balls",
    ),
    "sign": (
        r"transportation/(roadsigns/|(vehicles/)?(cross|curve|cycle_|no\.))|"
        r"signs_and_symbols/(.*_yve|.*_inflammable|Champ|Danger|Mati|Radi|Risq|Treb|Vehi|protection_|risque|sortie_)",
        r"ampel|dead_frogs|nws_|security_mark",
    ),
    "sport": (
        r"recreation/sports/|recreation/toys/(ball|beach)|unsorted/pesistica|people/(aerobic|fitness|pattin)",
        r"anelli|_cap_|binocul|golf_ganson|_net_|shoe|sportcar|ticket",
    ),
    "person": (
        r"people/[^/]+$|recreation/music/(a_man|bach|beet|hand)|"
        r"unsorted/(donna|ragazz|signorin|carpentiere|Traslocatore)",
        r"_eyes?_|baby_bottle|beach_trip|boy_symbol|camper|car_ride|eyes_|feet|fingerpr|fire_engine|gender|girl_symbol|"
        r"hand_print|handshake|icons_|reminder|safety_pin|sailing|samoa|skull|straw|symbolic|van_gogh|wedding_sign",
    ),
    "vehicle": (
        r"transportation/(vehicles/)?[^/]+$|transportation/boating/(boat_|sailboat)|"
        r"unsorted/(ambulanza|betoniera|caterpillar)",
        r"advert|ampel|anchor|arrow|departing|grain|lighthouse|no\.png|route|shelby|suitcase|street|wing_",
    ),
}
# Nothing to learn from: textures, plain strokes, drawings whose picture was lost ("Linked Image Not Found"); or nothing
# that should be handed on in a package.
DROPPED = (
    r"special/|computer/icons/flat-theme/action/(bar\d|pen_)|"
    r".*(creation_day_7|duck_yellow_ii_|stylized_yoga|tux_didier)|"
    r".*(elfish_girl|female_rollandin|sexy_lady|shadow_babe|simbol_donna|stripper|sunwheel)"
)
# In a file name: which of several versions of one drawing this is.
VARIANT = (
    r"^(bordered|ornamental|simple|white)_|"
    r"[_-](bw|bn|black|blue|brown|colou?r|gr[ae]y|green|orange|pink|purple|red|seagreen|white|yellow)(?=[_-]|$)"
)
NAMES = sorted(LABELS)


@dataclass
class Clipart:
    """A picture as it is published: its first name, its label and its pixels, RGBA."""

    name: str
    label: str | None
    image: Image.Image


def find(source: Path) -> list[list[str]]:
    """Every different file once, with all its names: the package links one file into several folders."""
    names = defaultdict(list)
    for file in sorted(source.rglob("*.png")):
        names[hashlib.sha256(file.read_bytes()).digest()].append(file.relative_to(source).as_posix())
    return list(names.values())


def label_of(names: list[str]) -> tuple[str, str | None]:
    """The name that carries a label, and the label; the first name if none does."""
    for label, (pattern, misplaced) in LABELS.items():
        labelled = [name for name in names if re.match(pattern, name)]
        if labelled and not (misplaced and any(re.search(misplaced, name) for name in names)):
            return labelled[0], label
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
    return re.sub(r"[_\d]+$", "", re.sub(VARIANT, "", Path(name).stem))[:12]


def split(cliparts: list[Clipart]) -> dict[str, list[Clipart]]:
    """Share every label between `train` and `test`, whole families at a time, up to `CAP` each; large ones first."""
    splits: dict[str, list[Clipart]] = {"unlabeled": [], "train": [], "test": []}
    for label in NAMES:
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
    features = Features({"image": ImageFeature()} | ({"label": ClassLabel(names=NAMES)} if labelled else {}))
    rows = []
    for clipart in cliparts:
        buffer = io.BytesIO()
        clipart.image.save(buffer, "WEBP", quality=QUALITY, alpha_quality=ALPHA_QUALITY)
        row = {"image": {"bytes": buffer.getvalue(), "path": clipart.name}}
        rows.append(row | ({"label": NAMES.index(clipart.label)} if labelled and clipart.label else {}))
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), file)


def summary(splits: dict[str, list[Clipart]], output: Path) -> str:
    """A Markdown table of how many pictures of which label are in which split, for the README."""
    lines = [["label", *splits], ["---", *("---:" for _ in splits)]]
    for label in [*NAMES, None]:
        counts = [sum(clipart.label == label for clipart in members) for members in splits.values()]
        lines.append([label or "(no label)", *map(str, counts)])
    lines.append(["all", *(str(len(members)) for members in splits.values())])
    lines.append(["MB", *(f"{(output / f'{name}.parquet').stat().st_size / 1e6:.1f}" for name in splits)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
            small = cut(image, white_counts=label == "flag") if image.width * image.height <= LARGEST else None
        if small is not None:
            cliparts.append(Clipart(name, label, small))
    splits = split(unique(cliparts))

    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, members in splits.items():
        write(members, arguments.output / f"{name}.parquet", labelled=name != "unlabeled")
    print(summary(splits, arguments.output))


if __name__ == "__main__":
    main()
