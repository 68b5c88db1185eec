"""What is logged."""

from __future__ import annotations

import json
from pathlib import Path

from accelerate import Accelerator

from sslzoo.log import Log


def test_lines_after_the_checkpoint_and_half_lines_are_dropped(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in (10, 20, 30)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + '\n{"step": 4')
    log = Log(tmp_path, Accelerator(cpu=True), step=20)
    assert log.past == [{"step": 10, "loss": 1.0}, {"step": 20, "loss": 1.0}]
    log.write({"step": 30, "loss": 2.0})
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        {"step": 10, "loss": 1.0},
        {"step": 20, "loss": 1.0},
        {"step": 30, "loss": 2.0},
    ]
