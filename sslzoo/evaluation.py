"""The contract of an evaluation: an encoder in, a report out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import nn

from sslzoo.data.source import Source

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class EvaluationInfo:
    """What an evaluation says of itself. Written as a literal, as ``MethodInfo`` is."""

    name: str
    """Entry-point name and file name."""
    version: int
    """Raised whenever a change of the protocol changes numbers."""
    metric: str
    """The metric that stands for the whole, in [0, 1], larger is better. Empty for an evaluation that only draws."""
    modalities: tuple[str, ...]
    """What it looks at: some of ``image``, ``clip``, ``audio``. Without ``clip`` encoders of clips are refused."""
    summary: str
    fits: bool = True
    """Whether it fits something to a training split. If not, it looks at one split only, labelled or not, which
    ``run`` is given as both."""
    needs: Literal["encoder", "sound_encoder", "method"] = "encoder"
    """What ``run`` is given to evaluate: of a run, or repository, with two encoders that of sounds; a trained
    ``method``, heads and all, can only come from a run."""
    numbers: tuple[str, ...] = ()
    """Those of its metrics that are no shares, such as a rank: they are shown as they are, the others in percent."""
    variants: tuple[str, ...] = ()
    """Numbers and switches among its settings that ask another question, such as how many labels there are. Other than
    by default each makes a protocol of its own, whose report lies beside the others, and stands beside them on the
    card."""
    contract: int = 1
    """Version of the contract the evaluation was written for, as in ``MethodInfo``."""

    @property
    def protocol(self) -> str:
        """``name@version``, as reports and cards cite it."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Result:
    """What one evaluation of one encoder found."""

    metrics: dict[str, float]
    """Found on the test split, by name; ``info.metric`` is one of them, unless the data has no labels to score by."""
    selected: dict[str, Any] = field(default_factory=dict)
    """What was chosen (layer, regularisation), and on what data: never on the test split."""
    details: dict[str, Any] = field(default_factory=dict)
    """Curves and tables behind the metrics, such as a score per layer. Plain JSON."""
    visuals: dict[str, Any] = field(default_factory=dict)
    """What ``draw`` needs of this encoder, such as pictures (N, C, H, W) in [0, 1]. No part of the report."""


class Evaluation(ABC):
    """One evaluation. Every subclass is final; it sees an encoder and data, and the method only if it needs one."""

    info: ClassVar[EvaluationInfo]
    Config: ClassVar[type]
    """Frozen dataclass; its fields become flags."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def protocol(self) -> str:
        """``name@version``, and the ``variants`` that differ from their defaults: ``finetune@2 percent=10``."""
        usual = {field.name: field.default for field in fields(self.Config)}
        settings = {name: getattr(self.config, name) for name in self.info.variants}
        changed = [
            name if value is True else f"{name}={value:g}" for name, value in settings.items() if value != usual[name]
        ]
        return " ".join([self.info.protocol, *changed])

    @abstractmethod
    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Fit on ``train``, choose on parts of ``train``, score once on ``test``.

        ``encoder`` is a ``PretextMethod`` if ``info.needs`` says so.
        """

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        """Figures by file name without ending, from what was found of the encoders: ``trained`` and, unless the
        baseline was left out, ``untrained``. A name begins with that of the evaluation."""
        return {}
