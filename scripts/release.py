"""Released encoders: from finished runs to ``model_cards/``, and the check that they are what they say.

    python scripts/release.py add RUN...       evaluate what was not, verify, and embed what `sslzoo push` would send
    python scripts/release.py refresh          render the cards, and the table of the README, as today's code does
    python scripts/release.py check            is each folder what today's code would write, and what was trained?
    python scripts/release.py rebuild NAME...  pretrain by the recorded recipe again, and compare

``model_cards/<method>_<encoder>_<dataset>/`` is, file by file, the repository ``sslzoo/<method>_<encoder>_<dataset>``
of the Hub, and an entry of ``hubconf.py``. Weights that would make it larger than 4 MB are on the Hub only.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import tyro

import sslzoo
from sslzoo.card import write_card
from sslzoo.cli.models import markdown
from sslzoo.config import PretrainConfig, UserError
from sslzoo.encoders.video import is_video
from sslzoo.hub.index import released_here
from sslzoo.hub.layout import SOUND_ENCODER, move_encoder_into_run, published_files
from sslzoo.hub.load import load_folder
from sslzoo.hub.timm_config import build_encoder, read_config
from sslzoo.hub.weights import WEIGHTS, write_weights
from sslzoo.recipes import default_out
from sslzoo.record import read_record, restore_config
from sslzoo.registry import evaluations, methods
from sslzoo.report import read_report

ROOT = Path(__file__).resolve().parents[1]
CARDS, README = ROOT / "model_cards", ROOT / "README.md"
ORGANISATION = "sslzoo"
LIMIT = 4_000_000
"""Bytes of a folder, which may hold two encoders: what is committed stays in the repository's history for good."""
OF_IMAGES = (("knn", "cliparts"), ("linear", "cliparts"))
OF_CLIPS, OF_SOUNDS = (("action", "world-actions"), ("action", "world")), (("audio", "world"),)
"""Evaluations, each with its data: of encoders of images, of those that were pretrained on clips, and of sounds."""
TABLE = re.compile(r"(<!-- released: .*? -->\n).*?(<!-- /released -->)", re.DOTALL)


def add(runs: tyro.conf.Positional[tuple[Path, ...]], cards: Path = CARDS, replace: bool = False) -> None:
    """Release finished runs.

    Args:
        runs: folders of finished runs; evaluations that are missing are written into them.
        cards: folder of the released encoders.
        replace: put a run in the place of another that has its name.
    """
    named: dict[str, Path] = {}
    for run in runs:  # before any of them is evaluated
        record = record_of(run)
        name = name_of(record)
        if name in named:
            raise UserError(f"{named[name]} and {run} would both be {name}; release one of them")
        taken = read_record(cards / name)
        if taken and taken["id"] != record["id"] and not replace:
            raise UserError(f"{cards / name} is of another run than {run}; leave that out, or add --replace")
        named[name] = run
    for name, run in named.items():
        for evaluation, dataset in lacking(run):
            sslzoo.evaluate(evaluation, run, dataset)
        for check in sslzoo.verify(run):
            if not check.ok:
                raise UserError(f"{run} is not released: {check.name}: {check.detail}")
        write_card(run, f"{ORGANISATION}/{name}")
        embed(run, cards / name)
        kept = (cards / name / WEIGHTS).exists()
        print(cards / name, "" if kept else f"(without weights: sslzoo push {run} {ORGANISATION}/{name})")


def refresh(cards: Path = CARDS, readme: Path = README) -> None:
    """Render every card, and the table of released encoders, as today's code does.

    Args:
        cards: folder of the released encoders.
        readme: the file with the table.
    """
    for folder in released(cards):
        with as_run(folder) as run:
            embed(run, folder)
    text = readme.read_text(encoding="utf-8")
    readme.write_text(TABLE.sub(lambda found: found[1] + table(cards) + "\n" + found[2], text), encoding="utf-8")


def check(cards: Path = CARDS) -> None:
    """Say what is wrong with the released encoders; the exit code is 1 if anything is.

    Args:
        cards: folder of the released encoders.
    """
    found = [f"{folder.name}: {complaint}" for folder in released(cards) for complaint in complaints(folder)]
    if found:
        raise SystemExit("\n".join(found))
    print(f"{len(released(cards))} released encoders are in order")


def rebuild(names: tyro.conf.Positional[tuple[str, ...]] = (), cards: Path = CARDS, out: Path | None = None) -> None:
    """Pretrain again by the recorded recipe. The exit code is 1 if any encoder is not the same, bit for bit.

    Args:
        names: of released encoders; all if not given.
        cards: folder of the released encoders.
        out: keep the runs here; one that was interrupted goes on.
    """
    different = 0
    for folder in [cards / name for name in names] or released(cards):
        with TemporaryDirectory() as temporary:
            run = pretrained_again(folder, (out or Path(temporary)) / folder.name)
            differences = list(compared(folder, run))
        print(f"{folder.name}: {'; '.join(differences) or 'equal bit for bit'}", flush=True)
        different += bool(differences)
    if different:
        raise SystemExit(f"{different} of them differ")


def released(cards: Path) -> list[Path]:
    """The folders of all released encoders."""
    return sorted(cards.glob("[!.]*"))


def record_of(run: Path) -> dict[str, Any]:
    record = read_record(run)
    if record is None:
        raise UserError(f"{run} is not a run: it has no run.json")
    return record


def name_of(record: dict[str, Any]) -> str:
    return default_out(record["method"]["name"], restore_config(PretrainConfig, record["pretrain"])).name


def due(run: Path) -> list[tuple[str, str]]:
    """The evaluations that a release has, each with its data."""
    record = record_of(run)
    return [
        *(() if is_video(record["pretrain"]["encoder"]) else OF_IMAGES),
        *(OF_CLIPS if "clip" in record["method"]["modalities"] else ()),
        *(OF_SOUNDS if (run / SOUND_ENCODER).is_dir() else ()),
    ]


def lacking(run: Path) -> list[tuple[str, str]]:
    """The evaluations that were not made, or by an older protocol, on other data, or without the untrained encoder."""
    reports = map(read_report, (run / "evaluations").glob("*.json"))
    found = {(report.protocol, report.test["name"]) for report in reports if report.baseline}
    return [
        (name, dataset)
        for name, dataset in due(run)
        if (evaluations.load(name).info.protocol, f"{dataset}[test]") not in found
    ]


def embedded_files(run: Path) -> dict[str, Path]:
    """All that is published of a run, but for weights that would make it too large."""
    files = published_files(run)
    if sum(path.stat().st_size for path in files.values()) > LIMIT:
        del files[WEIGHTS]
    return files


def embed(run: Path, folder: Path) -> None:
    """Write what is published of ``run`` to ``folder``, which appears by a rename, in place of an older one."""
    folder.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        for name, path in embedded_files(run).items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, new / name)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)


@contextmanager
def as_run(folder: Path) -> Iterator[Path]:
    """A released encoder as a run, in a temporary folder, with its card as it is rendered today.

    Weights that are on the Hub only are stood in for by others of their shapes.

    Raises:
        UserError: if something that the card is made of is missing or unreadable.
    """
    with TemporaryDirectory() as temporary:
        run = shutil.copytree(folder, Path(temporary) / folder.name)
        encoder = move_encoder_into_run(run)
        if not (encoder / WEIGHTS).is_file():
            write_weights(build_encoder(read_config(encoder)).state_dict(), encoder / WEIGHTS)
        write_card(run, f"{ORGANISATION}/{folder.name}")
        yield run


def complaints(folder: Path) -> Iterator[str]:
    """What is wrong with a released encoder."""
    try:
        if folder.name != name_of(record_of(folder)):
            yield f"by its recipe its name would be {name_of(record_of(folder))}"
        with as_run(folder) as run:
            wanted = {name: path.read_bytes() for name, path in embedded_files(run).items()}
            yield from (
                f"{name} on {dataset} is missing or outdated: sslzoo evaluate, then add it again"
                for name, dataset in lacking(run)
            )
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        yield from (f"lacks {name}" for name in sorted(wanted.keys() - found.keys()))
        yield from (f"{name} should not be there" for name in sorted(found.keys() - wanted.keys()))
        yield from (
            f"{name} is not what would be written today: python scripts/release.py refresh"
            for name in sorted(wanted.keys() & found.keys())
            if found[name].read_bytes() != wanted[name]
        )
        if (size := sum(path.stat().st_size for path in found.values())) > LIMIT:
            yield f"{size:,} bytes are too many: at most {LIMIT:,}"
        if WEIGHTS in found:
            load_folder(folder)
    except UserError as error:
        yield str(error)


def pretrained_again(folder: Path, run: Path) -> Path:
    """A run by the recipe that was recorded, with what was then left to the machine as it was."""
    record = record_of(folder)
    method = methods.load(record["method"]["name"])
    settled = {name: record["environment"][name] for name in ("precision", "threads")}
    config = replace(restore_config(PretrainConfig, record["pretrain"]), **settled)
    own = restore_config(method.Config, record["method_config"])
    return sslzoo.pretrain(method.info.name, out=run, config=config, method_config=own)


def compared(folder: Path, run: Path) -> Iterator[str]:
    """How a rebuilt encoder differs from the released one: data, features and scores. Nothing if it is the same."""
    before, after = (read_config(place)["sslzoo"] for place in (folder, run / "encoder"))
    if before["weights_sha256"] == after["weights_sha256"]:
        return
    if before["dataset_fingerprint"] != after["dataset_fingerprint"]:
        yield "the data has changed"
    old, new = (torch.tensor(entry["fingerprint"]["values"]) for entry in (before, after))
    yield f"features of the synthetic input differ by up to {(new - old).abs().max() / old.square().mean().sqrt():.1e}"
    for path in sorted((folder / "evaluations").glob("*.json")):
        again = sslzoo.evaluate_again(path, run)
        for metric, value in again.repeated.metrics.items():
            yield f"{path.stem} {metric} {again.reported.metrics[metric]:.3f} -> {value:.3f}"


def table(cards: Path) -> str:
    """The released encoders in Markdown, as ``sslzoo list --models --markdown`` prints them."""
    return markdown(released_here(cards))


def main() -> None:
    """Do what the first word says; a user's mistake is told in one line."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"add": add, "refresh": refresh, "check": check, "rebuild": rebuild}, description=__doc__
        )
    except UserError as error:
        raise SystemExit(f"release.py: {error}") from error


if __name__ == "__main__":
    main()
