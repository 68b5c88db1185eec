"""The collapse canary: would the loss be content with one feature for all pictures?

A loss that a constant minimises is no fault by itself: SimSiam's is, and a stop-gradient keeps it from getting there.
So three things must come together: with all features equal the loss is less than training reaches, no feature is then
pushed away from the others, and the gradient that is followed is that of the loss itself rather than of one with parts
held fixed. A teacher's features are another network's, and stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sslzoo.method import Batch, PretextMethod
from sslzoo.testing.conformance.subject import Subject
from sslzoo.testing.conformance.views import Verdict

EPOCHS = 10
PUSHED = 1e-3
"""Share of its usual length below which a gradient of features counts as none."""
AGREES = 0.2
"""Share by which the slope of the loss may differ from the gradient that is followed."""
_FEATURES = ("forward_features", "forward_intermediates")


def check_collapse(subject: Subject, folder: Path) -> Iterator[Verdict]:
    """Train a little, to see what the loss can reach and to give the heads meaning; then make all features equal."""
    training = subject.training(folder, epochs=EPOCHS, optimizer="adamw", lr=1e-3, save_every=10**6)
    training.restore()
    training.train()
    method = training.method.train()
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    reached = min(line["loss"] for line in lines)
    (batch,) = next(training.batches.steps(0, 0))
    _, push = _push(method, batch, equal=False)
    when_equal, push_when_equal = _push(method, batch, equal=True)
    content = when_equal < reached and push_when_equal < PUSHED * push
    collapses = content and _follows_the_loss(method, batch)
    reason = f"with all features equal the loss is {when_equal:.3g}, less than the {reached:.3g} that training reached"
    yield "no-collapse", f"{reason}, and nothing pushes them apart" if collapses else ""


def _push(method: PretextMethod, batch: Batch, equal: bool) -> tuple[float, float]:
    """The loss, and the length of its gradient with respect to features, which may be made equal for all samples."""
    seen: list[Tensor] = []

    def see(feature: Any) -> Any:
        if isinstance(feature, list | tuple):
            return type(feature)(map(see, feature))
        if equal:
            feature = feature.mean(0, keepdim=True).expand_as(feature)
        seen.append(feature)
        return feature

    with _passing(method.encoder, see):
        loss = method(dict(batch))["loss"]
    features = [feature for feature in seen if feature.requires_grad]
    gradients = torch.autograd.grad(loss, features, allow_unused=True) if features else ()
    return float(loss.detach()), sum(float(g.square().sum()) for g in gradients if g is not None) ** 0.5


@contextmanager
def _passing(encoder: nn.Module, see: Callable[[Any], Any]) -> Iterator[None]:
    """For the time, what timm calls features passes through ``see`` on its way out of the encoder."""
    plain = {name: getattr(encoder, name) for name in _FEATURES}

    def through(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: see(function(*arguments, **named))

    for name, function in plain.items():
        setattr(encoder, name, through(function))
    try:
        yield
    finally:
        for name in plain:
            delattr(encoder, name)


def _follows_the_loss(method: PretextMethod, batch: Batch) -> bool:
    """Whether the slope of the loss along its gradient is the gradient's length: no stop-gradient is in force."""
    parameters = [parameter for parameter in method.encoder.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(method(dict(batch))["loss"], parameters, allow_unused=True)
    pairs = [(parameter, g) for parameter, g in zip(parameters, gradients, strict=True) if g is not None]
    length = sum(float(g.square().sum()) for _, g in pairs) ** 0.5
    loss = float(method(dict(batch))["loss"].detach())
    step = 1e-3 * max(abs(loss), 1e-3) / length**2  # so that the loss changes by a thousandth, which float32 can tell

    @torch.no_grad()
    def loss_after(change: float) -> float:
        for parameter, g in pairs:
            parameter.add_(g, alpha=change)
        return float(method(dict(batch))["loss"])

    ahead, behind = loss_after(step), loss_after(-2 * step)
    slope = (ahead - behind) / (2 * step * length)
    return abs(slope - length) < AGREES * length
