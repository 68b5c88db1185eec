"""PyAV, which has FFmpeg in its wheel, and what it says of broken files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from sslzoo.config import UsageError
from sslzoo.data.source import Unreadable


def pyav() -> ModuleType:
    """
    Raises:
        UsageError: if it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UsageError(
            "videos and sounds are read by PyAV, which is not installed: pip install 'sslzoo[video]'"
        ) from error
    return av


@contextmanager
def readable(name: str) -> Iterator[None]:
    """What FFmpeg says of a broken file, as ``Unreadable``."""
    try:
        yield
    except pyav().FFmpegError as error:
        reason = "ends too early" if isinstance(error, EOFError) else error.strerror or type(error).__name__
        raise Unreadable(f"{name}: {reason.lower()}") from error
