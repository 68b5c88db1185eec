"""Counting the samples that could not be read, and stopping when they are too many to pass over."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from sslzoo.config import UserError

logger = logging.getLogger(__name__)

_SHARE = 0.01
_STREAM_MINIMUM = 200
_SHOWN = 3


class UnreadableTally:
    """The unreadable samples that this process has met, each counted and logged once."""

    def __init__(self, name: str, total: int = 0) -> None:
        """``total`` is the number of samples of the data set ``name``; 0 for a stream, of which those seen count."""
        self.name = name
        self.total = total
        self.seen = 0
        self._unreadable: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._unreadable)

    def add(self, unreadable: Iterable[str], seen: int) -> None:
        """``unreadable`` ("name: reason" each) among ``seen`` more samples.

        Raises:
            UserError: if more than 1 % of the data set are unreadable; of a stream, of what was seen, once that is 200.
        """
        self.seen += seen
        for text in unreadable:
            if text not in self._unreadable:
                self._unreadable[text] = None
                logger.warning("skipped an unreadable sample of %s: %s", self.name, text)
        total = self.total or self.seen
        if len(self) > _SHARE * total and (self.total or total >= _STREAM_MINIMUM):
            shown = "; ".join(list(self._unreadable)[:_SHOWN])
            raise UserError(
                f"{len(self)} of {total} samples of {self.name} cannot be read, more than {_SHARE:.0%}: {shown}"
                f"{' …' if len(self) > _SHOWN else ''}; repair or remove these files"
            )

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint, as JSON."""
        return {"seen": self.seen, "unreadable": list(self._unreadable)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting from a checkpoint, without logging again."""
        self.seen = state["seen"]
        self._unreadable = dict.fromkeys(state["unreadable"])
