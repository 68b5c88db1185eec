"""Timm encoders and what is needed to build one again. Importing this makes those of clips known to timm."""

from sslzoo.encoders.sound import create_sound_encoder, sound_spec
from sslzoo.encoders.spec import (
    EncoderSpec,
    InputSpec,
    create_encoder,
    feature_dim,
    frames_of,
    parse_encoder_args,
    spec_of,
    spec_to_json,
    takes_clips,
    usual_size,
)

__all__ = [
    "EncoderSpec",
    "InputSpec",
    "create_encoder",
    "create_sound_encoder",
    "feature_dim",
    "frames_of",
    "parse_encoder_args",
    "sound_spec",
    "spec_of",
    "spec_to_json",
    "takes_clips",
    "usual_size",
]
