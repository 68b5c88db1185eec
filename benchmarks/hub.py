"""What checksum, fingerprint and strict keys cost: save, push, pull and load beside the same through bare libraries.

    python benchmarks/hub.py

Both sides take turns in one process, with the loopback hub in another; every turn has a run, a repository and a target
folder of its own, so nothing is known from the turn before. Copying them is not timed. ``side_by_side.py`` says how
the rest is, and ``hub.json`` keeps all of it.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import timm
import torch
import tyro
from budgets import HUB, verdict
from huggingface_hub import HfApi, constants
from side_by_side import Side, line, measure, write

from sslzoo.encoders import create_encoder
from sslzoo.hub.folder import save_encoder
from sslzoo.hub.known import CLOCK_TICK
from sslzoo.hub.layout import published_files
from sslzoo.hub.load import load_encoder
from sslzoo.hub.pull import pull
from sslzoo.hub.push import push
from sslzoo.testing.loopback import LoopbackHub

PROVENANCE = {"method": "benchmark", "dataset": "none"}


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
    threads = torch.get_num_threads()
    write(arguments.out, arguments.turns, ("timm", "huggingface_hub"), results, threads=threads)


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

    def save(self) -> dict[str, Side]:
        ours, bare = self.new(), self.new()
        return {
            "sslzoo": lambda: save_encoder(self.encoder, ours / "encoder", PROVENANCE),
            "bare": lambda: timm.models.save_for_hf(self.encoder, str(bare), safe_serialization=True),
        }

    def first_push(self) -> dict[str, Side]:
        """Of a run that nothing has looked at since it was trained."""
        return self._push(self.new(self.run))

    def push(self) -> dict[str, Side]:
        """Of a run whose encoder was loaded before, as every evaluation does."""
        return self._push(self.looked_at(self.new(self.run)))

    def _push(self, run: Path) -> dict[str, Side]:
        folder = self.new(self.published)
        ours, bare = self.new_repository(), self.new_repository()

        def push_bare() -> None:
            self.api.create_repo(bare)
            self.api.upload_folder(repo_id=bare, folder_path=folder)

        return {
            "sslzoo": lambda: push(run, ours, endpoint=self.api.endpoint, token=self.client_token),
            "bare": push_bare,
        }

    def pull(self) -> dict[str, Side]:
        ours, bare = self.new(), self.new()
        return {
            "sslzoo": lambda: pull(self.repository, ours / "run", endpoint=self.api.endpoint, token=self.client_token),
            "bare": lambda: self.api.snapshot_download(self.repository, local_dir=bare),
        }

    def first_load(self) -> dict[str, Side]:
        """Of an encoder that was not loaded before."""
        return self._load(self.new(self.run / "encoder"))

    def load(self) -> dict[str, Side]:
        """Of one that was."""
        return self._load(self.looked_at(self.new(self.run / "encoder")))

    def looked_at(self, folder: Path) -> Path:
        """A folder with an encoder, which is found to be right once its files are old enough to be known again."""
        time.sleep(CLOCK_TICK / 1e9)
        load_encoder(folder)
        return folder

    def _load(self, ours: Path) -> dict[str, Side]:
        bare = self.new(self.run / "encoder")
        return {
            "sslzoo": lambda: load_encoder(ours),
            "bare": lambda: timm.create_model(f"local-dir:{bare}", pretrained=True).eval(),
        }

    @property
    def client_token(self) -> str:
        assert isinstance(self.api.token, str)
        return self.api.token


def row(name: str, result: dict[str, Any]) -> str:
    judged = "" if "load" in name else f" | budget {HUB}: {verdict(result['wall']['ratio'], HUB, at_most=True)}"
    return line(name, result) + judged


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
