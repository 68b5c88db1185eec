"""Pictures of a run, by matplotlib: what the method draws, and how the loss went."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sslzoo.checkpoint import atomic_write

INK, ACCENT, SECOND, FRAME = "#22303c", "#2f6f9f", "#d1783c", "#d5dade"
DPI = 100
COLUMNS = 8
LEAST, MOST = 96, 256
"""Pixels of a picture's longer side in a figure."""
MARGIN, GAP, LINE = 20, 8, 22
CURVES, LEFT, FOOT = 260, 80, 50
"""Pixels: height of the curves, and room for the numbers beside and below them."""
WIDTH = 900
"""Pixels of a figure, at least."""


def pretraining_figure(log: Path, pictures: Mapping[str, Tensor], title: str) -> Figure:
    """The loss curve of a log.jsonl and, above it, one row of images per entry of ``pictures``.

    ``pictures`` maps a row's title to (N, C, H, W) in [0, 1]; at most ``COLUMNS`` of N are shown.
    """
    figure = _page(pictures, [title], below=CURVES + FOOT)
    width, height = figure.get_size_inches() * DPI
    curves = figure.add_axes((LEFT / width, FOOT / height, (width - LEFT - MARGIN) / width, (CURVES - LINE) / height))
    _draw_curves(curves, [json.loads(line) for line in log.read_text().splitlines()])
    return figure


def illustration_sheet(pictures: Mapping[str, Tensor], title: str, caption: str) -> Figure:
    """One row of images per entry of ``pictures``, as in ``pretraining_figure``, under a title and a caption."""
    return _page(pictures, [title, caption])


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG that is the same for the same figure, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})


def _page(pictures: Mapping[str, Tensor], heading: Sequence[str], below: int = 0) -> Figure:
    """Lines of text, rows of images each under its title, and ``below`` pixels that are left free.

    A pixel of a small image becomes a square of whole pixels, so nothing is smoothed; a row's title takes no room from
    its images.
    """
    rows = {title: [_shown(image) for image in images[:COLUMNS]] for title, images in pictures.items()}
    sizes = [size for row in rows.values() for _, size in row]
    pitch = max((width for width, _ in sizes), default=0) + GAP
    width = max(WIDTH, 2 * MARGIN - GAP + pitch * max(map(len, rows.values()), default=0))
    heights = [LINE + max(height for _, (_, height) in row) + GAP for row in rows.values()]
    height = 2 * MARGIN + LINE * len(heading) + sum(heights) + below

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    for number, text in enumerate(heading):
        at = 1 - (MARGIN + LINE * number) / height
        figure.text(MARGIN / width, at, text, color=INK, fontsize=10 if number else 12, va="top")
    top = height - MARGIN - LINE * len(heading)
    for (title, row), row_height in zip(rows.items(), heights, strict=True):
        figure.text(MARGIN / width, (top - LINE + 4) / height, title, color=INK, fontsize=9, va="bottom")
        for column, (image, (wide, high)) in enumerate(row):
            left, low = MARGIN + column * pitch, top - LINE - high
            axes = figure.add_axes((left / width, low / height, wide / width, high / height), xticks=[], yticks=[])
            smoothing = "nearest" if wide >= image.shape[1] else "auto"
            axes.imshow(image.numpy(), cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation=smoothing)
            axes.spines[:].set_color(FRAME)
        top -= row_height
    return figure


def _shown(image: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """(C, H, W) as matplotlib takes it, and its width and height in a figure."""
    height, width = image.shape[1:]
    side = max(height, width)
    scale = math.ceil(LEAST / side) if side <= MOST else MOST / side
    return image.float().permute(1, 2, 0).squeeze(-1), (round(width * scale), round(height * scale))


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
