"""Does an evaluation measure the encoder, the whole encoder, and nothing but the encoder?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sslzoo.api import open_dataset
from sslzoo.data.source import Annotation, Source
from sslzoo.encoders import create_encoder, create_sound_encoder
from sslzoo.evaluation import Evaluation, Result
from sslzoo.method import Sample
from sslzoo.testing.conformance.conduct import PROMISES, observed
from sslzoo.testing.conformance.drawing import Drawing, NoConfig
from sslzoo.testing.conformance.subject import FRAMES, IMAGE_SIZE, Named
from sslzoo.testing.conformance.views import Verdict


@dataclass(frozen=True)
class EvaluationSubject(Named):
    """An evaluation and what it is examined with."""

    settings: dict[str, Any]
    dataset: str
    encoder: str

    def evaluation(self) -> Evaluation:
        """It, with this subject's settings."""
        return self.plugin()(self.plugin().Config(**self.settings))

    def run(self, encoder: nn.Module, mislead: bool = False) -> Result:
        """Evaluate an encoder; ``mislead`` gives the test samples each other's labels."""
        train, test = (open_dataset(self.dataset, split) for split in ("train", "test"))
        return self.evaluation().run(encoder, train, Misled(test) if mislead else test)

    def untrained(self) -> nn.Module:
        """The encoder, or the method, to evaluate."""
        needs = self.plugin().info.needs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if needs == "sound_encoder":
                return create_sound_encoder(self.encoder)
            encoder = create_encoder(self.encoder, IMAGE_SIZE, frames=FRAMES)
            return encoder if needs == "encoder" else Drawing(encoder, NoConfig())


class Misled(Source):
    """A data set whose labels, masks and boxes are turned round."""

    def __init__(self, source: Source) -> None:
        self.whole, self.name = source, source.name
        self.class_names, self.mask_names = source.class_names, source.mask_names

    def __len__(self) -> int:
        return len(self.whole)

    def read(self, index: int) -> Sample:
        return self.whole.read(index)

    @property
    def fingerprint(self) -> str:
        return self.whole.fingerprint

    def labels(self) -> Tensor:
        return self.whole.labels().flip(0)

    def annotation(self, index: int) -> Annotation:
        return self.whole.annotation(len(self) - 1 - index)


def check_evaluation_runs(subject: EvaluationSubject, folder: Path) -> Iterator[Verdict]:
    """Promises of an evaluation; nothing is written to ``folder``."""
    info, encoder = subject.plugin().info, subject.untrained().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.manual_seed(1)
    result = subject.run(encoder)
    yield "result", _malformed(result, info.metric)
    yield "figures", _misdrawn(subject.evaluation(), result)
    changed = [name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])]
    grew = [name for name, parameter in encoder.named_parameters() if parameter.grad is not None]
    left = f"changes {changed[0]}" if changed else f"leaves a gradient on {grew[0]}" if grew else ""
    yield "encoder-untouched", left or ("" if encoder.training else "leaves the encoder in eval()")
    torch.manual_seed(2)
    again = subject.run(subject.untrained())
    different = [name for name, value in result.metrics.items() if again.metrics.get(name) != value]
    yield "repeatable", f"{different[0]} of the same encoder is another the second time" if different else ""
    misled = subject.run(subject.untrained(), mislead=True)
    peeked = misled.selected != result.selected
    yield (
        "test-unseen",
        f"chooses {misled.selected} when test labels change, and else {result.selected}" if peeked else "",
    )


def check_evaluation_conduct(subject: EvaluationSubject, folder: Path) -> Iterator[Verdict]:
    """Import an evaluation and run it, under observation."""

    def run(_: Path) -> None:
        subject.run(subject.untrained())

    yield from observed(subject.package, folder, run, PROMISES)


def _misdrawn(evaluation: Evaluation, result: Result) -> str:
    name = evaluation.info.name
    for results in ({"trained": result}, {"trained": result, "untrained": result}):
        for figure, drawn in evaluation.draw(results).items():
            if not f"{figure}_".startswith(f"{name}_"):
                return f"draws {figure!r}, which could be another evaluation's: call it {name}_{figure}"
            drawn.savefig(BytesIO(), format="png")
    return ""


def _malformed(result: Any, metric: str) -> str:
    if not isinstance(result, Result):
        return f"run() gives a {type(result).__name__}, not a Result"
    if metric and metric not in result.metrics:
        return f"metrics lack {metric!r}, which info.metric names; there are: {', '.join(result.metrics)}"
    if metric and not 0 <= result.metrics[metric] <= 1:
        return f"{metric} is {result.metrics[metric]}, not in [0, 1]"
    try:
        json.dumps((result.metrics, result.selected, result.details))
    except TypeError as error:
        return f"the result is no plain JSON: {error}"
    return ""
