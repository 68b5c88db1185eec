"""How well each layer of an encoder does, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sslzoo.card.contents import headline
from sslzoo.figures import ACCENT, INK, SECOND, save_figure

SUFFIX = "_layers"
"""``linear_layers.png`` is of ``linear.json``."""


def draw_layers(report: dict[str, Any], name: str, run: Path) -> Path | None:
    """Write ``figures/<name>_layers.png`` of a run, if the report of that name tells its headline metric by layer."""
    figure = layer_figure(report)
    if figure is None:
        return None
    path = run / "figures" / f"{name}{SUFFIX}.png"
    save_figure(figure, path)
    return path


def layer_figure(report: dict[str, Any]) -> Figure | None:
    """The headline metric of each entry of ``details.layers``, beside that of the untrained encoder.

    None where there are not at least two layers with that metric.
    """
    metric = headline(report)
    trained = _by_layer(report.get("details"), metric)
    if len(trained) < 2:
        return None
    untrained = _by_layer((report.get("baseline") or {}).get("details"), metric)
    figure = Figure(figsize=(9, 3.4), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    places = range(len(trained))
    axes.plot(places, [100 * value for value in trained.values()], color=ACCENT, marker="o", label="this encoder")
    if untrained.keys() == trained.keys():
        values = [100 * untrained[layer] for layer in trained]
        axes.plot(places, values, color=SECOND, marker="o", linestyle="--", label="untrained")
    chosen = (report.get("selected") or {}).get("layer")
    if chosen in trained:
        place = list(trained).index(chosen)
        label = "best on validation data"
        axes.plot(place, 100 * trained[chosen], "o", ms=13, mfc="none", mec=ACCENT, mew=1.5, ls="", label=label)
    axes.set_xticks(list(places), list(trained), rotation=0 if len(trained) < 9 else 45, parse_math=False)
    axes.set_ylabel(f"{metric.replace('_', ' ')} (%)", color=INK, parse_math=False)
    title = f"{report['protocol']} by layer, on {report['test']['name']}"
    axes.set_title(title, loc="left", color=INK, fontsize=11, parse_math=False)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, labelcolor=INK)
    return figure


def _by_layer(details: Any, metric: str) -> dict[str, float]:
    layers = (details or {}).get("layers") or {}
    return {str(layer): found[metric] for layer, found in layers.items() if metric in found}
