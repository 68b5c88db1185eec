"""Reports, as the card and its metadata tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml
from huggingface_hub.utils import yaml_dump

from sslzoo.card.contents import untrained
from sslzoo.card.text import items, words
from sslzoo.hub.names import hub_dataset, split_dataset


def rows(report: dict[str, Any]) -> list[dict[str, str]]:
    """Of the table of results, one per metric."""
    baseline = untrained(report)
    return [
        {
            "protocol": report["protocol"],
            "data": report["test"]["name"],
            "metric": words(metric),
            "score": score(report, metric, value),
            "baseline": score(report, metric, baseline[metric]) if metric in baseline else "–",
        }
        for metric, value in report["metrics"].items()
    ]


def protocol(report: dict[str, Any]) -> str:
    """How an evaluation was done, in one line."""
    chosen = dict(report.get("selected") or {})
    rule = chosen.pop("rule", "")
    parts = [f"fitted on {report['train']['name']}" if report["train"] else "", items(report.get("config") or {})]
    if chosen:
        parts.append(f"chosen without the test data: {items(chosen)}")
    return "; ".join(part for part in (*parts, rule) if part)


def caption(figure: str, reports: Mapping[str, dict[str, Any]]) -> str:
    """What a figure shows: its name and, if that begins with an evaluation's, what its report says of itself."""
    owners = [name for name in reports if f"{figure}_".startswith(f"{name}_")]
    if not owners:
        return words(figure)
    report = reports[max(owners, key=len)]
    about = f"{words(figure)} ({report['protocol']} on {report['test']['name']})"
    return f"{about}: {report['summary']}" if report.get("summary") else about


def model_index(report: dict[str, Any]) -> list[EvalResult]:
    """One per metric. Those on the same data are merged under the first name, so the protocol is in the metric's."""
    dataset, config, split = split_dataset(report["test"]["name"])
    baseline = untrained(report)
    settings = {key: _compact(value) for key, value in (report.get("config") or {}).items()}
    return [
        EvalResult(
            task_type="image-feature-extraction",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_config=config,
            dataset_split=split,
            dataset_revision=report["test"].get("fingerprint"),
            metric_type=metric,
            metric_name=f"{metric} ({report['protocol']})",
            metric_value=number(report, metric, value),
            metric_args={
                "protocol": report["protocol"],
                **({"train": report["train"]["name"]} if report["train"] else {}),
                **settings,
                **({"untrained_encoder": number(report, metric, baseline[metric])} if metric in baseline else {}),
            },
        )
        for metric, value in report["metrics"].items()
    ]


def eval_results(report: dict[str, Any]) -> str | None:
    """The report as a file of the Hub's ``.eval_results/``; None if its data is not on the Hub, or it has no score.

    The format (https://huggingface.co/docs/hub/eval-results) can name data sets of the Hub only, and the Hub shows
    anything else as an error. ``model-index`` has all results.
    """
    name = report["test"]["name"]
    dataset, config, split = split_dataset(name)
    if not hub_dataset(name) or not report["metrics"]:
        return None
    baseline = untrained(report)
    entries = []
    for metric, value in report["metrics"].items():
        notes = [f"{report['protocol']}: {words(metric)} on {split or 'the default split'}", protocol(report)]
        if metric in baseline:
            notes.append(f"the untrained encoder has {number(report, metric, baseline[metric])}")
        shown = number(report, metric, value)
        entries.append(EvalResultEntry(dataset, config or "default", shown, notes="; ".join(notes)))
    return yaml_dump(eval_result_entries_to_yaml(entries), sort_keys=False)


def score(report: dict[str, Any], metric: str, value: float) -> str:
    """A share as percent with one decimal; a metric that is no share, as it is."""
    return f"{100 * value:.1f} %" if _is_share(report, metric) else f"{value:.4g}"


def number(report: dict[str, Any], metric: str, value: float) -> float:
    """The same, for machines."""
    return round(100 * value, 1) if _is_share(report, metric) else float(f"{value:.4g}")


def _is_share(report: dict[str, Any], metric: str) -> bool:
    return metric not in report.get("numbers", ())


def _compact(value: Any) -> Any:
    """Long lists would fill the metadata, a line for each entry and metric."""
    return " ".join(map(str, value)) if isinstance(value, list) else value
