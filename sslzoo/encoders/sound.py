"""Encoders of sounds: timm encoders of one channel, whose images are log-mel spectrograms (B, 1, bands, ticks).

Low bands come first, and a tick is a hundredth of a second, as ``views/spectrograms.py`` makes them.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from sslzoo.encoders.spec import EncoderSpec, InputSpec, has_fixed_input_size

BANDS, TICKS = 64, 100
"""Of a second of sound there is one tick more, as the first and the last are at its ends."""
MEAN, STD = -1.5, 1.7
"""Of the logarithms in ``world``, rounded: other sounds are louder or softer, but not by more than its own are."""


def sound_spec(seconds: float = 1.0) -> InputSpec:
    """The spectrogram of a sound that is ``seconds`` long, as an image of one channel."""
    return InputSpec(size=(1, BANDS, 1 + round(TICKS * seconds)), mean=(MEAN,), std=(STD,))


def create_sound_encoder(architecture: str, seconds: float = 1.0) -> nn.Module:
    """An untrained timm encoder of sounds that are ``seconds`` long: log-mel (B, 1, 64, T) in, features (B, D) out.

    Raises:
        UsageError: for an unknown architecture, or one that does not take such an image.
    """
    spec = sound_spec(seconds)
    model_args: dict[str, Any] = {"in_chans": 1}
    if has_fixed_input_size(architecture):
        model_args["img_size"] = list(spec.size[1:])
    return EncoderSpec(architecture, spec, model_args).build()
