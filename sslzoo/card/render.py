"""The model card of a run: everything in it is read from the run's folder, nothing is typed by hand."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub.utils import validate_repo_id
from jinja2 import Environment, StrictUndefined, Template

from sslzoo.card import text
from sslzoo.card.citation import bibtex
from sslzoo.card.contents import Contents, read_contents
from sslzoo.card.layer_curve import SUFFIX
from sslzoo.card.limits import limits
from sslzoo.card.metadata import metadata
from sslzoo.card.results import caption, eval_results, protocol, rows
from sslzoo.checkpoint import atomic_write
from sslzoo.hub.errors import hub_errors
from sslzoo.hub.layout import CARD, EVAL_RESULTS, encoder_folder
from sslzoo.hub.names import hub_name
from sslzoo.views import spectrograms

SOURCE = "sslzoo/sslzoo"
"""Where torch.hub finds hubconf.py on GitHub."""
_SETTINGS = ("epochs", "batch_size", "optimizer", "lr", "schedule", "weight_decay", "image_size", "seed")
_TASK_FIGURES = {
    "illustration": "What the method makes of pictures",
    "pretraining": "What the method draws of pictures, where it draws any, and its loss by step",
}
"""Captions of what is shown where the pretext task is told."""


def write_card(run: Path, repo_id: str | None = None) -> Path:
    """Write the card of a run and its ``.eval_results/``, and return the card's path.

    Raises:
        UsageError: if ``repo_id`` is no name of a repository.
        UserError: if the run has no encoder or no readable record.
    """
    rendered = _render(run, repo_id)
    for path in _eval_results_files(run):
        if f"{EVAL_RESULTS}/{path.name}" not in rendered:
            path.unlink()  # of a report that is gone
    for name, content in rendered.items():
        path = _place(run, name)
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as partial:
            partial.write_text(content, encoding="utf-8")
    return _place(run, CARD)


def render_card(run: Path, repo_id: str | None = None) -> str:
    """The model card of a run, as Markdown after a block of metadata for the Hub.

    Args:
        run: with run.json, encoder/, and perhaps evaluations/ and figures/; or the folder of a repository, where what
            is in encoder/ lies beside them.
        repo_id: ``org/name`` in the loading examples; ``ORG/`` and the run's name if not given.

    Raises:
        UsageError: if ``repo_id`` is no name of a repository.
        UserError: if the run has no encoder or no readable record.
    """
    return _render(run, repo_id)[CARD]


def difference(run: Path, repo_id: str | None = None) -> str:
    """What differs between the card and ``.eval_results/`` in a folder and what would be written today.

    Takes what ``render_card`` takes. A unified diff, empty if all is fresh.

    Raises:
        UsageError: if ``repo_id`` is no name of a repository.
        UserError: if the run has no encoder or no readable record.
    """
    fresh = _render(run, repo_id)
    names = dict.fromkeys([*fresh, *(f"{EVAL_RESULTS}/{path.name}" for path in _eval_results_files(run))])
    found: list[str] = []
    for name in names:
        path = _place(run, name)
        old = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        found += difflib.unified_diff(
            old.splitlines(True), fresh.get(name, "").splitlines(True), f"{name} (there)", f"{name} (fresh)"
        )
    return "".join(found)


def _place(run: Path, name: str) -> Path:
    return encoder_folder(run) / name if name == CARD else run / name


def _eval_results_files(run: Path) -> list[Path]:
    return sorted((run / EVAL_RESULTS).glob("sslzoo-*.yaml"))


def _render(run: Path, repo_id: str | None) -> dict[str, str]:
    """All that is written, by name in the repository."""
    if repo_id is not None:
        with hub_errors(f"name a model {repo_id!r}"):
            validate_repo_id(repo_id)
    contents = read_contents(run)
    results = {f"{EVAL_RESULTS}/sslzoo-{name}.yaml": eval_results(report) for name, report in contents.reports.items()}
    card = _card(contents, repo_id or f"ORG/{hub_name(run.resolve().name)}")
    return {CARD: card} | {name: content for name, content in results.items() if content}


def _card(contents: Contents, repo: str) -> str:
    record, config, method = contents.record, contents.config, contents.method
    described, reports = config["pretrained_cfg"], contents.reports.values()
    name = repo.rpartition("/")[2]
    layers = [figure for figure in contents.figures if figure.endswith(SUFFIX)]
    task = [figure for figure in _TASK_FIGURES if figure in contents.figures]
    return _template().render(
        metadata=metadata(contents, name).to_yaml(),
        name=name,
        repo=repo,
        source=SOURCE,
        config=config,
        parameters=contents.parameters,
        bytes=contents.size,
        size=contents.input_size,
        frames=contents.frames,
        shape=[contents.input_size[0], *([contents.frames] if contents.frames else []), *contents.input_size[1:]],
        mean=described["mean"],
        std=described["std"],
        license=described["license"],
        digest=config["sslzoo"]["weights_sha256"],
        sounds=contents.sounds,
        spectrograms=spectrograms,
        method=method,
        paper=method["paper"],
        bibtex=bibtex(method["paper"]) if method["paper"] else "",
        command=record.get("command"),
        settings=text.items({key: record["pretrain"][key] for key in _SETTINGS if key in record["pretrain"]}),
        dataset=contents.dataset,
        validation=record["pretrain"].get("validation"),
        compute=_compute(record),
        results=[row for report in reports for row in rows(report)],
        protocols=dict.fromkeys((report["protocol"], protocol(report)) for report in reports),
        captions={figure: caption(figure, contents.reports) for figure in contents.figures} | _TASK_FIGURES,
        task_figures=task,
        layer_figures=layers,
        other_figures=[figure for figure in contents.figures if figure not in {*layers, *task}],
        limits=limits(contents),
    )


def _compute(record: dict[str, Any]) -> str:
    """How long it took, on what, with which versions."""
    environment = record.get("environment") or {}
    steps, processes, threads = record.get("steps"), environment.get("processes", 1), environment.get("threads")
    parts = [
        f"{steps:,} steps" if steps else "",
        f"in {text.duration(record['seconds'])}" if record.get("seconds") else "",
        f"on {environment['device']}" if environment.get("device") else "",
        f"with {processes} processes" if processes > 1 else "",
        f"with {threads} thread{'s' * (threads > 1)}" if threads else "",
        f"in {environment['precision']}" if environment.get("precision") else "",
    ]
    told = " ".join(part for part in parts if part) or "Not recorded"
    versions = ", ".join(f"{name} {number}" for name, number in environment.get("versions", {}).items())
    commit = environment.get("git_commit")
    return (
        ". ".join([told, *([f"Versions: {versions}"] if versions else []), *([f"Commit: {commit}"] if commit else [])])
        + "."
    )


@cache
def _template() -> Template:
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    filters = (text.plain, text.code, text.block, text.link, text.words, text.thousands, quote)
    environment.filters |= {made.__name__: made for made in filters}
    return environment.from_string(files("sslzoo.card").joinpath("card.md").read_text(encoding="utf-8"))
