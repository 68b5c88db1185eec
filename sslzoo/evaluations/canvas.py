"""A figure that is laid out by pixels, so that pictures are as large as they are meant to be."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from sslzoo.figures import DPI, FRAME, INK, LINE, MARGIN


class Canvas:
    """Places are in pixels from the left and from the top."""

    TOP = MARGIN + 2 * LINE + 8
    """Where the page is free, below its title and caption."""

    def __init__(self, width: float, height: float, title: str, caption: str) -> None:
        """A white page with two lines of text on top."""
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), autoscale_on=False)
        self.axes.set_axis_off()
        self.text(title, MARGIN, MARGIN, size=12, va="top")
        self.text(caption, MARGIN, MARGIN + LINE, va="top")

    def text(self, text: str, left: float, top: float, size: float = 9, color: str = INK, **style: Any) -> None:
        """A line of text; ``ha`` and ``va`` say what of it is at that place."""
        self.axes.text(left, top, text, fontsize=size, color=color, parse_math=False, **style)

    def picture(
        self, image: Tensor, left: float, top: float, width: float, height: float, frame: str = FRAME, line: float = 0.8
    ) -> None:
        """``image`` (C, H, W) in [0, 1], grey or RGB, in a frame; its pixels become squares where they are larger."""
        pixels = image.float().permute(1, 2, 0).squeeze(-1).clamp(0, 1).numpy()
        smoothing = "nearest" if width >= image.shape[2] else "auto"
        extent = (left, left + width, top + height, top)
        shown: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": smoothing}
        self.axes.imshow(pixels, extent=extent, aspect="auto", **shown)
        self.axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=frame, linewidth=line))
