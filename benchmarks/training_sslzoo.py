"""Our sides of ``training.py``: ``sslzoo.pretrain`` as it comes, with the sizes of the others.

The first epoch, which does not count, decodes the pictures and keeps them, as a run of hundreds of epochs does once;
``sslzoo no cache`` decodes them in every epoch. The log tells how long the others took, whole, with all that a run does
in them; ``profile=True`` tells of what. Checkpoints are written after the last step only, as no other side writes any.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from training_cases import BATCH, SIZE, Turn

from sslzoo import pretrain, profiling


def sslzoo(turn: Turn, **settings: Any) -> dict[str, Any]:
    """Samples per second, and the profile of the steps that count."""
    profiling.WARM_UP = turn.batches
    case = turn.case
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        os.environ["SSLZOO_CACHE"] = f"{folder}/cache"
        run = pretrain(
            case.method,
            out=f"{folder}/run",
            dataset=f"folder:{turn.photographs}",
            encoder=case.encoder,
            image_size=SIZE,
            batch_size=BATCH,
            epochs=case.epochs,
            base_batch_size=0,
            warmup_epochs=0.0,
            save_every=turn.steps,
            profile=True,
            **case.settings,
            **settings,
        )
        profile = json.loads((run / "profile.json").read_text())
        return {"samples_per_second": _speed(run / "log.jsonl", turn), "profile": profile}


def sslzoo_no_cache(turn: Turn) -> dict[str, Any]:
    """The same with every picture decoded in every epoch."""
    return sslzoo(turn, cache=0.0)


def _speed(log: Path, turn: Turn) -> float:
    """Samples per second after the first epoch: each line tells those of the steps since the line before."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    seconds = 0.0
    for before, line in zip(lines, lines[1:], strict=False):
        if before["step"] >= turn.batches:
            seconds += BATCH * (line["step"] - before["step"]) / line["samples_per_second"]
    return BATCH * (turn.steps - turn.batches) / seconds
