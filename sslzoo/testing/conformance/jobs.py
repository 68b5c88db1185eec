"""The parts of an examination, and the promises that each is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslzoo.testing.conformance import conduct, evaluations, sources
from sslzoo.testing.conformance.children import JobError, describe
from sslzoo.testing.conformance.collapse import check_collapse
from sslzoo.testing.conformance.cost import check_cost
from sslzoo.testing.conformance.learning import check_learning
from sslzoo.testing.conformance.repeating import check_processes, check_resume
from sslzoo.testing.conformance.subject import Named
from sslzoo.testing.conformance.views import Verdict, check_views


@dataclass(frozen=True)
class Part:
    """Some promises, in the order in which ``run`` tells of them."""

    promises: tuple[str, ...]
    run: Callable[[Any, Path], Iterator[Verdict]]
    starts_jobs: bool = False
    """Whether it only starts processes and compares what they did; else it runs in one itself."""


PARTS: dict[str, tuple[Part, ...]] = {
    "method": (
        Part(("picklable-views", "keyed-views", "separate-samples", "blind-to-labels"), check_views),
        Part(("loss", "gradients", "teacher", "eval-mode", "sees-views", "round-trip"), check_learning),
        Part(("no-collapse",), check_collapse),
        Part(("resume",), check_resume, starts_jobs=True),
        Part(("two-processes",), check_processes, starts_jobs=True),
        Part(conduct.PROMISES, conduct.check_conduct),
        Part(("step-cost",), check_cost),
    ),
    "evaluation": (
        Part(
            ("result", "figures", "encoder-untouched", "repeatable", "test-unseen"),
            evaluations.check_evaluation_runs,
        ),
        Part(conduct.PROMISES, evaluations.check_evaluation_conduct),
    ),
    "dataset": (
        Part(
            (
                *("splits", "samples", "labels-apart", "labels", "annotations"),
                *("repeatable", "fingerprint", "picklable", "disjoint"),
            ),
            sources.check_sources,
        ),
        Part(sources.CONDUCT, sources.check_source_conduct),
    ),
}


def examine(contract: str, number: int, subject: Named, folder: Path, wanted: Sequence[str]) -> dict[str, str]:
    """How each promise of a part is broken, empty where it is kept, up to the last of those ``wanted``.

    What is not reached after an error is left out.
    """
    folder.mkdir()
    part = PARTS[contract][number]
    found: dict[str, str] = {}
    try:
        for promise, broken in part.run(subject, folder):
            found[promise] = broken
            if not set(wanted) & set(part.promises) - found.keys():
                break
    except JobError as error:
        found[_next(part, found)] = str(error)
    except Exception as error:  # a stranger's code may raise anything, and that is a finding
        found[_next(part, found)] = describe(error)
    return found


def _next(part: Part, found: dict[str, str]) -> str:
    return next(promise for promise in part.promises if promise not in found)
