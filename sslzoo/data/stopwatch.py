"""How long the parts of some work take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up seconds by name of a part::

    watch = Stopwatch()
    with watch("decode"):
        ...
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.add({part: time.perf_counter() - began})

    def add(self, seconds: dict[str, float]) -> None:
        """What another watch measured, in another process perhaps."""
        for part, more in seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + more
