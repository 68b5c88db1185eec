"""``sslzoo evaluate EVALUATION MODEL``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from sslzoo.agreement import TOLERANCE, render_agreement
from sslzoo.api import evaluate, evaluate_again
from sslzoo.config import UsageError
from sslzoo.flags import parse
from sslzoo.registry import evaluations
from sslzoo.report import USUAL_DATASET, render


@dataclass(frozen=True)
class Arguments:
    model: tyro.conf.Positional[str]
    """A run or encoder folder, hf-hub:org/name[@rev], or random:ARCH."""
    dataset: str = USUAL_DATASET
    """Embedded name, folder:PATH, datasets id, or local parquet/arrow."""
    train_split: str = "train"
    """Split to fit on, and to choose settings on parts of."""
    test_split: str = ""
    """Split to score on, once; test, or else validation, if not given."""
    image_column: str = ""
    """Column that holds the images; recognised by name or type if not given."""
    label_column: str = ""
    """Column that holds the labels, objects or masks; recognised by name or type if not given."""
    out: str = ""
    """Folder for the report; a run keeps its own if not given."""
    baseline: bool = True
    """Also evaluate the untrained encoder."""
    json: bool = False
    """Print the report as JSON."""


@dataclass(frozen=True)
class Again:
    like: str
    """A report: its evaluation is run once more, with its settings, and compared."""
    model: tyro.conf.Positional[str] = ""
    """What the report is of, if it lies in a folder other than the run that holds the report."""
    dataset: str = ""
    """Where the data is, if it lies in a folder."""
    image_column: str = ""
    """As it was given for the report."""
    label_column: str = ""
    """As it was given for the report."""
    tolerance: float = TOLERANCE
    """Largest difference that still agrees: of a share as it is, of another number relative to it."""
    out: str = ""
    """Folder for the new report; it is not kept if not given."""
    json: bool = False
    """Print both reports and the verdict as JSON."""


def main(verb: str, words: list[str]) -> int:
    """Evaluate, and print the report."""
    if any(word == "--like" or word.startswith("--like=") for word in words):
        return _again(parse(Again, words, "sslzoo evaluate", "Run the evaluation of a report once more."))
    if not words or words[0].startswith("-"):
        names = ", ".join(evaluations.names())
        usage = (
            f"usage: sslzoo evaluate EVALUATION MODEL [flags], or sslzoo evaluate --like REPORT; evaluations: {names}"
        )
        if words and words[0] in ("-h", "--help"):
            print(usage)
            return 0
        raise UsageError(usage)
    kind = evaluations.load(words[0])
    flat = tyro.conf.OmitArgPrefixes
    arguments = make_dataclass(
        "EvaluateArguments",
        [("own", flat[kind.Config], field(default=kind.Config()))],
        bases=(Arguments,),
        frozen=True,
    )
    parsed: Any = parse(arguments, words[1:], f"sslzoo evaluate {words[0]}", kind.info.summary)
    settings = {name: value for name, value in asdict(parsed).items() if name not in ("own", "json", "out")}
    folder = _figures(parsed)
    if folder is None and not kind.info.metric:
        raise UsageError(
            f"{words[0]} only draws, and {parsed.model} is no run to keep its figures: name a folder by --out"
        )
    report = evaluate(words[0], out=parsed.out or None, **settings, **asdict(parsed.own))
    if parsed.json:
        print(report.to_json())
    else:
        Console().print(render(report))
    if folder is not None:
        for name in report.figures:
            print(f"figure: {folder / f'{name}.png'}", file=sys.stderr)
    return 0


def _again(given: Again) -> int:
    settings = {name: value for name, value in asdict(given).items() if name not in ("like", "json", "out")}
    agreement = evaluate_again(given.like, **settings, out=given.out or None)
    if given.json:
        reports = {"reported": agreement.reported, "repeated": agreement.repeated}
        told = {name: json.loads(report.to_json()) for name, report in reports.items()}
        print(json.dumps({**told, "exact": agreement.exact, "differences": agreement.differences}, indent=2))
    else:
        Console().print(render_agreement(agreement))
    return 1 if agreement.differences else 0


def _figures(parsed: Any) -> Path | None:
    """Where figures go: a run keeps its own; None if they go nowhere."""
    if parsed.out:
        return Path(parsed.out)
    run = Path(parsed.model)
    return run / "figures" if (run / "run.json").exists() else None
