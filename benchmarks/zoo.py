"""Every method at one small budget, beside the untrained encoder: ``make zoo``.

Each method is pretrained by its recipe ``small`` at the budget of its track (``zoo_tracks.py``): the same encoder,
image size and number of epochs, with three seeds; then its encoder is scored. ``zoo.json`` and ``zoo_clips.json`` keep
one entry per method and seed, and an entry is made again only when the method's file, its recipe or the budget has
changed. ``zoo.md`` holds the tables, written from them.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import tyro
from zoo_table import tables
from zoo_tracks import TRACKS, UNTRAINED, Track

from sslzoo.hub.load import load_encoder, sound_encoder_of
from sslzoo.pretraining import Training, settle
from sslzoo.recipes import default_out
from sslzoo.record import git_commit
from sslzoo.registry import methods

FOLDER = Path(__file__).parent
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Arguments:
    """Pretrain and score what has changed, and write the tables."""

    methods: tuple[str, ...] = ()
    """Only these; all that are installed if not given."""
    seeds: tuple[int, ...] = SEEDS
    jobs: int = 2
    """Runs at a time, one thread each."""
    keep: Path | None = None
    """Keep the runs here, each in ``<method>_<encoder>_<dataset>-<seed>``."""


def main() -> None:
    """Bring the JSON files and zoo.md up to date."""
    arguments = tyro.cli(Arguments, description=__doc__)
    entries = read_entries()
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        futures = {
            pool.submit(entry, track, name, seed, arguments.keep): (track, f"{name}-{seed}")
            for track, name, seed in due(entries, arguments.methods, arguments.seeds)
        }
        for future in as_completed(futures):
            track, label = futures[future]
            entries[track.name][label] = future.result()
            path(track).write_text(json.dumps(entries[track.name], indent=1, sort_keys=True) + "\n")
            (FOLDER / "zoo.md").write_text(tables(entries))
            print(label, json.dumps(entries[track.name][label]["scores"]), flush=True)
    (FOLDER / "zoo.md").write_text(tables(entries))


def path(track: Track) -> Path:
    return FOLDER / f"{track.name}.json"


def read_entries() -> dict[str, dict[str, Any]]:
    """By track, then by method and seed."""
    return {track.name: json.loads(path(track).read_text()) if path(track).exists() else {} for track in TRACKS}


def due(
    entries: dict[str, dict[str, Any]], only: tuple[str, ...], seeds: tuple[int, ...]
) -> Iterator[tuple[Track, str, int]]:
    """What is to be made: track, method or untrained encoder, and seed."""
    for track in TRACKS:
        names = [name for name in track.methods() if not only or name in only]
        untrained = sorted({track.untrained_of(name) for name in names})
        for seed in seeds:
            for name in (*untrained, *names):
                if entries[track.name].get(f"{name}-{seed}", {}).get("key") != key_of(track, name):
                    yield track, name, seed


def key_of(track: Track, name: str) -> str:
    """What an entry depends on: the method's file, its configuration, and the budget."""
    if name.startswith(UNTRAINED):
        return _digest(name, track.budget["image_size"], *track.scored_on, *track.data())
    config, own = track.recipe(name)
    settings = {setting: value for setting, value in asdict(config).items() if setting not in track.younger}
    settings["precision"] = "bf16"  # whatever the processor has, which the entry tells: else it would be made again
    return _digest(Path(inspect.getfile(methods.load(name))).read_text(), settings, asdict(own), *track.data())


def entry(track: Track, name: str, seed: int, keep: Path | None = None) -> dict[str, Any]:
    """Pretrain with one seed and score the encoder; the run stays in ``keep``, if that is given."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"key": key_of(track, name), "commit": git_commit()}
    if name.startswith(UNTRAINED):
        _, architecture, *args = name.split(" ")
        return found | {"scores": track.scores(name, *track.untrained(architecture, args, seed))}
    with tempfile.TemporaryDirectory() as folder:
        config, _ = track.recipe(name)
        run = (keep or Path(folder)) / f"{default_out(name, config).name}-{seed}"
        shutil.rmtree(run, ignore_errors=True)  # of a method as it was before it changed
        began, worked = time.monotonic(), time.process_time()
        before = pretrained(track, name, seed, run)
        seconds, worked = time.monotonic() - began, time.process_time() - worked
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        shown = config.epochs * len(track.open(config.dataset))
        found |= {
            "untrained": track.untrained_of(name),
            "precision": json.loads((run / "run.json").read_text())["environment"]["precision"],
            "pretext": {"before": before, "after": lines[-1]["validation"]},
            "feature_std": lines[-1].get("feature_std"),
            "seconds": round(seconds),
            "cpu_seconds": round(worked),
            "samples_per_cpu_second": round(shown / worked),
        }
        if config.profile:
            found["views_per_step"] = views_per_step(json.loads((run / "profile.json").read_text()))
        sounds = sound_encoder_of(run)
        return found | {"scores": track.scores(name, load_encoder(run), load_encoder(sounds) if sounds else None)}


def views_per_step(profile: dict[str, Any]) -> float:
    """Time that the loader takes for a batch, beside that of the step itself."""
    step = sum(profile["parts"][part] for part in ("forward", "backward", "optimizer"))
    return round(sum(profile["loader"].values()) / step, 2)


def pretrained(track: Track, name: str, seed: int, run: Path) -> dict[str, float]:
    """Pretrain into ``run``; gives the pretext task's held-out scores before the first step: its chance level."""
    method, (config, own) = methods.load(name), track.recipe(name)
    config = replace(config, seed=seed)
    source, held_out = track.open(config.dataset), track.open(config.validation)
    resolved, record = settle(method, own, config, source, run)
    training = Training(method, own, config, resolved, source, held_out, record, run)
    before = training.validate()
    training.restore()
    training.train()
    training.finish()
    return before


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, default=list, sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    main()
