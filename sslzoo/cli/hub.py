"""``sslzoo push`` and ``sslzoo pull``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from sslzoo.api import pull, push
from sslzoo.flags import parse


@dataclass(frozen=True)
class PushArguments:
    run: tyro.conf.Positional[Path]
    """A finished run's folder."""
    repo: tyro.conf.Positional[str]
    """ORG/NAME on the Hub; created if it does not exist."""
    private: bool = False
    """Create the repository as private."""
    revision: str = ""
    """Branch to push to; created if it does not exist."""


@dataclass(frozen=True)
class PullArguments:
    repo: tyro.conf.Positional[str]
    """ORG/NAME, or ORG/NAME@REVISION."""
    out: str = ""
    """Folder to put the encoder in; ./NAME if not given."""


def main(verb: str, words: list[str]) -> int:
    """Push a run and print the commit's address, or pull an encoder and print its folder."""
    if verb == "push":
        sent = parse(PushArguments, words, "sslzoo push", "Publish a run on the Hugging Face Hub, in one commit.")
        print(push(sent.run, sent.repo, private=sent.private, revision=sent.revision or None))
    else:
        wanted = parse(PullArguments, words, "sslzoo pull", "Fetch an encoder from the Hub, and check it.")
        print(pull(wanted.repo, Path(wanted.out) if wanted.out else None))
    return 0
