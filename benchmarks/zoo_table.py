"""``zoo.md``: tables of the entries of ``zoo.json`` and ``zoo_clips.json``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from zoo_tracks import TRACKS, UNTRAINED, Track

Entries = list[dict[str, Any]]
"""Of one method, by seed."""


def tables(entries: dict[str, dict[str, Any]]) -> str:
    """A table for each track that has entries, by the track's name."""
    parts = [HEAD, *(table(track, entries[track.name]) for track in TRACKS if entries.get(track.name))]
    return "\n".join(parts)


def table(track: Track, entries: dict[str, Any]) -> str:
    """The entries as Markdown: the best by the first score first, the untrained encoders last."""
    by_method: dict[str, Entries] = {}
    for label in sorted(entries):
        by_method.setdefault(label.rpartition("-")[0], []).append(entries[label])
    untrained = {name: by_method.pop(name) for name in list(by_method) if name.startswith(UNTRAINED)}
    first = next(iter(track.columns))
    ranked = sorted(by_method, key=lambda name: -_mean(by_method[name], first))
    columns = ("method", "seeds", "pretext: before → after", *track.columns.values(), *COLUMNS)
    lines = [track.text, _line(columns), "|---" * len(columns) + "|"]
    lines += [_row(track, name, by_method[name], untrained.get(by_method[name][0]["untrained"], [])) for name in ranked]
    for name, found in untrained.items():
        scored = (_spread(found, score) for score in track.columns)
        lines.append(_line([f"*{name}*", str(len(found)), "", *scored, *[""] * 6, *_origin(found)]))
    if missing := [f"`{name}`" for name in track.methods() if name not in by_method]:
        lines += ["", f"Not measured yet: {', '.join(missing)}."]
    if plain := [label for label in sorted(entries) if entries[label].get("precision") == "fp32"]:
        lines += ["", f"In fp32, on a processor without bf16, of which their seconds are: {', '.join(plain)}."]
    if notes := [f"- `{name}`: {track.notes[name]}" for name in ranked if name in track.notes]:
        lines += ["", *notes]
    return "\n".join([*lines, ""])


COLUMNS = ("beats untrained", "feature std", "views / step", "wall s", "CPU s", "samples/CPU s", "key", "commits")
HEAD = """# The zoo at a small budget

Written by `make zoo`. Every method by its recipe `small`, on one thread in bf16, but for the seeds that are told below
a table; mean ± standard deviation over seeds. Scores are in %, on the test split. *Pretext* is the accuracy of the task
itself on held-out data where it has one, else the loss; *before* is the untrained network's, its chance level (not
MoCo's, whose queue then holds random directions, which any key is told from). A method beats the untrained encoder in a
score if the means differ by more than two standard deviations, the larger of the two; with one seed nothing is said.
Seconds are those of pretraining, its held-out scores and figure included, the median over seeds; other programs ran on
the machine, which the wall clock counts and the processor's does not. Samples are pictures or clips, however many views
are made of one. The key stands for the method's file, its configuration and the budget: an entry with another one is
made again. The recipes of pictures were chosen in a few tries on this data and this test split: their table is a
receipt that the methods work at a small budget, not a comparison of what they can do. Those of clips were not fitted to
this budget, and not all of them learn in it.
"""


def _row(track: Track, name: str, found: Entries, untrained: Entries) -> str:
    better = [label for score, label in track.columns.items() if beats(found, untrained, score)]
    told = min(len(found), len(untrained)) > 1
    stds = [entry["feature_std"] for entry in found if entry["feature_std"] is not None]
    return _line(
        [
            f"`{name}`",
            str(len(found)),
            _pretext(found),
            *(_spread(found, score) for score in track.columns),
            ", ".join(better) or ("**no**" if told else ""),
            f"{statistics.mean(stds):.2f}" if stds else "",
            f"{_median(found, 'views_per_step'):.2f}" if any("views_per_step" in entry for entry in found) else "",
            *(f"{_median(found, cost):.0f}" for cost in ("seconds", "cpu_seconds", "samples_per_cpu_second")),
            *_origin(found),
        ]
    )


def beats(found: Entries, untrained: Entries, score: str) -> bool:
    """By more than two standard deviations, the larger of the two sides'; never with one seed."""
    ours, theirs = (
        [entry["scores"][score] for entry in side if score in entry["scores"]] for side in (found, untrained)
    )
    if min(len(ours), len(theirs)) < 2:
        return False
    deviation = max(map(statistics.stdev, (ours, theirs)))
    return statistics.mean(ours) - statistics.mean(theirs) > 2 * deviation


def _pretext(found: Entries) -> str:
    name = "accuracy" if "accuracy" in found[0]["pretext"]["after"] else "loss"
    ends = [statistics.mean(entry["pretext"][end][name] for entry in found) for end in ("before", "after")]
    shown = [f"{100 * end:.1f} %" if name == "accuracy" else f"{end:.3g}" for end in ends]
    return f"{name} {shown[0]} → {shown[1]}"


def _spread(found: Entries, score: str) -> str:
    values = [100 * value for value in _values(found, score)]
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}" if values else ""


def _values(found: Entries, score: str) -> list[float]:
    """By seed, where there is such a score."""
    return [entry["scores"][score] for entry in found if score in entry["scores"]]


def _mean(found: Entries, score: str) -> float:
    return statistics.mean(_values(found, score))


def _origin(found: Entries) -> tuple[str, str]:
    """Of what the entries were made: method, configuration and budget; and by which commits."""
    commits = {(entry["commit"] or "")[:7]: None for entry in found}
    return " ".join(sorted({entry["key"][:7] for entry in found})), " ".join(sorted(commits))


def _median(found: Entries, cost: str) -> float:
    """Over the seeds for which it was measured."""
    return statistics.median(entry[cost] for entry in found if cost in entry)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
