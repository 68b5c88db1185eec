"""Pictures of a run, by matplotlib: what the method draws, and how the loss went."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

INK, ACCENT, SECOND = "#22303c", "#2f6f9f", "#d1783c"


def pretraining_figure(log: Path, pictures: dict[str, Tensor], title: str, columns: int = 8) -> Figure:
    """The loss curve of a log.jsonl and, above it, one row of images per entry of ``pictures``.

    ``pictures`` maps a row's title to (N, C, H, W) in [0, 1]; at most ``columns`` of N are shown.
    """
    rows = len(pictures)
    figure = Figure(figsize=(9, 1.25 * rows + 2.9), layout="constrained", facecolor="white")
    figure.suptitle(title, color=INK, fontsize=12)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[1.0] * rows + [2.0])
    for row, (name, images) in enumerate(pictures.items()):
        for column, image in enumerate(images[:columns]):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(image.float().permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_color("#d5dade")
            if column == 0:
                axes.set_title(name, loc="left", fontsize=9, color=INK)
    _draw_curves(figure.add_subplot(grid[rows, :]), [json.loads(line) for line in log.read_text().splitlines()])
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG that is the same for the same figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _draw_curves(axes: Axes, lines: list[dict]) -> None:
    axes.plot([line["step"] for line in lines], [line["loss"] for line in lines], color=ACCENT, label="training loss")
    held_out = [line for line in lines if "validation" in line]
    if held_out:
        steps, losses = zip(*((line["step"], line["validation"]["loss"]) for line in held_out), strict=True)
        axes.plot(steps, losses, color=SECOND, marker="o", markersize=3, label="held-out loss")
        axes.legend(frameon=False, labelcolor=INK)
    axes.set_xlabel("step", color=INK)
    axes.set_ylabel("loss", color=INK)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
