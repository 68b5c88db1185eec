"""Is an encoder what its config.json says, and the same through every door it may be loaded by?"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

import sslzoo
from sslzoo.config import UsageError, UserError
from sslzoo.encoders import spec_of
from sslzoo.hub.fingerprint import TOLERANCE, check, features_of, synthetic_input
from sslzoo.hub.load import RANDOM, Resolved, check_sum, load_encoder, read_encoder_weights, resolve
from sslzoo.hub.timm_config import CONFIG, build_encoder, is_ours, read_config
from sslzoo.hub.weights import load_strictly, weights_file

NOT_OURS = "sslzoo did not publish it, so its config.json records none"


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    ok: bool | None
    """None if it was skipped."""
    detail: str
    """What was found, how it differs, or why it was skipped."""


def verify(model: str | Path) -> list[Check]:
    """Check an encoder in a folder or on the Hub: config, checksum, keys, forward fingerprint, then each door.

    A door (sslzoo, timm, transformers, torch.hub) must give the same features, bit for bit, for a fixed input. What
    relies on something that failed is skipped; everything else runs.

    Raises:
        UsageError: if ``model`` names no such thing.
        UserError: if the Hub does not give it.
    """
    found = resolve(model)
    if found.folder is None:
        raise UsageError(
            f"{RANDOM}{found.name} was never saved, so it cannot be verified; name a folder or hf-hub:org/name"
        )
    subject = _Subject(str(model), found, found.folder)
    checks: dict[str, Check] = {}
    for name, (need, run) in _CHECKS.items():
        if need and not checks[need].ok:
            checks[name] = Check(name, None, f"skipped, because the {need} failed")
        else:
            checks[name] = _outcome(name, run, subject)
    return list(checks.values())


@dataclass
class _Subject:
    """The encoder under examination."""

    model: str
    found: Resolved
    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        return read_config(self.folder)

    @cached_property
    def encoder(self) -> nn.Module:
        """Built as config.json says, with exactly the tensors of model.safetensors."""
        encoder = build_encoder(self.config, self.folder / CONFIG)
        state = read_encoder_weights(self.config, weights_file(self.folder), encoder)
        load_strictly(encoder, state, f"the weights do not fit {CONFIG}; ask their author")
        return encoder

    @cached_property
    def features(self) -> Tensor:
        return features_of(self.encoder)

    @property
    def our_entry(self) -> dict[str, Any]:
        if not is_ours(self.config):
            raise _Skipped(NOT_OURS)
        return self.config["sslzoo"]

    def compare(self, through: Callable[[Tensor], Tensor]) -> str:
        """Hold the features that another door gives against those of ``encoder``."""
        with torch.no_grad():
            features = through(synthetic_input(spec_of(self.encoder).input.size))
        if features.shape != self.features.shape:
            raise UserError(f"features have shape {tuple(features.shape)} instead of {tuple(self.features.shape)}")
        if not torch.equal(features, self.features):
            count, most = (features != self.features).sum(), (features - self.features).abs().max()
            raise UserError(f"{count} of {features.numel()} features differ, by up to {most:.1e}")
        return f"{tuple(features.shape)} features, equal bit for bit"


class _Skipped(Exception):
    """A check that does not apply. Its text is the reason."""


def _outcome(name: str, run: Callable[[_Subject], str], subject: _Subject) -> Check:
    try:
        return Check(name, True, run(subject))
    except _Skipped as reason:
        return Check(name, None, f"skipped: {reason}")
    except UserError as error:
        return Check(name, False, str(error))
    except Exception as error:  # whatever a door raises, that door is shut, and the others are still tried
        return Check(name, False, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")


def _config(subject: _Subject) -> str:
    args = ", ".join(f"{key}={value!r}" for key, value in (subject.config.get("model_args") or {}).items())
    return f"{subject.config['architecture']}({args})"


def _checksum(subject: _Subject) -> str:
    digest = subject.our_entry["weights_sha256"]
    check_sum(subject.config, weights_file(subject.folder))
    return f"sha256 {digest[:12]}…"


def _keys(subject: _Subject) -> str:
    return f"all {len(subject.encoder.state_dict())} tensors are there, and no others"


def _fingerprint(subject: _Subject) -> str:
    difference = check(subject.encoder, subject.our_entry["fingerprint"])
    return f"relative difference {difference:.0e}, at most {TOLERANCE:.0e} allowed"


def _through_sslzoo(subject: _Subject) -> str:
    return subject.compare(load_encoder(subject.model))


def _through_timm(subject: _Subject) -> str:
    found = subject.found
    name = f"hf-hub:{found.name}@{found.revision}" if found.kind == "hub" else f"local-dir:{subject.folder}"
    return subject.compare(timm.create_model(name, pretrained=True, num_classes=0).eval())


def _through_transformers(subject: _Subject) -> str:
    if importlib.util.find_spec("transformers") is None:
        raise _Skipped("transformers is not installed")
    from transformers import AutoModel

    found = subject.found
    name, revision = (found.name, found.revision) if found.kind == "hub" else (str(subject.folder), None)
    with _no_progress_bar():
        through = AutoModel.from_pretrained(name, revision=revision, use_safetensors=True, trust_remote_code=False)
    return subject.compare(lambda images: through.eval()(images).pooler_output)


def _through_torch_hub(subject: _Subject) -> str:
    checkout = Path(sslzoo.__file__).parent.parent
    if not (checkout / "hubconf.py").is_file():
        raise _Skipped("sslzoo runs from an installed package, which has no hubconf.py beside it")
    return subject.compare(torch.hub.load(str(checkout), "encoder", subject.model, source="local"))


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


_CHECKS: dict[str, tuple[str, Callable[[_Subject], str]]] = {
    "config": ("", _config),
    "checksum": ("config", _checksum),
    "keys": ("config", _keys),
    "fingerprint": ("keys", _fingerprint),
    "sslzoo": ("keys", _through_sslzoo),
    "timm": ("keys", _through_timm),
    "transformers": ("keys", _through_transformers),
    "torch.hub": ("keys", _through_torch_hub),
}
"""Each check with the one it relies on."""
