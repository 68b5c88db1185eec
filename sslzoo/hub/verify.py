"""Is an encoder what its config.json says, and the same through every door it may be loaded by?"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_data_config
from torch import Tensor, nn

import sslzoo
from sslzoo.config import UsageError, UserError
from sslzoo.encoders import spec_of
from sslzoo.hub.differences import differing_keys, differing_tensors
from sslzoo.hub.fingerprint import TOLERANCE, check, features_of, synthetic_input
from sslzoo.hub.layout import SOUND_ENCODER
from sslzoo.hub.load import (
    HUB,
    RANDOM,
    Resolved,
    build_and_fill,
    check_sum,
    load_encoder,
    resolve,
    sound_encoder_of,
)
from sslzoo.hub.timm_config import CONFIG, OF_WEIGHTS, compose_config, is_ours, read_config
from sslzoo.hub.weights import few, weights_file

NOT_OURS = "sslzoo did not publish it, so its config.json records none"
PREPARATION = ("input_size", "mean", "std", "interpolation", "crop_pct")
"""What of timm's data configuration an encoder's ``InputSpec`` holds."""
OUR_KEYS = {"architecture", "num_classes", "num_features", "global_pool", "model_args", "pretrained_cfg", "sslzoo"}
"""At the root of a config.json that sslzoo wrote."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    ok: bool | None
    """None if it was skipped."""
    detail: str
    """What was found, how it differs, or why it was skipped."""


def verify(model: str | Path) -> list[Check]:
    """Check an encoder in a folder or on the Hub: config, checksum, keys, description, fingerprint, then each door.

    A door (sslzoo, timm, transformers, torch.hub) must give the same features, bit for bit, for a fixed input, and
    the same preparation of images; where it does not, the tensors and keys that differ are named. What relies on
    something that failed is skipped; everything else runs. Nothing is taken as known from earlier. The second encoder
    of a run or repository, that of sounds, has the same checks after those of the first: ``sound_encoder/config``, …

    Raises:
        UsageError: if ``model`` names no such thing.
        UserError: if the Hub does not give it.
    """
    first = _subject(model)
    return [*_checks(first), *_checks_of_sounds(first.model)]


def _checks_of_sounds(model: str) -> Iterator[Check]:
    """Those of the encoder of sounds beside that of ``model``, if there is one."""
    try:
        sounds = sound_encoder_of(model)
    except UserError as error:
        yield Check(SOUND_ENCODER, None, f"skipped: {error}")
        return
    try:
        checks = _checks(_subject(sounds)) if sounds else []
    except UserError as error:
        yield Check(SOUND_ENCODER, False, str(error))
        return
    yield from (replace(check, name=f"{SOUND_ENCODER}/{check.name}") for check in checks)


def _subject(model: str | Path) -> _Subject:
    found = resolve(model)
    if found.folder is None:
        raise UsageError(
            f"{RANDOM}{found.name} was never saved, so it cannot be verified; name a folder or hf-hub:org/name"
        )
    place = f"{found.name}/{found.subfolder}" if found.subfolder else found.name
    return _Subject(f"{HUB}{place}@{found.revision}" if found.kind == "hub" else str(model), found, found.folder)


def _checks(subject: _Subject) -> list[Check]:
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
    """To load it by: on the Hub, with its commit, so that every door sees the same."""
    found: Resolved
    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        return read_config(self.folder)

    @cached_property
    def encoder(self) -> nn.Module:
        """Built as config.json says, with exactly the tensors of model.safetensors."""
        return build_and_fill(self.config, weights_file(self.folder))

    @cached_property
    def features(self) -> Tensor:
        return features_of(self.encoder)

    @property
    def our_entry(self) -> dict[str, Any]:
        if not is_ours(self.config):
            raise _Skipped(NOT_OURS)
        return self.config["sslzoo"]

    def compare(self, door: nn.Module, features: Callable[[Tensor], Tensor], described: Mapping[str, Any]) -> str:
        """Hold what came through another door against ``encoder``.

        Args:
            door: the timm model that came through.
            features: images to the features it gives.
            described: its ``pretrained_cfg``.

        Raises:
            UserError: naming tensors and keys that differ.
        """
        with torch.no_grad():
            theirs = features(synthetic_input(spec_of(self.encoder).input.shape))
        if theirs.shape != self.features.shape:
            raise UserError(f"features have shape {tuple(theirs.shape)} instead of {tuple(self.features.shape)}")
        if not torch.equal(theirs, self.features):
            count, most = (theirs != self.features).sum(), (theirs - self.features).abs().max()
            why = differing_tensors(door.state_dict(), self.encoder.state_dict())
            raise UserError(
                f"{count} of {theirs.numel()} features differ, by up to {most:.1e}: "
                + (why or "all tensors are equal, so it computes something else with them")
            )
        prepares, should = (_preparation(cfg) for cfg in (described, self.encoder.pretrained_cfg))
        if wrong := differing_keys(prepares, should):
            raise UserError(f"images would be prepared otherwise: {wrong}")
        return f"{tuple(theirs.shape)} features, equal bit for bit"


def _preparation(pretrained_cfg: Any) -> dict[str, Any]:
    """How timm prepares images for it."""
    return {key: resolve_data_config(pretrained_cfg=dict(pretrained_cfg))[key] for key in PREPARATION}


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
    commit = f", commit {subject.found.revision[:12]}" if subject.found.revision else ""
    return f"{subject.config['architecture']}({args}){commit}"


def _checksum(subject: _Subject) -> str:
    digest = subject.our_entry["weights_sha256"]
    check_sum(subject.config, weights_file(subject.folder))
    return f"sha256 {digest[:12]}…"


def _keys(subject: _Subject) -> str:
    return f"all {len(subject.encoder.state_dict())} tensors are there, and no others"


def _description(subject: _Subject) -> str:
    """Whether every key that timm and transformers go by is what sslzoo writes for this very encoder."""
    ours = subject.our_entry
    expected = compose_config(subject.encoder, {}, ours["weights_sha256"], ours["fingerprint"])
    of_encoder = {key: value for key, value in expected.items() if key not in ("sslzoo", "pretrained_cfg")}
    of_input = {key: value for key, value in expected["pretrained_cfg"].items() if key not in OF_WEIGHTS}
    wrong = [
        differing_keys(subject.config, of_encoder),
        differing_keys(subject.config["pretrained_cfg"], of_input, "pretrained_cfg."),
    ]
    if any(wrong):
        raise UserError(f"{CONFIG} does not describe its encoder: {'; '.join(filter(None, wrong))}; save it again")
    return f"{len(of_encoder) + len(of_input)} keys of {CONFIG} are those of this encoder"


def _fingerprint(subject: _Subject) -> str:
    difference = check(subject.encoder, subject.our_entry["fingerprint"])
    return f"relative difference {difference:.0e}, at most {TOLERANCE:.0e} allowed"


def _through_sslzoo(subject: _Subject) -> str:
    return _compare_timm(subject, load_encoder(subject.model))


def _through_timm(subject: _Subject) -> str:
    at_root = subject.found.kind == "hub" and not subject.found.subfolder  # of a repository, timm reads no other folder
    name = subject.model if at_root else f"local-dir:{subject.folder}"
    return _compare_timm(subject, timm.create_model(name, pretrained=True, num_classes=0).eval())


def _compare_timm(subject: _Subject, door: Any) -> str:
    return subject.compare(door, door, door.pretrained_cfg)


def _through_transformers(subject: _Subject) -> str:
    if importlib.util.find_spec("transformers") is None:
        raise _Skipped("transformers is not installed")
    from transformers import AutoModel

    found = subject.found
    name, revision = (found.name, found.revision) if found.kind == "hub" else (str(subject.folder), None)
    place: dict[str, Any] = {"revision": revision, "subfolder": found.subfolder}
    with _no_progress_bar():
        door = AutoModel.from_pretrained(name, **place, use_safetensors=True, trust_remote_code=False).eval()

    def pooled(images: Tensor) -> Tensor:
        features = door(images).pooler_output
        if features is None:
            raise UserError("it gives no pooled features")
        return features

    try:
        return subject.compare(door.timm_model, pooled, door.config.pretrained_cfg)
    except UserError as error:
        more = sorted(subject.config.keys() - OUR_KEYS)
        raise UserError(f"{error}" + (f" ({CONFIG} also sets {few(more)})" if more else "")) from error


def _through_torch_hub(subject: _Subject) -> str:
    checkout = Path(sslzoo.__file__).parent.parent
    if not (checkout / "hubconf.py").is_file():
        raise _Skipped("sslzoo runs from an installed package, which has no hubconf.py beside it")
    return _compare_timm(subject, torch.hub.load(str(checkout), "encoder", subject.model, source="local"))


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
    "description": ("keys", _description),
    "fingerprint": ("keys", _fingerprint),
    "sslzoo": ("keys", _through_sslzoo),
    "timm": ("keys", _through_timm),
    "transformers": ("keys", _through_transformers),
    "torch.hub": ("keys", _through_torch_hub),
}
"""Each check with the one it relies on."""
