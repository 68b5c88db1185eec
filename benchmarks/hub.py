"""What checksum, fingerprint and strict keys cost: save, push, pull and load beside the same through bare libraries.

    python benchmarks/hub.py

Both sides take turns in one process, with the loopback hub in another; every turn has a run, a repository and a target
folder of its own, so nothing is known from the turn before. Copying them is not timed. A turn has a wall clock and a
processor clock (of this process, all threads). The ratio is the median over pairs of turns that follow each other: on a
busy machine both of a pair suffer alike. ``hub.json`` keeps all of it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import timm
import torch
import tyro
from huggingface_hub import HfApi, constants

from sslzoo import __version__
from sslzoo.encoders import create_encoder
from sslzoo.hub.folder import save_encoder
from sslzoo.hub.known import CLOCK_TICK
from sslzoo.hub.layout import published_files
from sslzoo.hub.load import load_encoder
from sslzoo.hub.pull import pull
from sslzoo.hub.push import push
from sslzoo.testing.loopback import LoopbackHub

BUDGET = 1.15
"""For save, push and pull."""
PROVENANCE = {"method": "benchmark", "dataset": "none"}
Side = Callable[[], None]


@dataclass(frozen=True)
class Arguments:
    """Time each operation on both sides, print a table and write it as JSON."""

    encoders: tuple[str, ...] = ("test_resnet", "resnet50")
    """Architectures; images of 224 pixels."""
    operations: tuple[str, ...] = ("save", "first_push", "push", "pull", "first_load", "load")
    turns: int = 15
    """Of each side."""
    out: Path | None = Path(__file__).with_suffix(".json")


def main() -> None:
    """Measure, print, write."""
    arguments = tyro.cli(Arguments, description=__doc__)
    constants.HF_HUB_DISABLE_XET = True  # the hub of the other process has no store for it
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, hub_process() as (endpoint, token):
        os.environ["SSLZOO_CACHE"] = str(Path(folder) / "cache")
        for architecture in arguments.encoders:
            bench = Bench(Path(folder) / architecture, architecture, HfApi(endpoint=endpoint, token=token))
            for operation in arguments.operations:
                results[f"{operation} {architecture}"] = measure(getattr(bench, operation), arguments.turns)
                print(row(f"{operation} {architecture}", results[f"{operation} {architecture}"]), flush=True)
    versions = {"sslzoo": __version__, "torch": torch.__version__, "timm": timm.__version__}
    about = {"turns": arguments.turns, "threads": torch.get_num_threads(), "versions": versions}
    if arguments.out:
        arguments.out.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


class Bench:
    """The two sides of each operation, for one encoder. Each call prepares one turn, and returns what is timed."""

    def __init__(self, folder: Path, architecture: str, api: HfApi) -> None:
        self.folder = folder
        self.api = api
        self.encoder = create_encoder(architecture, 224, seed=0).eval()
        self.number = count()
        self.run = folder / "run"
        save_encoder(self.encoder, self.run / "encoder", PROVENANCE)
        (self.run / "encoder" / "README.md").write_text("---\nlibrary_name: timm\n---\n# A card\n")
        (self.run / "run.json").write_text('{"finished": true}')
        self.published = self.new()
        for name, path in published_files(self.run).items():
            shutil.copy(path, self.published / name)
        self.repository = self.new_repository()
        api.create_repo(self.repository)
        api.upload_folder(repo_id=self.repository, folder_path=self.published)

    def new(self, like: Path | None = None) -> Path:
        """A new folder, empty or a copy, on the disk already: nobody pays for writing it while being timed."""
        path = self.folder / str(next(self.number))
        shutil.copytree(like, path) if like else path.mkdir(parents=True)
        os.sync()
        return path

    def new_repository(self) -> str:
        return f"tester/{self.encoder.spec.architecture}-{next(self.number)}"  # type: ignore[union-attr]

    def save(self) -> tuple[Side, Side]:
        ours, bare = self.new(), self.new()
        return (
            lambda: save_encoder(self.encoder, ours / "encoder", PROVENANCE),
            lambda: timm.models.save_for_hf(self.encoder, str(bare), safe_serialization=True),
        )

    def first_push(self) -> tuple[Side, Side]:
        """Of a run that nothing has looked at since it was trained."""
        return self._push(self.new(self.run))

    def push(self) -> tuple[Side, Side]:
        """Of a run whose encoder was loaded before, as every evaluation does."""
        return self._push(self.looked_at(self.new(self.run)))

    def _push(self, run: Path) -> tuple[Side, Side]:
        folder = self.new(self.published)
        ours, bare = self.new_repository(), self.new_repository()

        def push_bare() -> None:
            self.api.create_repo(bare)
            self.api.upload_folder(repo_id=bare, folder_path=folder)

        return lambda: _(push(run, ours, endpoint=self.api.endpoint, token=self.client_token)), push_bare

    def pull(self) -> tuple[Side, Side]:
        ours, bare = self.new(), self.new()
        return (
            lambda: _(pull(self.repository, ours / "run", endpoint=self.api.endpoint, token=self.client_token)),
            lambda: _(self.api.snapshot_download(self.repository, local_dir=bare)),
        )

    def first_load(self) -> tuple[Side, Side]:
        """Of an encoder that was not loaded before."""
        return self._load(self.new(self.run / "encoder"))

    def load(self) -> tuple[Side, Side]:
        """Of one that was."""
        return self._load(self.looked_at(self.new(self.run / "encoder")))

    def looked_at(self, folder: Path) -> Path:
        """A folder with an encoder, which is found to be right once its files are old enough to be known again."""
        time.sleep(CLOCK_TICK / 1e9)
        load_encoder(folder)
        return folder

    def _load(self, ours: Path) -> tuple[Side, Side]:
        bare = self.new(self.run / "encoder")
        return (
            lambda: _(load_encoder(ours)),
            lambda: _(timm.create_model(f"local-dir:{bare}", pretrained=True).eval()),
        )

    @property
    def client_token(self) -> str:
        assert isinstance(self.api.token, str)
        return self.api.token


def _(_: Any) -> None:
    """Drop what a side returns."""


def measure(prepare: Callable[[], tuple[Side, Side]], turns: int) -> dict[str, Any]:
    """Both sides by turns, each being first as often as the other. The first pair warms up and does not count."""
    clocks: dict[str, list[tuple[float, float]]] = {"sslzoo": [], "bare": []}
    for turn in range(turns + 1):
        sides = dict(zip(("sslzoo", "bare"), prepare(), strict=True))
        for name in sorted(sides, reverse=turn % 2 == 0):
            began, worked = time.perf_counter(), time.process_time()
            sides[name]()
            clocks[name].append((time.perf_counter() - began, time.process_time() - worked))
    return {kind: summary(clocks, index) for index, kind in enumerate(("wall", "processor"))}


def summary(clocks: dict[str, list[tuple[float, float]]], index: int) -> dict[str, Any]:
    """Medians, and the ratio of pairs with its quartiles."""
    ours, bare = ([clock[index] for clock in clocks[name][1:]] for name in ("sslzoo", "bare"))
    low, middle, high = statistics.quantiles([a / b for a, b in zip(ours, bare, strict=True)], n=4)
    return {
        "sslzoo": round(statistics.median(ours), 4),
        "bare": round(statistics.median(bare), 4),
        "ratio": round(middle, 3),
        "quartiles": [round(low, 3), round(high, 3)],
        "ratio_of_fastest": round(min(ours) / min(bare), 3),
    }


def row(name: str, result: dict[str, Any]) -> str:
    cells = [f"{name:18}"]
    for kind in ("wall", "processor"):
        found = result[kind]
        low, high = found["quartiles"]
        cells.append(
            f"{kind} {found['sslzoo']:.3f} s / {found['bare']:.3f} s = {found['ratio']:.2f} ({low:.2f} to {high:.2f}, "
            f"fastest {found['ratio_of_fastest']:.2f})"
        )
    if "load" not in name:
        cells.append(f"budget {BUDGET}: {'met' if result['wall']['ratio'] <= BUDGET else 'missed'}")
    return " | ".join(cells)


@contextmanager
def hub_process() -> Iterator[tuple[str, str]]:
    """Endpoint and token of a loopback hub in a process of its own, so that its work is not ours."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("stop")
        process.join()


def serve(pipe: Connection) -> None:
    with LoopbackHub() as hub:
        pipe.send((hub.endpoint, hub.token))
        pipe.recv()


if __name__ == "__main__":
    main()
