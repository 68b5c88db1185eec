"""What lies in the folder of a run, or of a repository that was made of one, and is told in its card."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sslzoo.config import UserError
from sslzoo.encoders import InputSpec, frames_of
from sslzoo.hub.layout import SOUND_ENCODER, encoder_folder
from sslzoo.hub.timm_config import is_ours, read_config, spec_from
from sslzoo.hub.weights import weights_file

_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
_METHOD: dict[str, Any] = {"category": "", "family": "", "modalities": [], "summary": "", "paper": None}
_PAPER = {"authors", "title", "venue", "year", "url"}
_DATASET: dict[str, Any] = {"fingerprint": "", "license": None, "samples": None}


@dataclass(frozen=True)
class SoundEncoder:
    """The second encoder of a method that sees and hears."""

    config: dict[str, Any]
    input: InputSpec
    parameters: int
    size: int
    """Bytes of the weights."""


@dataclass(frozen=True)
class Contents:
    """Everything as it was written; ``method`` and ``dataset`` with what old records lack."""

    record: dict[str, Any]
    method: dict[str, Any]
    dataset: dict[str, Any]
    config: dict[str, Any]
    reports: dict[str, dict[str, Any]]
    """By the name of the file, without ``.json``."""
    figures: tuple[str, ...]
    """Names in ``figures/``, without ``.png``."""
    parameters: int
    """Trained numbers in the weights: all but the statistics of batch norms."""
    size: int
    """Bytes of the weights."""
    sounds: SoundEncoder | None

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.config["pretrained_cfg"]["input_size"]
        return channels, height, width

    @property
    def frames(self) -> int:
        """Of a clip; 0 if the encoder takes images."""
        return frames_of(self.config["architecture"], self.config.get("model_args") or {})


def read_contents(folder: Path) -> Contents:
    """Read a run's folder, or that of a repository.

    Raises:
        UserError: if a file is missing, or is not what sslzoo writes.
    """
    record = _read_json(folder / "run.json", "method", "dataset", "pretrain")
    for part in ("method", "dataset"):
        if not isinstance(record[part], dict) or "name" not in record[part]:
            raise UserError(f"{folder / 'run.json'} does not name its {part}; restore it")
    paper = record["method"].get("paper") or dict.fromkeys(_PAPER)
    told = {"pretrain": record["pretrain"], "environment": record.get("environment", {}), "paper": paper}
    for part, value in told.items():
        if not isinstance(value, dict) or part == "paper" and not value.keys() >= _PAPER:
            raise UserError(f"{folder / 'run.json'} has a {part} that sslzoo did not write; restore it")
    encoder = encoder_folder(folder)
    weights = weights_file(encoder)
    return Contents(
        record=record,
        method=_METHOD | record["method"],
        dataset=_DATASET | record["dataset"],
        config=read_config(encoder),
        reports={path.stem: _read_report(path) for path in sorted((folder / "evaluations").glob("*.json"))},
        figures=tuple(path.stem for path in sorted((folder / "figures").glob("*.png"))),
        parameters=_parameters(weights),
        size=weights.stat().st_size,
        sounds=_sound_encoder(folder / SOUND_ENCODER),
    )


def headline(report: dict[str, Any]) -> str:
    """The metric that stands for the whole: reports have it first. Empty if there is none, only pictures."""
    return next(iter(report["metrics"]), "")


def untrained(report: dict[str, Any]) -> dict[str, float]:
    """The metrics of the encoder with random weights; empty if it was not evaluated."""
    baseline = report.get("baseline")
    metrics = baseline.get("metrics") if isinstance(baseline, dict) else None
    return metrics if isinstance(metrics, dict) and _are_numbers(metrics) else {}


def _sound_encoder(folder: Path) -> SoundEncoder | None:
    if not folder.is_dir():
        return None
    config, weights = read_config(folder), weights_file(folder)
    if not is_ours(config):
        raise UserError(f"{folder} is not what sslzoo saved; put back the one of the run, or remove it")
    return SoundEncoder(config, spec_from(config).input, _parameters(weights), weights.stat().st_size)


def _read_report(path: Path) -> dict[str, Any]:
    report = _read_json(path, "protocol", "metrics", "train", "test")
    if not isinstance(report["metrics"], dict) or not _are_numbers(report["metrics"]):
        raise UserError(f"{path} holds no metrics; evaluate again, or remove it")
    for part in ("train", "test"):
        if part == "train" and report[part] is None:  # nothing was fitted
            continue
        if not isinstance(report[part], dict) or not isinstance(report[part].get("name"), str):
            raise UserError(f"{path} does not name its {part} data; evaluate again, or remove it")
    return report


def _are_numbers(metrics: dict[str, Any]) -> bool:
    return all(isinstance(number, (int, float)) for number in metrics.values())


def _read_json(path: Path, *keys: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); the card needs it: restore it") from error
    if missing := [key for key in keys if not isinstance(found, dict) or key not in found]:
        raise UserError(f"{path} lacks {', '.join(missing)}; the card needs it: restore it")
    return found


def _parameters(path: Path) -> int:
    try:
        with safe_open(path, framework="pt") as weights:
            names = [name for name in weights.keys() if not name.endswith(_STATISTICS)]  # noqa: SIM118  it is no dict
            return sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); fetch or save it again") from error
