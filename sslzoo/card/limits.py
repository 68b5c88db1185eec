"""What an encoder is not for, as far as its own files show. Nothing is said that does not follow from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sslzoo.card.contents import Contents, headline, untrained
from sslzoo.card.results import score
from sslzoo.card.text import words

IMAGENET, RESNET50 = 1_281_167, 23_508_032
"""Pictures of ImageNet-1k, and parameters of a ResNet-50 without classifier: the scale of most papers."""
_SMALL = 10
"""How many times smaller than that is worth a warning."""


def limits(contents: Contents) -> list[str]:
    """Sentences, the weightiest first."""
    return [*_scale(contents), *_data(contents), *_scores(list(contents.reports.values())), *_input(contents), UNTESTED]


UNTESTED = (
    "It was not tested for robustness, fairness or privacy. Do not base decisions about people on it, nor any for "
    "which a wrong answer does harm."
)


def _scale(contents: Contents) -> Iterator[str]:
    samples = contents.dataset["samples"]
    found = []
    if isinstance(samples, int) and samples > 0 and IMAGENET / samples >= _SMALL:
        found.append(f"saw {samples:,} samples (ImageNet-1k has {IMAGENET / samples:,.0f} times as many)")
    if RESNET50 / contents.parameters >= _SMALL:
        times = RESNET50 / contents.parameters
        found.append(f"has {contents.parameters:,} parameters (a ResNet-50 has {times:,.0f} times as many)")
    if found:
        yield (
            f"It is small: it {' and '.join(found)}. It serves to compare pretext tasks at this scale, to teach and to "
            "test; it is no substitute for an encoder that was pretrained at the scale of the papers."
        )


def _data(contents: Contents) -> Iterator[str]:
    yield (
        f"It knows {contents.dataset['name']} and nothing else, with the gaps and biases of that data. The less your "
        "images look like those, the less its features are worth."
    )
    scored = dict.fromkeys(report["test"]["name"] for report in contents.reports.values() if report["metrics"])
    yield f"It was scored on {', '.join(scored)} and nowhere else." if scored else "It was not scored on any data."


def _scores(reports: list[dict[str, Any]]) -> Iterator[str]:
    for report in reports:
        metric, baseline = headline(report), untrained(report)
        if metric in baseline and report["metrics"][metric] <= baseline[metric]:
            yield (
                f"By {report['protocol']} it is no better than random weights: {words(metric)} "
                f"{score(report, metric, report['metrics'][metric])} against {score(report, metric, baseline[metric])}."
            )
    if any(report["metrics"] for report in reports):
        yield "Scores are of this one run; what another seed would give is not known from it."


def _input(contents: Contents) -> Iterator[str]:
    channels, height, width = contents.input_size
    frames = f"clips of {contents.frames} frames, " if contents.frames else ""
    yield (
        f"It was trained at {frames}{height} × {width} pixels and {channels} channels: what is too fine to be seen at "
        "that size it never saw, and other sizes were not tested."
    )
