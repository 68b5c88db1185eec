"""PyAV, which has FFmpeg in its wheel, and what it says of broken files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from sslzoo.config import UsageError
from sslzoo.data.source import Unreadable

if TYPE_CHECKING:
    from av.container import InputContainer


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


def opened(raw: bytes | Path, formats: str) -> InputContainer:
    """The file, or its bytes, in one of ``formats``, FFmpeg's names: no list of other files and addresses to open."""
    options = {"format_whitelist": formats, "protocol_whitelist": "file"}
    file = io.BytesIO(raw) if isinstance(raw, bytes) else str(raw)
    container: InputContainer = pyav().open(file, container_options=options, metadata_errors="replace")
    return container


@contextmanager
def readable(name: str) -> Iterator[None]:
    """What FFmpeg says of a broken file, as ``Unreadable``."""
    try:
        yield
    except pyav().FFmpegError as error:
        reason = "ends too early" if isinstance(error, EOFError) else error.strerror or type(error).__name__
        raise Unreadable(f"{name}: {reason.lower()}") from error
