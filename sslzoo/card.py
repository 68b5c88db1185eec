"""The model card of a run: everything in it is read from the run's folder, nothing is typed by hand."""

from __future__ import annotations

import json
import math
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined
from safetensors import safe_open

from sslzoo.checkpoint import atomic_write
from sslzoo.config import UserError
from sslzoo.hub.timm_config import read_config
from sslzoo.hub.weights import weights_file

SOURCE = "sslzoo/sslzoo"
"""Where torch.hub finds hubconf.py on GitHub."""
_SETTINGS = ("epochs", "batch_size", "optimizer", "lr", "schedule", "weight_decay", "image_size", "seed")
_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")


def write_card(run: Path, repo_id: str | None = None) -> Path:
    """Write ``encoder/README.md`` of a run, and return its path.

    Raises:
        UserError: if the run has no encoder or no readable record.
    """
    path = run / "encoder" / "README.md"
    with atomic_write(path) as partial:
        partial.write_text(render_card(run, repo_id), encoding="utf-8")
    return path


def render_card(run: Path, repo_id: str | None = None) -> str:
    """The model card of a run, as Markdown after a block of metadata for the Hub.

    Args:
        run: with run.json, encoder/, and perhaps evaluations/ and figures/.
        repo_id: ``org/name`` in the loading examples; ``ORG/`` and the run's name if not given.

    Raises:
        UserError: if the run has no encoder or no readable record.
    """
    record = _read_json(run / "run.json")
    config = read_config(run / "encoder")
    reports = [_read_json(path) for path in sorted((run / "evaluations").glob("*.json"))]
    repo = repo_id or f"ORG/{run.resolve().name}"
    described = config["pretrained_cfg"]
    return _template().render(
        metadata=metadata(record, config, reports, repo).to_yaml(),
        name=repo.rpartition("/")[2],
        repo=repo,
        source=SOURCE,
        config=config,
        parameters=f"{_parameters(run / 'encoder'):,}",
        size=described["input_size"],
        mean=described["mean"],
        std=described["std"],
        license=described["license"],
        digest=config["sslzoo"]["weights_sha256"],
        method=record["method"],
        paper=record["method"].get("paper"),
        command=record["command"],
        settings=_items({key: record["pretrain"][key] for key in _SETTINGS if key in record["pretrain"]}),
        dataset=record["dataset"],
        compute=_compute(record),
        results=[row for report in reports for row in _rows(report)],
        protocols={report["protocol"]: _protocol(report) for report in reports},
        figures={
            path.stem.replace("_", " "): f"figures/{path.name}" for path in sorted((run / "figures").glob("*.png"))
        },
    )


def metadata(record: dict[str, Any], config: dict[str, Any], reports: list[dict[str, Any]], repo: str) -> ModelCardData:
    """What the Hub reads: licence, tags to filter by, data sets, and results as a model-index."""
    method, dataset = record["method"], _split(record["dataset"]["name"])[0]
    return ModelCardData(
        library_name="timm",
        license=config["pretrained_cfg"]["license"],
        pipeline_tag="image-feature-extraction",
        tags=[
            *("sslzoo", "self-supervised-learning", method["name"], method["category"], method["family"]),
            *("timm", "transformers"),
        ],
        datasets=[dataset] if _is_hub_id(dataset) else None,
        model_name=repo.rpartition("/")[2],
        eval_results=[result for report in reports for result in _eval_results(report)] or None,
    )


def _eval_results(report: dict[str, Any]) -> list[EvalResult]:
    """One per metric. Those on the same data are merged under the first name, so the protocol is in the metric's."""
    dataset, split = _split(report["test"]["name"])
    baseline = (report.get("baseline") or {}).get("metrics", {})
    return [
        EvalResult(
            task_type="image-feature-extraction",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=split,
            dataset_revision=report["test"].get("fingerprint"),
            metric_type=metric,
            metric_name=f"{metric} ({report['protocol']})",
            metric_value=_number(value),
            metric_args={
                "protocol": report["protocol"],
                "train": report["train"]["name"],
                **report.get("config", {}),
                **({"untrained_encoder": _number(baseline[metric])} if metric in baseline else {}),
            },
        )
        for metric, value in report["metrics"].items()
    ]


def _rows(report: dict[str, Any]) -> list[dict[str, str]]:
    baseline = (report.get("baseline") or {}).get("metrics", {})
    return [
        {
            "protocol": report["protocol"],
            "data": report["test"]["name"],
            "metric": metric,
            "score": _score(value),
            "baseline": _score(baseline[metric]) if metric in baseline else "–",
        }
        for metric, value in report["metrics"].items()
    ]


def _protocol(report: dict[str, Any]) -> str:
    """How an evaluation was done, in one line."""
    parts = [f"fitted on {report['train']['name']}", _items(report.get("config") or {})]
    if selected := _items(report.get("selected") or {}):
        parts.append(f"chosen without the test data: {selected}")
    return "; ".join(part for part in parts if part)


def _compute(record: dict[str, Any]) -> str:
    """How long it took, on what, with which versions."""
    environment = record.get("environment", {}) | record.get("resolved", {})
    steps, processes = record.get("steps"), environment.get("processes", 1)
    parts = [
        f"{steps:,} steps" if steps else "",
        f"in {_duration(record['seconds'])}" if record.get("seconds") else "",
        f"on {environment['device']}" if environment.get("device") else "",
        f"with {processes} processes" if processes > 1 else "",
        f"in {environment['precision']}" if environment.get("precision") else "",
    ]
    versions = ", ".join(f"{name} {number}" for name, number in environment.get("versions", {}).items())
    return " ".join(part for part in parts if part) + (f". Versions: {versions}." if versions else ".")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _items(values: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())


def _score(value: float) -> str:
    """Shares as percent with one decimal; what is no share, as it is."""
    return f"{100 * value:.1f} %" if 0 <= value <= 1 else f"{value:.4g}"


def _number(value: float) -> float:
    return round(100 * value, 1) if 0 <= value <= 1 else float(f"{value:.4g}")


def _split(dataset: str) -> tuple[str, str | None]:
    """``cliparts[test]`` -> ``cliparts``, ``test``."""
    name, bracket, split = dataset.partition("[")
    return name, split.rstrip("]") if bracket else None


def _is_hub_id(dataset: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", dataset) is not None and not dataset.endswith((".parquet", ".arrow"))


def _parameters(folder: Path) -> int:
    """Trained numbers in the weights file: all but the statistics of batch norms."""
    with safe_open(weights_file(folder), framework="pt") as weights:
        names = [name for name in weights.keys() if not name.endswith(_STATISTICS)]  # noqa: SIM118  it is no dict
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in names)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); the card needs it: restore it") from error


def _template() -> Any:
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    environment.filters |= {
        "words": lambda text: text.replace("_", " ").replace("-", " "),
        "cell": lambda text: str(text).replace("|", "\\|"),
        "thousands": lambda number: "not known" if number is None else f"{number:,}",
    }
    return environment.from_string(files("sslzoo").joinpath("card.md").read_text(encoding="utf-8"))
