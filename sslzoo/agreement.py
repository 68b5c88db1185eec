"""Does an evaluation that was run again agree with what was reported?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from sslzoo.report import Report

TOLERANCE = 0.005
"""Half a percentage point, or half a percent of what is no share: a few samples on the edge, as other processors round
otherwise."""


@dataclass(frozen=True)
class Agreement:
    """Two reports of one evaluation, side by side."""

    reported: Report
    repeated: Report
    tolerance: float = TOLERANCE

    @property
    def differences(self) -> list[str]:
        """What differs by more than the tolerance, or altogether; empty if they agree."""
        found = [f"{part}: {was} was reported, and it is {now} now" for part, was, now in self._conditions()]
        for name, was, now in self.scores():
            if was is None or now is None:
                found.append(f"{name}: only {'reported' if now is None else 'found now'}")
            elif abs(now - was) > self.tolerance * self._unit(name, was):
                found.append(f"{name}: {was:.4f} was reported, and it is {now:.4f} now")
        return found

    @property
    def exact(self) -> bool:
        """Whether every number is the same to the last digit."""
        return not self.differences and all(was == now for _, was, now in self.scores())

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.differences:
            return "does not agree: " + "; ".join(self.differences)
        return "agrees to the last digit" if self.exact else f"agrees within {self.tolerance:g}"

    def _conditions(self) -> Iterator[tuple[str, Any, Any]]:
        """What must be the same for scores to be comparable, where it is not."""
        was, now = self.reported, self.repeated
        yield from _unequal("protocol", was.protocol.split()[0], now.protocol.split()[0])  # older ones end there
        yield from _unequal("weights", was.weights or now.weights, now.weights)  # older reports do not tell
        for part in ("train", "test"):
            theirs, ours = getattr(was, part) or {}, getattr(now, part) or {}
            yield from _unequal(f"{part} data", theirs.get("fingerprint"), ours.get("fingerprint"))

    def scores(self) -> Iterator[tuple[str, float | None, float | None]]:
        """Each number's name, as it was reported and as it is now; None where it is missing."""
        was, now = _flat(self.reported), _flat(self.repeated)
        for name in dict.fromkeys([*was, *now]):
            yield name, was.get(name), now.get(name)

    def _unit(self, name: str, value: float) -> float:
        return abs(value) if name.removeprefix("untrained ") in self.reported.numbers else 1


def render_agreement(agreement: Agreement) -> Table:
    """Every number as it was reported and as it is now, and the verdict."""
    now = agreement.repeated
    title = Text(f"{now.protocol}: {now.model}, once more")
    caption = Text(agreement.verdict)
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    table.add_column("")
    for heading in ("reported", "now", "difference"):
        table.add_column(heading, justify="right")
    for name, was, found in agreement.scores():
        difference = "–" if was is None or found is None else f"{found - was:+.4f}"
        values = ("–" if value is None else f"{value:.4f}" for value in (was, found))
        table.add_row(Text(name.replace("_", " ")), *values, difference)
    return table


def _flat(report: Report) -> dict[str, float]:
    """The metrics, and those of the untrained encoder after them."""
    baseline = (report.baseline or {}).get("metrics", {})
    return {**report.metrics, **{f"untrained {name}": value for name, value in baseline.items()}}


def _unequal(part: str, was: Any, now: Any) -> Iterator[tuple[str, str, str]]:
    if was != now:
        yield part, str(was)[:16], str(now)[:16]
