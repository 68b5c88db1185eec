"""The model side: loss, gradients, teacher, and the encoder that comes out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from sslzoo.encoders import spec_of
from sslzoo.hub.fingerprint import synthetic_input
from sslzoo.hub.folder import save_encoder
from sslzoo.method import Batch, PretextMethod
from sslzoo.pretraining import Training
from sslzoo.testing.conformance.subject import BATCH, Subject
from sslzoo.testing.conformance.views import Verdict
from sslzoo.views import collate


class _Broken(Exception):
    """A promise is broken in a way that ends the run. Its text says how."""


def check_learning(subject: Subject, folder: Path) -> Iterator[Verdict]:
    """Promises of the model side, seen in one short run."""
    training = subject.training(folder / "run")
    method = training.method
    watch = _Watch(method)
    try:
        _train(training, watch)
    except _Broken as broken:
        yield "loss", str(broken)
        return
    yield "loss", ""
    yield "gradients", watch.without_gradient()
    yield "teacher", watch.teachers()
    yield "eval-mode", _eval_mode(training, watch)
    yield "sees-views", _same_for_other_pictures(subject, method)
    yield "round-trip", _round_trip(method, folder / "encoder")


def _train(training: Training, watch: _Watch) -> None:
    """All steps of the first epoch, without files."""
    method, run = training.method, training.run
    method.on_epoch_start(run)
    method.train()
    for micro_batches in training.batches.steps(0, 0):
        training.step(micro_batches)
        training.progress.step += 1
        method.on_step_end(run)
        watch.steps += 1


class _Watch:
    """What forward returns, which parameters get a gradient, and how parameters begin."""

    def __init__(self, method: PretextMethod) -> None:
        self.method, self.steps = method, 0
        self.began = {name: value.detach().clone() for name, value in method.named_parameters()}
        self.calls = dict.fromkeys(self.began, 0)
        self.moved: set[str] = set()
        self.names: list[str] = []
        for name, parameter in method.named_parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(self._hook(name))
        method.register_forward_hook(self._look)

    def _hook(self, name: str) -> Any:
        def see(parameter: Tensor) -> None:
            self.calls[name] += 1
            if parameter.grad is not None and parameter.grad.any():
                self.moved.add(name)

        return see

    def _look(self, method: nn.Module, inputs: Any, losses: Any) -> None:
        if not isinstance(losses, dict) or not isinstance(losses.get("loss"), Tensor):
            raise _Broken(f"forward returns {_named(losses)}, not a dict with the tensor 'loss'")
        for name, value in losses.items():
            if not isinstance(value, Tensor) or value.ndim:
                raise _Broken(f"{name!r} is {_named(value)}, not a scalar tensor")
            if not value.isfinite():
                raise _Broken(f"{name!r} is {float(value)} at step {self.steps + 1}")
        if self.names and self.names != list(losses):
            raise _Broken(f"forward returned {', '.join(self.names)} before, and {', '.join(losses)} now")
        self.names = list(losses)

    def without_gradient(self) -> str:
        """Trainable parameters that the loss does not reach, at some step or with any effect."""
        trainable = [name for name, parameter in self.method.named_parameters() if parameter.requires_grad]
        missed = [name for name in trainable if self.calls[name] < self.steps or name not in self.moved]
        encoder = [name for name in trainable if name.startswith("encoder.")]
        if encoder and set(encoder) <= set(missed):
            return "the loss does not reach the encoder: none of its parameters gets a gradient"
        return f"no gradient in every step reaches {_some(missed)}" if missed else ""

    def teachers(self) -> str:
        """What is wrong with parameters that began as copies: the encoder's learn, or anything's stand still."""
        parameters = dict(self.method.named_parameters())
        students = [name for name, parameter in parameters.items() if parameter.requires_grad]
        taught, still = [], []
        for name in (name for name in parameters if not name.startswith("encoder.")):
            origins = [other for other in students if other != name and _copied(self.began[name], self.began[other])]
            if not parameters[name].requires_grad:
                moved = any(not torch.equal(parameters[other], self.began[other]) for other in origins)
                still += [name] if moved and torch.equal(parameters[name], self.began[name]) else []
            elif any(other.startswith("encoder.") for other in origins):
                taught.append(name)
        if taught:
            return f"a copy of the encoder gets gradients: {_some(taught)}"
        return f"a copy of what learns never moves: {_some(still)}" if still else ""


def _copied(value: Tensor, other: Tensor) -> bool:
    """Equal by descent: constants, such as the ones of a norm, are equal by chance."""
    return value.shape == other.shape and value.numel() > 1 and torch.equal(value, other) and bool(value.std() > 0)


def _eval_mode(training: Training, watch: _Watch) -> str:
    method = training.method.eval()
    state = {name: value.clone() for name, value in method.state_dict().items()}
    (batch,) = next(training.batches.steps(0, 0))
    scores = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            scores.append(method(dict(batch))["loss"])
    changed = [name for name, value in method.state_dict().items() if not torch.equal(value, state[name])]
    if changed:
        return f"forward in eval() changes {_some(changed)}"
    return "" if torch.equal(*scores) else f"the loss of one batch is {scores[0]:.6g}, then {scores[1]:.6g}"


def _same_for_other_pictures(subject: Subject, method: PretextMethod) -> str:
    """The loss of one batch, and of other samples that have its keys and places."""
    method.eval()
    views = subject.views()
    first, second = subject.samples(), subject.samples(first=BATCH)
    losses = []
    for samples in (first, [{**other, "index": own["index"]} for own, other in zip(first, second, strict=True)]):
        batch: Batch = views.augment(collate(views, samples))
        with torch.no_grad():
            losses.append(float(method(batch)["loss"]))
    same = abs(losses[0] - losses[1]) <= 1e-7 * abs(losses[0])
    return f"the loss is {losses[0]:.6g} whatever the pictures show" if same else ""


def _round_trip(method: PretextMethod, folder: Path) -> str:
    """Of the trained encoder, and of that of sounds if there is one."""
    encoders = [method.trained_encoder(), method.trained_sound_encoder()]
    name = method.info.name
    return next(filter(None, (_changed(encoder, folder, name) for encoder in encoders if encoder is not None)), "")


def _changed(encoder: nn.Module, folder: Path, name: str) -> str:
    """The encoder's own features, and those of what timm loads of it."""
    save_encoder(encoder, folder, {"method": name})
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    pattern = synthetic_input(spec_of(encoder).input.shape)
    with torch.no_grad():
        ours, timms = encoder.eval()(pattern), loaded.eval()(pattern)
    if ours.shape != timms.shape:
        return f"the encoder gives features of shape {tuple(ours.shape)}, and timm {tuple(timms.shape)}"
    gap = float((ours - timms).abs().max())
    return (
        f"the encoder's features and timm's differ by up to {gap:.2g}" if gap > 1e-5 * float(ours.abs().max()) else ""
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _named(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
