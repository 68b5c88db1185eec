"""Timm encoders, and what is needed to build one again.

An encoder is a timm model with ``num_classes=0``: images ``(B, C, H, W)`` in, or clips ``(B, C, T, H, W)`` where it is
one of ``video.py``; features ``(B, D)`` out, where ``D`` is ``feature_dim(encoder)``. ``create_encoder`` gives it a
description of *ours*: timm's own would be the supervised weights' (their tag, licence and normalisation), which a
from-scratch model must not carry.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from sslzoo.config import UsageError
from sslzoo.encoders.video import FRAMES, default_cfgs, is_video

OURS = {
    *("num_classes", "in_chans", "frames", "pretrained", "checkpoint_path", "cache_dir"),
    *("pretrained_cfg", "pretrained_cfg_overlay", "features_only", "out_indices"),
}
"""Arguments of ``timm.create_model`` that are not a user's to set."""


@dataclass(frozen=True)
class InputSpec:
    """The images or clips an encoder takes: their size, and how evaluation prepares them."""

    size: tuple[int, int, int]
    """Channels, height, width."""
    mean: tuple[float, ...]
    """Per channel, for pixels in [0, 1]."""
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    """Share of the short side that the centre crop keeps."""
    frames: int = 0
    """Of a clip; 0 if it takes images."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: (C, H, W), or (C, T, H, W) of a clip."""
        channels, *side = self.size
        return (channels, self.frames, *side) if self.frames else self.size

    @classmethod
    def square(cls, image_size: int, channels: int = 3, frames: int = 0) -> InputSpec:
        """ImageNet's normalisation for RGB; to [-1, 1] for any other number of channels."""
        if image_size < 1 or channels < 1:
            raise UsageError(f"an image of {channels} x {image_size} x {image_size} has no pixels")
        rgb = channels == 3
        return cls(
            size=(channels, image_size, image_size),
            mean=IMAGENET_DEFAULT_MEAN if rgb else (0.5,) * channels,
            std=IMAGENET_DEFAULT_STD if rgb else (0.5,) * channels,
            frames=frames,
        )

    @classmethod
    def from_pretrained_cfg(cls, pretrained_cfg: dict[str, Any], frames: int = 0) -> InputSpec:
        """What a timm model says of its input, but for ``frames``."""
        return cls(
            size=tuple(pretrained_cfg["input_size"]),
            mean=tuple(pretrained_cfg["mean"]),
            std=tuple(pretrained_cfg["std"]),
            interpolation=pretrained_cfg["interpolation"],
            crop_pct=pretrained_cfg["crop_pct"],
            frames=frames,
        )


@dataclass(frozen=True)
class EncoderSpec:
    """Everything needed to build an encoder again: plain timm, no code of ours."""

    architecture: str
    """A registered timm name, without a tag."""
    input: InputSpec
    model_args: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of ``timm.create_model`` besides ``num_classes``."""

    def build(self) -> nn.Module:
        """A freshly initialised encoder that carries this spec as ``encoder.spec``.

        Raises:
            UsageError: for an unknown architecture, or arguments it does not take.
        """
        if "." in self.architecture or not timm.is_model(self.architecture):
            raise UsageError(_unknown_architecture(self.architecture))
        try:
            encoder: Any = timm.create_model(self.architecture, pretrained=False, num_classes=0, **self.model_args)
        except Exception as error:  # each architecture complains in its own way of arguments it cannot take
            complaint = " ".join(f"{type(error).__name__}: {error}".split())
            raise UsageError(f"timm cannot build {self.architecture} with {self.model_args}: {complaint}") from error
        encoder.pretrained_cfg = encoder.default_cfg = _our_pretrained_cfg(encoder, self)
        encoder.spec = self
        return encoder


def create_encoder(
    architecture: str,
    image_size: int = 224,
    channels: int = 3,
    args: Iterable[str] = (),
    seed: int | None = None,
    frames: int = FRAMES,
) -> nn.Module:
    """An untrained timm encoder; ``args`` are ``name=value`` texts, and ``seed`` makes its weights repeatable.

    ``frames`` are those of a clip, if it takes clips.
    """
    model_args = parse_encoder_args(args)
    if channels != 3:
        model_args["in_chans"] = channels
    if is_video(architecture):
        model_args["frames"] = frames
    if has_fixed_input_size(architecture):
        model_args.setdefault("img_size", image_size)
    spec = EncoderSpec(
        architecture, InputSpec.square(image_size, channels, frames_of(architecture, model_args)), model_args
    )
    if seed is None:
        return spec.build()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build()


def spec_of(encoder: nn.Module) -> EncoderSpec:
    """The spec an encoder was built from.

    Raises:
        UsageError: if it was not built by ``create_encoder``, ``EncoderSpec.build`` or ``load_encoder``.
    """
    spec = getattr(encoder, "spec", None)
    if not isinstance(spec, EncoderSpec):
        raise UsageError(
            f"this {type(encoder).__name__} was not made by sslzoo.encoders, so it cannot be rebuilt by name"
        )
    return spec


def frames_of(architecture: str, model_args: dict[str, Any]) -> int:
    """Frames of the clips that an architecture takes, with these arguments; 0 if it takes images."""
    return model_args.get("frames", FRAMES) if is_video(architecture) else 0


def usual_size(architecture: str) -> int:
    """Height and width in pixels, where none are asked for."""
    return default_cfgs[architecture].default.input_size[-1] if is_video(architecture) else 224


def takes_clips(encoder: nn.Module) -> bool:
    """Whether it takes clips (B, C, T, H, W), not images."""
    return spec_of(encoder).input.frames > 0


def feature_dim(encoder: nn.Module) -> int:
    """D of the features (B, D): timm's ``num_features``, but for architectures whose head widens them (MobileNetV3)."""
    return getattr(encoder, "head_hidden_size", None) or encoder.num_features  # type: ignore[return-value]


def parse_encoder_args(args: Iterable[str]) -> dict[str, Any]:
    """``patch_size=4`` becomes ``{"patch_size": 4}``; values are Python literals, or else plain text."""
    parsed: dict[str, Any] = {}
    for arg in args:
        name, equals, value = arg.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"encoder argument {arg!r} is not of the form name=value")
        if name in OURS:
            raise UsageError(f"encoder argument {name!r} is sslzoo's to set (as by --channels and --frames)")
        try:
            parsed[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parsed[name] = value
    return parsed


def _our_pretrained_cfg(encoder: nn.Module, spec: EncoderSpec) -> dict[str, Any]:
    """Timm's ``pretrained_cfg``, replaced whole: only what the architecture says of its layers is kept."""
    theirs: Any = encoder.pretrained_cfg
    return {
        "architecture": spec.architecture,
        "custom_load": False,
        "input_size": spec.input.size,
        "fixed_input_size": bool(theirs.get("fixed_input_size")),
        "interpolation": spec.input.interpolation,
        "crop_pct": spec.input.crop_pct,
        "crop_mode": "center",
        "mean": spec.input.mean,
        "std": spec.input.std,
        "num_classes": 0,
        "pool_size": None,
        # Older timm "adapts" the first convolution of a checkpoint whenever the model is not RGB, even if it fits.
        "first_conv": theirs.get("first_conv") if spec.input.size[0] == 3 else None,
        "classifier": theirs.get("classifier"),
    }


def has_fixed_input_size(architecture: str) -> bool:
    """Whether an architecture takes images of the one size it was built for."""
    cfg = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    return bool(cfg and cfg.fixed_input_size)


def _unknown_architecture(name: str) -> str:
    base, _, tag = name.partition(".")
    if tag and timm.is_model(base):
        return f"encoder {name!r} names pretrained weights; pretraining starts from scratch: use {base!r}"
    near = difflib.get_close_matches(base, timm.list_models(), n=3)
    return f"timm {timm.__version__} has no encoder {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")


def spec_to_json(spec: EncoderSpec) -> dict[str, Any]:
    """For records and keys: plain lists, numbers and texts."""
    return asdict(spec)
