"""One evaluation of one encoder, beside the untrained one, and the report of it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import timm
import torch
from rich.table import Table
from rich.text import Text
from torch import nn

from sslzoo import __version__
from sslzoo.checkpoint import atomic_write
from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Source
from sslzoo.encoders import EncoderSpec, spec_of
from sslzoo.evaluation import Evaluation, Result

FORMAT = 1
_BASELINE_SEED = 0


@dataclass(frozen=True)
class Report:
    """What an evaluation found, and all that it takes to find it again. Plain JSON."""

    evaluation: str
    protocol: str
    """``name@version``: numbers of different protocols are not to be compared."""
    model: str
    config: dict[str, Any]
    """Of the evaluation."""
    train: dict[str, Any]
    """``name``, ``fingerprint``, ``samples``, and how many of them were ``readable`` (None if not told)."""
    test: dict[str, Any]
    metrics: dict[str, float]
    """On the test split. The first stands for the whole."""
    baseline: dict[str, Any] | None
    """The untrained encoder's ``model``, ``metrics`` and ``details``."""
    selected: dict[str, Any]
    """What was chosen, never on the test split."""
    details: dict[str, Any]
    seconds: float
    versions: dict[str, str]
    format: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what ``to_json`` wrote.

        Raises:
            UserError: if it is something else, or of another format.
        """
        try:
            found = json.loads(text)
            if found["format"] != FORMAT:
                raise UserError(f"this report has format {found['format']}; this sslzoo reads {FORMAT}: evaluate again")
            return cls(**{field.name: found[field.name] for field in fields(cls)})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"this is not a report of sslzoo ({error!r}); evaluate again") from error


def evaluate(
    evaluation: Evaluation, encoder: nn.Module, train: Source, test: Source, *, model: str, baseline: bool = True
) -> Report:
    """Run ``evaluation`` on ``encoder``, named ``model``, and if asked on the same architecture with random weights.

    Both run on the GPU if there is one, and the encoder is then put back where it was.

    Raises:
        UsageError: if the two splits are the same data, or do not suit the evaluation.
        UserError: if the data cannot be read, or the encoder gives no finite features.
    """
    if train.fingerprint == test.fingerprint:
        raise UsageError(
            f"{train.name} and {test.name} are the same data, so a score would mean nothing; choose two splits"
        )
    start = time.monotonic()
    spec = spec_of(encoder)
    result = _run(evaluation, encoder, train, test)
    untrained = None
    if baseline:
        found = _run(evaluation, _untrained(spec), train, test)
        name = f"random:{spec.architecture} seed {_BASELINE_SEED}"
        untrained = {"model": name, "metrics": found.metrics, "details": found.details}
    return Report(
        evaluation=evaluation.info.name,
        protocol=evaluation.info.protocol,
        model=model,
        config=_plain(asdict(evaluation.config)),
        train=_described(train, result, "train"),
        test=_described(test, result, "test"),
        metrics=_plain(dict(sorted(result.metrics.items(), key=lambda item: item[0] != evaluation.info.metric))),
        baseline=_plain(untrained),
        selected=_plain(result.selected),
        details=_plain(result.details),
        seconds=round(time.monotonic() - start, 2),
        versions={"sslzoo": __version__, "torch": torch.__version__, "timm": timm.__version__},
    )


def save_report(report: Report, folder: Path) -> Path:
    """Write ``<evaluation>.json`` to ``folder``, whole or not at all, over what an earlier evaluation wrote.

    Raises:
        UserError: if it cannot be written.
    """
    path = folder / f"{report.evaluation}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            partial.write_text(report.to_json() + "\n")
    except OSError as error:
        raise UserError(
            f"the report cannot be written to {path}: {error.strerror or error}; choose another --out"
        ) from error
    return path


def render(report: Report) -> Table:
    """The report as a table: trained, untrained and their difference in percent; and each layer's balanced accuracy."""
    title, caption = Text(f"{report.protocol}: {report.model}"), Text(_caption(report))
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    table.add_column("")
    for heading in ("trained", "untrained", "difference"):
        table.add_column(heading, justify="right")
    baseline = report.baseline or {}
    for metric, value in report.metrics.items():
        table.add_row(Text(metric.replace("_", " ")), *_compared(value, baseline.get("metrics", {}).get(metric)))
    table.add_section()
    theirs = baseline.get("details", {}).get("layers", {})
    for layer, found in report.details.get("layers", {}).items():
        label = f"{layer}: {found['dim']} features, C = {found['C']:g}"
        table.add_row(
            Text(label), *_compared(found["balanced_accuracy"], theirs.get(layer, {}).get("balanced_accuracy"))
        )
    return table


def _run(evaluation: Evaluation, encoder: nn.Module, train: Source, test: Source) -> Result:
    home = next(encoder.parameters()).device
    encoder.to("cuda" if torch.cuda.is_available() else home)
    try:
        return evaluation.run(encoder, train, test)
    finally:
        encoder.to(home)


def _untrained(spec: EncoderSpec) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_BASELINE_SEED)
        return spec.build().eval()


def _described(source: Source, result: Result, part: str) -> dict[str, Any]:
    return {
        "name": source.name,
        "fingerprint": source.fingerprint,
        "samples": len(source),
        "readable": result.details.get("readable", {}).get(part),
    }


def _caption(report: Report) -> str:
    fitted = f"fitted on {report.train['name']}, scored on {report.test['name']}"
    chosen = report.selected.get("layer")
    return f"{fitted}; best layer on validation data: {chosen}" if chosen else fitted


def _compared(value: float, baseline: float | None) -> tuple[str, str, str]:
    if baseline is None:
        return _percent(value), "–", "–"
    return _percent(value), _percent(baseline), f"{100 * (value - baseline):+.1f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists, keys are texts."""
    return json.loads(json.dumps(value))
