"""What kinds of pretext task there are, and how a plugin says which it is.

The four categories and their leaf families are those of Jing & Tian, "Self-supervised Visual Feature Learning with
Deep Neural Networks: A Survey", TPAMI 2020, https://arxiv.org/abs/1902.06162; ``multiple`` is the class the survey
gives to methods that solve several tasks at once. This module imports nothing, so that methods can be listed without
loading them.
"""

from __future__ import annotations

from dataclasses import dataclass

FAMILIES: dict[str, tuple[str, ...]] = {
    "generation": (
        "image-generation",
        "super-resolution",
        "inpainting",
        "colorization",
        "video-generation",
        "video-colorization",
        "video-prediction",
    ),
    "context": (
        "clustering",
        "graph-constraint",
        "instance-similarity",
        "relative-position",
        "jigsaw",
        "geometric-transformation",
        "order-verification",
        "order-recognition",
        "temporal-coherence",
        "spatio-temporal",
    ),
    "free_label": (
        "game-engine",
        "moving-object-segmentation",
        "contour-detection",
        "relative-depth",
    ),
    "cross_modal": (
        "optical-flow-estimation",
        "rgb-flow-correspondence",
        "visual-audio-correspondence",
        "ego-motion",
    ),
    "multiple": ("multiple",),
}
"""Leaf families by category. A category is also the name of a folder of first-party plugins."""

MODALITIES = ("image", "clip", "audio")

CONTRACT = 1
"""The version of the plugin contracts this sslzoo speaks; it speaks the earlier ones too."""


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    authors: str
    title: str
    venue: str
    year: int
    url: str

    def __str__(self) -> str:
        return f"{self.authors}, “{self.title}”, {self.venue} {self.year}"


@dataclass(frozen=True)
class MethodInfo:
    """What a method says of itself. Written as a literal: it is read from the source without running it.

    Raises:
        ValueError: where category, family or modality is not of the taxonomy.
    """

    name: str
    """Entry-point name and file name of the plugin."""
    category: str
    """A key of ``FAMILIES``."""
    family: str
    """A leaf family of that category."""
    modalities: tuple[str, ...]
    """What a sample must hold: some of ``MODALITIES``."""
    paper: Paper
    summary: str
    """One line: what is predicted from what."""
    contract: int = 1
    """Version of the contract the method was written for. The default never changes: a plugin that says nothing is of
    the first version."""

    def __post_init__(self) -> None:
        if self.category not in FAMILIES:
            raise ValueError(f"{self.name}: no category {self.category!r}; there are: {', '.join(FAMILIES)}")
        if self.family not in FAMILIES[self.category]:
            families = ", ".join(FAMILIES[self.category])
            raise ValueError(f"{self.name}: no family {self.family!r} in {self.category}; there are: {families}")
        unknown = set(self.modalities) - set(MODALITIES)
        if unknown or not self.modalities:
            raise ValueError(f"{self.name}: modalities are some of {', '.join(MODALITIES)}; not {self.modalities}")
