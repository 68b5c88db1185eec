"""One evaluation of one encoder, beside the untrained one, and the report of it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import timm
import torch
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text
from torch import nn

from sslzoo import __version__
from sslzoo.checkpoint import atomic_write
from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Source
from sslzoo.encoders import EncoderSpec, spec_of
from sslzoo.evaluation import Evaluation, Result
from sslzoo.features import weights_digest
from sslzoo.features.frozen import frozen
from sslzoo.figures import save_figure
from sslzoo.method import PretextMethod
from sslzoo.record import file_name

FORMAT = 1
_ADDED = {"numbers", "summary", "weights"}
"""What reports of this format that were written earlier lack."""
USUAL_DATASET = "cliparts"
"""What is evaluated on if nothing is said; the names of such reports do not tell it."""
_BASELINE_SEED = 0


@dataclass(frozen=True)
class Report:
    """What an evaluation found, and all that it takes to find it again. Plain JSON."""

    evaluation: str
    protocol: str
    """``name@version``, and settings that make it another: numbers of different protocols are not to be compared."""
    model: str
    config: dict[str, Any]
    """Of the evaluation."""
    train: dict[str, Any] | None
    """``name``, ``fingerprint``, ``samples``, and how many of them were ``readable`` (None if not told); None if
    nothing was fitted."""
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
    numbers: list[str] = field(default_factory=list)
    """Metrics that are no shares, as ``EvaluationInfo.numbers``."""
    weights: str | None = None
    """Digest of the encoder's weights, by which it is known whatever it is called; None in older reports."""
    summary: str = ""
    """Of the evaluation."""
    format: int = FORMAT
    figures: dict[str, Figure] = field(default_factory=dict, compare=False, repr=False)
    """By file name without ending, which begins with ``name``. Not in the JSON: they lie beside it."""

    @property
    def name(self) -> str:
        """Of its file, without ending: the evaluation, its data if not the usual, and its protocol's settings."""
        _, *settings = self.protocol.replace("=", " ").split()
        data = file_name(self.test["name"])
        return "-".join([self.evaluation, *([data] if data != USUAL_DATASET else []), *settings])

    def to_json(self) -> str:
        return json.dumps({name: getattr(self, name) for name in _recorded()}, indent=2, allow_nan=False)

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
            return cls(**{name: found[name] for name in _recorded() if name in found or name not in _ADDED})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"this is not a report of sslzoo ({error!r}); evaluate again") from error


def evaluate(
    evaluation: Evaluation, encoder: nn.Module, train: Source, test: Source, *, model: str, baseline: bool = True
) -> Report:
    """Run ``evaluation`` on ``encoder``, named ``model``, and if asked on the same architecture with random weights.

    An evaluation that needs a method is given one as ``encoder``; the baseline is then the same method, not trained.
    Both run on the GPU if there is one, and the encoder is then put back where it was.

    Raises:
        UsageError: if the two splits are the same data, or do not suit the evaluation.
        UserError: if the data cannot be read, or the encoder does not take images of its size or gives no finite
            features.
    """
    if evaluation.info.fits and train.fingerprint == test.fingerprint:
        raise UsageError(
            f"{train.name} and {test.name} are the same data, so a score would mean nothing; choose two splits"
        )
    start = time.monotonic()
    spec = _checked_spec(encoder.encoder if isinstance(encoder, PretextMethod) else encoder)
    if spec.input.frames and "clip" not in evaluation.info.modalities:
        raise UsageError(
            f"{evaluation.info.name} is for encoders of images, and {spec.architecture} takes clips; "
            "for these there are action, knn, linear, svm, finetune, retrieval, neighbours and projection"
        )
    results = {"trained": _run(evaluation, encoder, train, test)}
    result = results["trained"]
    untrained = None
    if baseline:
        found = results["untrained"] = _run(evaluation, _untrained(encoder, spec), train, test)
        name = f"random:{spec.architecture} seed {_BASELINE_SEED}"
        untrained = {"model": name, "metrics": found.metrics, "details": found.details}
    report = Report(
        evaluation=evaluation.info.name,
        protocol=evaluation.protocol,
        model=model,
        config=_plain(asdict(evaluation.config)),
        train=_described(train, result, "train") if evaluation.info.fits else None,
        test=_described(test, result, "test"),
        metrics=_plain(dict(sorted(result.metrics.items(), key=lambda item: item[0] != evaluation.info.metric))),
        baseline=_plain(untrained),
        selected=_plain(result.selected),
        details=_plain(result.details),
        seconds=round(time.monotonic() - start, 2),
        versions={"sslzoo": __version__, "torch": torch.__version__, "timm": timm.__version__},
        numbers=list(evaluation.info.numbers),
        weights=weights_digest(encoder),
        summary=evaluation.info.summary,
    )
    drawn = evaluation.draw(results)
    return replace(
        report,
        figures={report.name + name.removeprefix(report.evaluation): figure for name, figure in drawn.items()},
    )


def read_report(path: Path) -> Report:
    """The report in a file.

    Raises:
        UserError: if it cannot be read, or is none.
    """
    try:
        return Report.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def save_report(report: Report, folder: Path) -> Path:
    """Write ``<name>.json`` to ``folder``, whole or not at all, over what an earlier evaluation by its protocol wrote.

    Raises:
        UserError: if it cannot be written.
    """
    path = folder / f"{report.name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            partial.write_text(report.to_json() + "\n")
    except OSError as error:
        raise UserError(
            f"the report cannot be written to {path}: {error.strerror or error}; choose another --out"
        ) from error
    return path


def save_figures(report: Report, folder: Path) -> list[Path]:
    """Write the report's figures to ``folder`` as PNG, and return their paths.

    Raises:
        UserError: if one cannot be written.
    """
    paths = [folder / f"{name}.png" for name in report.figures]
    try:
        for path, figure in zip(paths, report.figures.values(), strict=True):
            save_figure(figure, path)
    except OSError as error:
        raise UserError(
            f"figures cannot be written to {folder}: {error.strerror or error}; choose another --out"
        ) from error
    return paths


def render(report: Report) -> Table:
    """The report as a table: trained, untrained and their difference; and the first metric of each layer."""
    title, caption = Text(f"{report.protocol}: {report.model}"), Text(_caption(report))
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    if not report.metrics:
        table.box, table.show_header = None, False
    table.add_column("")
    for heading in ("trained", "untrained", "difference"):
        table.add_column(heading, justify="right")
    baseline = report.baseline or {}
    for metric, value in report.metrics.items():
        compared = _compared(value, baseline.get("metrics", {}).get(metric), metric not in report.numbers)
        table.add_row(Text(metric.replace("_", " ")), *compared)
    table.add_section()
    headline = next(iter(report.metrics), "")
    theirs = baseline.get("details", {}).get("layers", {})
    for layer, found in report.details.get("layers", {}).items():
        label = f"{layer}: {found['dim']} features, C = {found['C']:g}"
        table.add_row(Text(label), *_compared(found[headline], theirs.get(layer, {}).get(headline), share=True))
    return table


def _checked_spec(encoder: nn.Module) -> EncoderSpec:
    """The spec of an encoder that can take the images it asks for."""
    spec = spec_of(encoder)
    try:
        with frozen(encoder, None) as device:
            encoder(torch.zeros(1, *spec.input.shape, device=device))
    except (AssertionError, RuntimeError, ValueError) as error:  # each architecture complains in its own way
        height, width = spec.input.size[1:]
        kind = "clips" if spec.input.frames else "images"
        complaint = " ".join(str(error).split())
        raise UserError(
            f"{spec.architecture} cannot take {kind} of {height} x {width} px: {complaint}; use a larger image size"
        ) from error
    return spec


def _run(evaluation: Evaluation, encoder: nn.Module, train: Source, test: Source) -> Result:
    home = next(encoder.parameters()).device
    encoder.to("cuda" if torch.cuda.is_available() else home)
    try:
        return evaluation.run(encoder, train, test)
    finally:
        encoder.to(home)


def _untrained(model: nn.Module, spec: EncoderSpec) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_BASELINE_SEED)
        encoder = spec.build()
        untrained = type(model)(encoder, model.config) if isinstance(model, PretextMethod) else encoder
        return untrained.eval()


def _described(source: Source, result: Result, part: str) -> dict[str, Any]:
    return {
        "name": source.name,
        "fingerprint": source.fingerprint,
        "samples": len(source),
        "readable": result.details.get("readable", {}).get(part),
    }


def _caption(report: Report) -> str:
    fitted = f"fitted on {report.train['name']}, scored" if report.train else "computed"
    fitted += f" on {report.test['name']}"
    chosen = report.selected.get("layer")
    return f"{fitted}; best layer on validation data: {chosen}" if chosen else fitted


def _compared(value: float, baseline: float | None, share: bool) -> tuple[str, str, str]:
    """A share in percent, another number as it is."""
    scale, digits, unit = (100, ".1f", " %") if share else (1, ".4g", "")
    if baseline is None:
        return f"{scale * value:{digits}}{unit}", "–", "–"
    difference = scale * (value - baseline)
    return f"{scale * value:{digits}}{unit}", f"{scale * baseline:{digits}}{unit}", f"{difference:+{digits}}"


def _recorded() -> list[str]:
    """What the JSON holds."""
    return [field.name for field in fields(Report) if field.name != "figures"]


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists, keys are texts."""
    return json.loads(json.dumps(value))
