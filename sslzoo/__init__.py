"""sslzoo: a plugin-based zoo of self-supervised pretext methods that publish plain timm encoders.

Importing this module imports nothing else; each name below loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "evaluate",
    "evaluate_again",
    "list_methods",
    "load_encoder",
    "open_dataset",
    "pretrain",
    "pull",
    "push",
    "verify",
]

if TYPE_CHECKING:
    from sslzoo.api import (
        evaluate,
        evaluate_again,
        list_methods,
        open_dataset,
        pretrain,
        push,
    )
    from sslzoo.hub.load import load_encoder
    from sslzoo.hub.pull import pull
    from sslzoo.hub.verify import verify

_WITHOUT_DATA = {"load_encoder": "hub.load", "pull": "hub.pull", "verify": "hub.verify"}
"""Where verbs are that need no more than the Hub's client and timm, which load in three quarters of the time."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"sslzoo.{_WITHOUT_DATA.get(name, 'api')}"), name)
    raise AttributeError(f"module 'sslzoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
