"""config.json: how timm builds the encoder again, and where its weights come from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from textwrap import shorten
from typing import Any

import timm
from timm.models import PretrainedCfg
from torch import nn

from sslzoo import __version__
from sslzoo.config import UsageError, UserError
from sslzoo.encoders import EncoderSpec, InputSpec, frames_of, spec_of
from sslzoo.hub.blank import build_blank
from sslzoo.hub.bounds import MOST_LETTERS, MOST_OF_CLIP, MOST_PIXELS, too_large

CONFIG = "config.json"
LONGEST = 2**24
"""Bytes: labels of twenty thousand classes take two million."""
FORMAT = 1
"""Of the entry ``sslzoo``. Raised when an older sslzoo could not read it."""

OF_WEIGHTS = ("tag", "license", "description", "origin_url", "paper_name", "paper_ids", "notes")
"""Fields of timm's ``pretrained_cfg`` that say where weights come from."""
_SOURCES = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load")
"""Fields of ``pretrained_cfg`` that would make timm read some other file."""
_NOT_FOR_FILES = (
    *("features_only", "out_indices", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"),
    *("pretrained_strict", "checkpoint_path", "cache_dir", "device", "dtype", "scriptable", "exportable", "no_jit"),
)
"""Arguments of ``timm.create_model`` that a file must not decide."""


def compose_config(
    encoder: nn.Module, provenance: dict[str, Any], weights_sha256: str, fingerprint: dict[str, Any]
) -> dict[str, Any]:
    """What config.json says of an encoder: timm's keys, and all of ours in the entry ``sslzoo``.

    Those keys of ``provenance`` that timm has a field for go there; ``license`` is apache-2.0 if not given.
    """
    spec = spec_of(encoder)
    rest = {key: value for key, value in provenance.items() if key not in OF_WEIGHTS}
    of_weights = {key: provenance[key] for key in OF_WEIGHTS if provenance.get(key) is not None}
    config: dict[str, Any] = {
        "architecture": spec.architecture,
        "num_classes": 0,
        "num_features": encoder.num_features,
        "model_args": spec.model_args,
        "pretrained_cfg": {**encoder.pretrained_cfg, "license": "apache-2.0", **of_weights},  # type: ignore[dict-item]
        "sslzoo": {
            "format": FORMAT,
            "version": __version__,
            **rest,
            "weights_sha256": weights_sha256,
            "fingerprint": fingerprint,
        },
    }
    if isinstance(pool := getattr(encoder, "global_pool", None), str) and pool:
        config["global_pool"] = pool
    return config


def config_text(config: dict[str, Any]) -> str:
    """As JSON.

    Raises:
        UserError: if something in it is no text, number or list.
    """
    try:
        return json.dumps(config, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the encoder cannot be described in {CONFIG} ({error}); build it with plain arguments"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """The checked config.json of ``folder``. Configs of old timm, all in one dictionary, come back in today's form.

    Raises:
        UserError: if it is missing or malformed, or asks for what a downloaded file must not decide.
    """
    path = folder / CONFIG
    try:
        if path.stat().st_size > LONGEST:
            raise ValueError(f"it is longer than {LONGEST} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} has no {CONFIG}, so it is not an encoder; name a run or an encoder folder"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); fetch or save it again") from error
    if isinstance(config, dict) and "pretrained_cfg" not in config:
        names = {field.name for field in fields(PretrainedCfg)} - {"architecture"}
        config = {"pretrained_cfg": {key: config.pop(key) for key in list(config) if key in names}} | config
    _check(config, path)
    return config


def spec_from(config: dict[str, Any]) -> EncoderSpec:
    """What to build, from a checked config."""
    described = PretrainedCfg(**config["pretrained_cfg"])
    args = dict(config.get("model_args") or {})
    args.pop("num_classes", None)  # timm writes it of late
    if described.input_size[0] != 3:
        args.setdefault("in_chans", described.input_size[0])
    if described.fixed_input_size and not args.get("dynamic_img_size") and args.get("strict_img_size", True):
        args.setdefault("img_size", list(described.input_size[1:]))
    frames = frames_of(config["architecture"], args)
    return EncoderSpec(config["architecture"], InputSpec.from_pretrained_cfg(described.to_dict(), frames), args)


def is_ours(config: dict[str, Any]) -> bool:
    """Whether sslzoo wrote it, so that there is a checksum and a fingerprint to hold the weights against."""
    return "sslzoo" in config


def build_encoder(config: dict[str, Any]) -> nn.Module:
    """The encoder of a checked config, in ``eval()``; its parameters may hold anything until each is loaded.

    Raises:
        UserError: if the installed timm does not know or cannot build it.
    """
    try:
        return build_blank(spec_from(config))
    except Exception as error:  # the arguments come from a file: timm may stumble over them in any way
        text = str(error) if isinstance(error, UsageError) else f"timm cannot build it: {error!r}"
        why = shorten(text, 400)  # in one line
        raise UserError(f"{why}; a newer timm may (this is {timm.__version__}), or ask its author") from error


def _check(config: Any, path: Path) -> None:
    for complaint in _complaints(config):
        raise UserError(f"{path}: {complaint}")


def _complaints(config: Any) -> Iterator[str]:
    """The reasons why a config cannot be used, lazily, so that each may rely on those before."""
    if not isinstance(config, dict):
        yield "is not a JSON object, so not timm's; ask its author"
    if not isinstance(config.get("architecture"), str):
        yield "names no architecture, so it is not timm's; ask its author"
    described, args = config["pretrained_cfg"], config.get("model_args") or {}
    if not isinstance(described, dict) or not isinstance(args, dict):
        yield "pretrained_cfg and model_args must be JSON objects; ask its author"
    unknown = described.keys() - {field.name for field in fields(PretrainedCfg)}
    if unknown:
        yield f"timm {timm.__version__} does not know pretrained_cfg keys {', '.join(sorted(unknown))}; update timm"
    if taken := [key for key in _SOURCES if described.get(key)]:
        yield f"pretrained_cfg points elsewhere for weights ({', '.join(taken)}), which is not followed; ask its author"
    if taken := [key for key in _NOT_FOR_FILES if key in args]:
        yield f"model_args may not set {', '.join(taken)}; ask its author"
    for name, value in args.items():
        if found := too_large(value):
            yield f"model_args sets {name[:MOST_LETTERS]} to {found}; do not trust it"
    for key, length in ("input_size", 3), ("mean", None), ("std", None):
        if not _is_numbers(described.get(key, (1, 1, 1)), length):
            yield f"{key} of pretrained_cfg is {shorten(repr(described[key]), 80)}, not numbers; ask its author"
    for key, kinds in ("interpolation", str), ("crop_pct", (int, float)), ("classifier", (str, list)):
        if described.get(key) is not None and not isinstance(described[key], kinds):
            yield f"{key} of pretrained_cfg is {shorten(repr(described[key]), 80)}; ask its author"
    if math.prod(described.get("input_size", ())) > MOST_PIXELS:
        yield f"input_size {described['input_size']} is absurdly large (over {MOST_PIXELS} numbers); do not trust it"
    frames = frames_of(config["architecture"], args)
    if not isinstance(frames, int) or isinstance(frames, bool) or frames < 0:
        yield f"model_args sets frames to {shorten(repr(frames), 80)}, not a number of them; ask its author"
    if frames * math.prod(described.get("input_size", ())) > MOST_OF_CLIP:
        yield f"clips of {frames} frames are absurdly large (over {MOST_OF_CLIP} numbers); do not trust it"
    if is_ours(config):
        yield from _complaints_of_ours(config)


def _complaints_of_ours(config: dict[str, Any]) -> Iterator[str]:
    ours = config["sslzoo"]
    if not isinstance(ours, dict) or not isinstance(ours.get("format"), int):
        yield "its entry sslzoo is malformed; fetch or save it again"
    if ours["format"] > FORMAT:
        yield f"was written by a newer sslzoo (format {ours['format']}, this one reads {FORMAT}); update sslzoo"
    if not isinstance(ours.get("weights_sha256"), str) or not isinstance(ours.get("fingerprint"), dict):
        yield "its entry sslzoo lacks weights_sha256 or fingerprint; fetch or save it again"
    if config.get("num_classes") != 0 or config["pretrained_cfg"].get("num_classes") != 0:
        yield "num_classes is not 0, so timm would put a classifier on the encoder; save it again"
    if "num_classes" in (config.get("model_args") or {}):
        yield "model_args may not set num_classes, or transformers fails; save it again"
    if "model_type" in config:
        yield f"model_type {config['model_type']!r} keeps transformers from loading it through timm; save it again"


def _is_numbers(value: Any, length: int | None) -> bool:
    is_list = isinstance(value, (list, tuple)) and all(isinstance(item, (int, float)) for item in value)
    return is_list and (length is None or len(value) == length and all(isinstance(n, int) and n > 0 for n in value))
