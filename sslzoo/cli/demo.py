"""``sslzoo demo``: the main job, end to end, on embedded data and a Hub on this machine."""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from sslzoo.config import UserError
from sslzoo.flags import parse
from sslzoo.testing.loopback import LoopbackHub

if TYPE_CHECKING:
    from sslzoo.report import Report

REPO = "tester/rotation_test_resnet_cliparts"


@dataclass(frozen=True)
class Arguments:
    out: Path = Path("runs/rotation_test_resnet_cliparts")
    """Folder of the run; a finished one is used again."""
    epochs: int = 14
    """Passes over the 4,040 pictures."""
    seed: int = 0
    """Decides every random number."""


def main(verb: str, words: list[str]) -> int:
    """Pretrain, evaluate, verify, publish and fetch; print what came out and how to load it."""
    arguments = parse(Arguments, words, "sslzoo demo", "The main job on embedded data, without network.")
    with LoopbackHub() as hub, tempfile.TemporaryDirectory() as home:
        os.environ.update(hub.environment(Path(home)))  # before the Hub client is first imported
        _demo(arguments, Path(home))
    return 0


def _demo(arguments: Arguments, home: Path) -> None:
    import sslzoo

    console, start = Console(stderr=True), time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - start:4.0f} s[/dim]  {text}", highlight=False, soft_wrap=True)

    say("pretraining [bold]rotation[/bold]: which way up is this picture?")
    run = sslzoo.pretrain(
        "rotation",
        out=arguments.out,
        dataset="cliparts",
        validation="cliparts[test]",
        encoder="test_resnet",
        image_size=64,
        epochs=arguments.epochs,
        batch_size=64,
        optimizer="adamw",
        lr=2e-3,
        weight_decay=0.05,
        schedule="cosine",
        warmup_epochs=1.0,
        seed=arguments.seed,
        threads=1,  # the same numbers on any number of cores, and steady speed on a busy machine
        min_scale=0.7,
    )
    say("evaluating it beside the untrained encoder: k-NN, and a linear probe on each layer")
    reports = [sslzoo.evaluate(name, run) for name in ("knn", "linear")]
    say("verifying: the same features through every door")
    failed = [check for check in sslzoo.verify(run) if check.ok is False]
    if failed:
        raise UserError(f"verification failed: {failed[0].name}: {failed[0].detail}")
    say("publishing to a Hub on this machine, and fetching it back")
    commit = sslzoo.push(run, REPO)
    pulled = sslzoo.pull(REPO, home / "pulled")
    sslzoo.load_encoder(pulled)
    say(f"pushed as {commit.rsplit('/', 1)[-1][:12]}, pulled and verified\n")
    _conclude(run, reports)


def _conclude(run: Path, reports: list[Report]) -> None:
    """The table, on stdout, and the lines that load the encoder."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    held_out = lines[-1]["validation"]
    table = Table(title="rotation on cliparts: test_resnet at 64 px", title_justify="left", box=None, pad_edge=False)
    table.add_column("held-out score")
    table.add_column("pretrained", justify="right")
    table.add_column("untrained", justify="right")
    table.add_row("rotation accuracy (chance is 25 %)", f"{held_out['accuracy']:.1%}", "")
    knn, linear = reports
    for text, report, metric in (
        ("k-NN, class-balanced accuracy", knn, "balanced_accuracy"),
        ("linear probe, last layer", linear, "balanced_accuracy"),
        ("linear probe, best layer", linear, "best_layer_balanced_accuracy"),
    ):
        untrained = report.baseline["metrics"][metric]  # type: ignore[index]  # asked for above
        table.add_row(text, f"{report.metrics[metric]:.1%}", f"{untrained:.1%}")
    Console().print(table)
    print(f"\nfigure: {run / 'figures' / 'pretraining.png'}\ncard:   {run / 'encoder' / 'README.md'}")
    print("\nload it, with sslzoo or without:\n")
    print(f'  sslzoo.load_encoder("{run}")')
    print(f'  timm.create_model("local-dir:{run}/encoder", pretrained=True)')
    print(f'  torch.hub.load(".", "encoder", "{run}", source="local")')
