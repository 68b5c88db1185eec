"""The metadata at the top of a README."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sslzoo.testing.loopback.objects import Commit

FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})")
TEXTS = ("library_name", "pipeline_tag", "license_name", "license_link", "pretty_name")
TEXTS_OR_LISTS = ("license", "language", "base_model", "datasets", "metrics", "tags")
LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


class CardError(ValueError):
    """Metadata that the Hub refuses."""


def metadata(text: str) -> dict[str, Any]:
    """The front matter of a card, empty where there is none.

    Raises:
        CardError: where it is not YAML, or no mapping.
    """
    import yaml

    block = FRONT_MATTER.match(text)
    if not block:
        return {}
    try:
        values = yaml.safe_load(block[1])
    except yaml.YAMLError as error:
        raise CardError(f"The YAML of the front matter cannot be read: {error}") from error
    if values is not None and not isinstance(values, dict):
        raise CardError(f"The front matter is a {type(values).__name__}, not a mapping")
    return values or {}


def errors(text: str) -> list[str]:
    """What the Hub would refuse in a card."""
    try:
        values = metadata(text)
    except CardError as error:
        return [str(error)]
    return [*_type_errors(values), *_license_errors(values), *_result_errors(values.get("model-index"))]


def warnings(text: str) -> list[str]:
    """What the Hub would mention and let pass."""
    return [] if FRONT_MATTER.match(text) else ["empty or missing yaml metadata in repo card"]


def _type_errors(values: Mapping[str, Any]) -> Iterator[str]:
    for key in (*TEXTS, *TEXTS_OR_LISTS):
        value = values.get(key)
        items = value if isinstance(value, list) and key in TEXTS_OR_LISTS else [value]
        if value is not None and not all(isinstance(item, str) for item in items):
            yield f'"{key}" must be a string' + (" or a list of strings" if key in TEXTS_OR_LISTS else "")


def _license_errors(values: Mapping[str, Any]) -> Iterator[str]:
    for name in as_list(values.get("license")):
        if isinstance(name, str) and not LICENSE.fullmatch(name):
            yield f'"license" must be one of the Hub\'s identifiers, such as apache-2.0; not {name!r}'


def _result_errors(index: Any) -> Iterator[str]:
    """Results of evaluations need a task, a dataset and metrics, each with a type."""
    for i, model in enumerate(as_list(index)):
        yield from _missing(model, f"model-index[{i}]", ("name", "results"))
        for j, result in enumerate(as_list(model.get("results")) if isinstance(model, dict) else []):
            where = f"model-index[{i}].results[{j}]"
            yield from _missing(result, where, ("task.type", "dataset.type", "dataset.name", "metrics"))
            for k, metric in enumerate(as_list(result.get("metrics")) if isinstance(result, dict) else []):
                yield from _missing(metric, f"{where}.metrics[{k}]", ("type", "value"))


def _missing(value: Any, where: str, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        found = value
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            yield f'"{where}.{key}" is required'


def as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def card_of(commit: Commit) -> tuple[dict[str, Any], str]:
    """Metadata and text of a commit's README, empty where there is none that can be read."""
    try:
        text = commit.files["README.md"].data.decode()
        return metadata(text), text
    except (KeyError, ValueError):
        return {}, ""


def tags(kind: str, card: Mapping[str, Any], text: str, paths: list[str]) -> list[str]:
    """What a repository can be found by."""
    found = [card.get("library_name"), card.get("pipeline_tag")] if kind == "model" else []
    if kind == "model" and any(path.endswith(".safetensors") for path in paths):
        found.append("safetensors")
    found += as_list(card.get("tags"))
    prefixes = {"datasets": "dataset:", "base_model": "base_model:", "license": "license:"}
    prefixes["language"] = "" if kind == "model" else "language:"
    if kind == "dataset":
        prefixes |= {"task_categories": "task_categories:", "size_categories": "size_categories:"}
    for key, prefix in prefixes.items():
        found += [f"{prefix}{value}" for value in as_list(card.get(key))]
    found += [f"arxiv:{number}" for number in ARXIV.findall(text)]
    return list(dict.fromkeys([str(tag) for tag in found if tag] + ["region:us"]))
