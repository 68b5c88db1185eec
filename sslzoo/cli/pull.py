"""``sslzoo pull ORG/NAME``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from sslzoo.flags import parse
from sslzoo.hub.pull import pull


@dataclass(frozen=True)
class Arguments:
    repo: tyro.conf.Positional[str]
    """ORG/NAME, or ORG/NAME@REVISION."""
    out: str = ""
    """Folder to put the encoder in; ./NAME if not given."""


def main(verb: str, words: list[str]) -> int:
    """Pull an encoder and print its folder."""
    wanted = parse(Arguments, words, "sslzoo pull", "Fetch an encoder from the Hub, and check it.")
    print(pull(wanted.repo, Path(wanted.out) if wanted.out else None))
    return 0
