"""Pretraining with SimCLR beside lightly's example loop and the bare limit: samples per second on this machine.

    make .venv-rivals/installed && .venv-rivals/bin/python benchmarks/training.py

All sides train the same timm encoder with the same head and loss on the same photographs (300 px PNG files), to two
views of 64 px, 64 samples a step, on all cores. Each turn is a process of its own, sides take turns, and the first
steps, which warm up, do not count. The sides:

- ``bare``: forward, backward and step on one batch that is ready in memory, in bf16 and channels_last. Nobody can be
  faster in that precision.
- ``lightly``: its SimCLR example's loop (``SimCLRTransform``, ``NTXentLoss``, ``DataLoader`` with two workers, SGD).
- ``lightly bf16``: the same with bf16 autocast and channels_last, which its example does not have.
- ``sslzoo``: ``sslzoo.pretrain`` as it comes.

``training.json`` keeps all of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import tyro
from torch import Tensor, nn

BATCH, SIZE, SIDE = 64, 64, 300
"""Samples of a step, and pixels of views and of photographs."""
BUDGETS = {
    ("resnet18", "bare"): 0.9,
    ("resnet18", "lightly"): 1.9,
    ("test_resnet", "bare"): 0.75,
    ("test_resnet", "lightly"): 3.5,
}
"""Times as many samples per second, at least."""


@dataclass(frozen=True)
class Arguments:
    """Time all sides, print a table and write it as JSON."""

    encoders: tuple[str, ...] = ("test_resnet", "resnet18")
    """Timm architectures."""
    turns: int = 5
    """Of each side."""
    steps: int = 40
    """Of a turn, of which the first quarter does not count."""
    side: str = ""
    """Run this side only, once, and print its samples per second."""
    photographs: Path | None = None
    """A folder of them; made if not given."""
    out: Path | None = Path(__file__).with_suffix(".json")


def main() -> None:
    """Measure, print, write."""
    arguments = tyro.cli(Arguments, description=__doc__)
    if arguments.side:
        assert arguments.photographs
        run = SIDES[arguments.side]
        print(run(arguments.encoders[0], arguments.photographs, arguments.steps))
        return
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        photographs = arguments.photographs or write_photographs(Path(folder), BATCH * arguments.steps)
        for encoder in arguments.encoders:
            speeds: dict[str, list[float]] = {side: [] for side in SIDES}
            for turn in range(arguments.turns):
                for side in list(SIDES)[:: 1 if turn % 2 else -1]:
                    speeds[side].append(in_a_process(side, encoder, photographs, arguments.steps))
            results[encoder] = compared(speeds)
            print(encoder, *told(encoder, results[encoder]), sep="\n  ", flush=True)
    about = {
        "turns": arguments.turns,
        "steps": arguments.steps,
        "cores": len(os.sched_getaffinity(0)),
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
    }
    if arguments.out:
        arguments.out.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


def in_a_process(side: str, encoder: str, photographs: Path, steps: int) -> float:
    words = ["--side", side, "--encoders", encoder, "--photographs", str(photographs), "--steps", str(steps)]
    ended = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    return float(ended.stdout.split()[-1])


def compared(speeds: dict[str, list[float]]) -> dict[str, Any]:
    """Median speeds, and how many times as fast sslzoo was in the same turn: median and quartiles."""
    ours = speeds["sslzoo"]
    found: dict[str, Any] = {"samples_per_second": {side: round(statistics.median(s)) for side, s in speeds.items()}}
    for side in speeds.keys() - {"sslzoo"}:
        low, middle, high = statistics.quantiles([a / b for a, b in zip(ours, speeds[side], strict=True)], n=4)
        found[side] = {"ratio": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}
    return found


def told(encoder: str, result: dict[str, Any]) -> Iterator[str]:
    speeds = result["samples_per_second"]
    yield f"sslzoo {speeds['sslzoo']} samples/s"
    for side in SIDES.keys() - {"sslzoo"}:
        ratio, (low, high) = result[side]["ratio"], result[side]["quartiles"]
        budget = BUDGETS.get((encoder, side))
        judged = f" | budget {budget}: {'met' if ratio >= budget else 'missed'}" if budget else ""
        yield f"{ratio:.2f} ({low:.2f} to {high:.2f}) times {side}'s {speeds[side]}{judged}"


def write_photographs(folder: Path, number: int) -> Path:
    """Class folders of PNG files, as lightly's dataset wants them."""
    from views import photographs

    (folder / "all").mkdir()
    for place, picture in enumerate(photographs(SIDE, number)):
        picture.save(folder / "all" / f"{place:05}.png", compress_level=1)
    return folder


class Net(nn.Module):
    """An encoder with SimCLR's head, of the same widths on all sides."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.encoder = timm.create_model(architecture, num_classes=0)
        width = self.encoder.num_features
        self.head = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True),
            nn.Linear(width, 128, bias=False), nn.BatchNorm1d(128),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images))


def bare(architecture: str, photographs: Path, steps: int) -> float:
    net = Net(architecture).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.06, momentum=0.9)
    images = torch.randn(2 * BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    partner = torch.arange(2 * BATCH).roll(BATCH)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            views = nn.functional.normalize(net(images).float(), dim=1)
        logits = (views @ views.T / 0.5).fill_diagonal_(-torch.inf)
        nn.functional.cross_entropy(logits, partner).backward()
        optimizer.step()
        optimizer.zero_grad()

    return timed([step] * steps)


def lightly(architecture: str, photographs: Path, steps: int, fast: bool = False) -> float:
    from lightly.data import LightlyDataset
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform

    dataset = LightlyDataset(str(photographs), transform=SimCLRTransform(input_size=SIZE))
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=2)
    net, criterion = Net(architecture), NTXentLoss()
    if fast:
        net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.06)
    batches = iter(loader)

    def step() -> None:
        (first, second), *_ = next(batches)
        if fast:
            first, second = (view.to(memory_format=torch.channels_last) for view in (first, second))
        with torch.autocast("cpu", torch.bfloat16) if fast else contextlib.nullcontext():
            loss = criterion(net(first).float(), net(second).float())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return timed([step] * steps)


def lightly_bf16(architecture: str, photographs: Path, steps: int) -> float:
    return lightly(architecture, photographs, steps, fast=True)


def sslzoo(architecture: str, photographs: Path, steps: int) -> float:
    """What the log says: the time between steps, with all that a run does between them."""
    from sslzoo import pretrain

    settings = {"encoder": architecture, "image_size": SIZE, "batch_size": BATCH, "epochs": 1, "warmup_epochs": 0.0}
    optimizer = {"optimizer": "sgd", "lr": 0.06, "base_batch_size": 0}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        run = pretrain(
            "simclr", out=f"{folder}/run", dataset=f"folder:{photographs}", log_every=1, **settings, **optimizer
        )
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    seconds = [BATCH / line["samples_per_second"] for line in lines[steps // 4 : steps]]
    return BATCH * len(seconds) / sum(seconds)


def timed(steps: list[Callable[[], None]]) -> float:
    """Samples per second, without the first quarter of the steps."""
    ignored = len(steps) // 4
    for step in steps[:ignored]:
        step()
    began = time.perf_counter()
    for step in steps[ignored:]:
        step()
    return BATCH * (len(steps) - ignored) / (time.perf_counter() - began)


SIDES: dict[str, Callable[[str, Path, int], float]] = {
    "bare": bare,
    "lightly": lightly,
    "lightly bf16": lightly_bf16,
    "sslzoo": sslzoo,
}


if __name__ == "__main__":
    main()
