"""What is wrong with a run, in plain words: what, since when, and what usually causes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

ONE_FEATURE = 0.01
"""Spread of features below which all images look alike to the encoder."""
FEW_VARIANCES, FEW_DIRECTIONS = 3.0, 4.0
"""Effective rank and RankMe below which, together, features have collapsed to a line, or little more.

Either alone would be wrong: one strong direction (brightness) above many weak ones has a small effective rank, and a
mean far from zero a small RankMe. Measured on 256 images of cliparts, as effective rank / RankMe / spread:

    released encoders     min 3.9 / 13 / 0.35   max 23.5 / 53 / 0.77
        smallest ranks    mae 3.9 / 13 / 0.71, relative_location 5.3 / 23 / 0.35, jigsaw 6.3 / 29 / 0.45,
                          super_resolution 6.3 / 34 / 0.69, split_brain 6.4 / 36 / 0.66, counting 6.4 / 30 / 0.62
        joint embedding   simsiam 7.8 / 31 / 0.70, dino 10.7 / 39 / 0.75, byol 10.8 / 35 / 0.71, simclr 16.4 / 46 / 0.73
    untrained encoders    test_resnet 5.2 / 14 / 0.29, test_vit 4.0 / 9.7 / 0.58, resnet18 3.1 / 9.5 / 0.15,
                          resnet50 4.1 / 14 / 0.16, vit_tiny 5.5 / 22 / 0.61, convnext_atto 4.2 / 30 / 0.69,
                          mobilenetv3_small 3.1 / 9.5 / 0.33
    steps 5 to 100        smallest each: mae 2.1 / 6.2 / 0.43, simsiam 4.0 / 26 / 0.36, byol 4.3 / 26 / 0.36,
                          deepcluster 4.6 / 23 / 0.34, dcgan 5.5 / 23 / 0.36, dino 5.9 / 22 / 0.34
    collapsed on purpose  siamese without stop-gradient 1.0 / 2.1 / 0.33, features on a line 1.1 / 1.7 / 0.35

(of ``tests/collapsing_methods.py`` the last two). None but these is called collapsed; ``tests/test_doctor.py`` holds
every released encoder against the rule.
"""
PATIENCE = 20
"""Steps that a collapse must have lasted: running batch statistics lag about that far behind at the start."""


@dataclass(frozen=True)
class Trouble:
    """Something that will not mend itself: what, since when, and what usually causes it."""

    kind: str
    text: str

    def stops(self, stop_on: str) -> bool:
        """Whether a run with this setting of ``stop_on`` ends here."""
        return stop_on == "collapse" or (stop_on == "non-finite" and self.kind == "non-finite")


class Watch:
    """Remembers, on the device, the first step at which each loss was not finite: no step waits for it."""

    def __init__(self) -> None:
        self.first: Tensor | None = None
        self.names: list[str] = []

    def see(self, step: int, losses: dict[str, Tensor]) -> None:
        values = torch.stack([value.detach().float() for value in losses.values()])
        if self.first is None:
            self.names = list(losses)
            self.first = torch.full_like(values, torch.inf)
        self.first = torch.where(values.isfinite(), self.first, self.first.clamp(max=step))

    def trouble(self, accelerator: Accelerator) -> Trouble | None:
        """The first loss that was not finite on any process."""
        if self.first is None:
            return None
        step, index = accelerator.gather(self.first[None]).amin(0).min(0)
        if not step.isfinite():
            return None
        return Trouble(
            "non-finite",
            f"{self.names[int(index)]} stopped being finite at step {int(step)}; usual causes: a learning rate too "
            "high (lower --lr, raise --warmup-epochs), bursts of gradient (--clip-grad 1), overflow (--precision fp32)",
        )


class Doctor:
    """Tells from the lines of a log whether features collapse, and since which step.

    There is no other state than the lines, so a run that goes on reads them again.
    """

    def __init__(self, family: str, dim: int, lines: Iterable[dict[str, Any]] = ()) -> None:
        """``family`` is the method's, ``dim`` the number of its features, ``lines`` what was logged before."""
        self.family, self.dim = family, dim
        self.since: dict[str, int] = {}
        for line in lines:
            self.examine(line)

    def examine(self, line: dict[str, Any]) -> Trouble | None:
        """The collapse that the next logged line shows, once it has lasted. What a line does not measure stays open."""
        trouble = None
        for kind, symptom in self._symptoms(line).items():
            since = self.since.setdefault(kind, line["step"])
            if not symptom:
                del self.since[kind]
            elif line["step"] - since >= PATIENCE:
                text = f"{kind} since step {since}: {symptom}; usual causes: {usual_causes(self.family)}"
                trouble = trouble or Trouble(kind, text)
        return trouble

    def _symptoms(self, line: dict[str, Any]) -> dict[str, str]:
        """What is seen of each kind of collapse that the line measures; empty if nothing is wrong."""
        monitored, found = line.get("monitor", {}), {}
        spreads = [each["feature_std"] for each in (line, monitored) if "feature_std" in each]
        if spreads:
            symptom = f"the encoder gives all images one feature (feature_std {min(spreads):.2g})"
            found["complete collapse"] = symptom if min(spreads) < ONE_FEATURE else ""
        if monitored:
            rank, rankme = monitored["effective_rank"], monitored["rankme"]
            symptom = f"effective rank {rank:.2g} of {self.dim} (RankMe {rankme:.2g})"
            found["dimensional collapse"] = symptom if rank < FEW_VARIANCES and rankme < FEW_DIRECTIONS else ""
        return found


def usual_causes(family: str) -> str:
    """What usually makes the features of a method of this family collapse, and what helps against it."""
    return f"{CAUSES.get(family, 'a loss that constants minimise')}, {_ANY}"


_ANY = "a learning rate too high (lower --lr, raise --warmup-epochs), a batch too small"
_SHORTCUT = "a head that solves the task by a shortcut (edges, borders, chromatic aberration)"
_DECODER = "a decoder that does without the encoder, or targets whose mean is good enough"
_PLAYERS = "a discriminator that wins or a generator that gives up, so that nothing reaches the encoder"
_ALIGNED = "a pairing that a constant satisfies, so that negatives are missing or too few"
CAUSES = {
    "instance-similarity": "no stop-gradient or predictor (siamese), a teacher that is not centred or moves too fast "
    "(self-distillation), too few or false negatives (contrastive)",
    "clustering": "clusters that run empty or one that takes all, assignments that are not balanced, targets too soft",
    "image-generation": _PLAYERS,
    "video-generation": _PLAYERS,
    **dict.fromkeys(("super-resolution", "inpainting", "colorization", "video-colorization"), _DECODER),
    **dict.fromkeys(("video-prediction", "contour-detection", "relative-depth", "optical-flow-estimation"), _DECODER),
    **dict.fromkeys(("relative-position", "jigsaw", "geometric-transformation"), _SHORTCUT),
    **dict.fromkeys(("order-verification", "order-recognition", "spatio-temporal"), _SHORTCUT),
    **dict.fromkeys(("temporal-coherence", "rgb-flow-correspondence", "visual-audio-correspondence"), _ALIGNED),
}
"""By leaf family of the taxonomy."""
