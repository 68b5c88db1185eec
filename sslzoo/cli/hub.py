"""``sslzoo push`` and ``sslzoo pull``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from sslzoo.api import pull, push
from sslzoo.flags import parse
from sslzoo.hub.push import Gated


@dataclass(frozen=True)
class PushArguments:
    run: tyro.conf.Positional[Path]
    """A finished run's folder."""
    repo: tyro.conf.Positional[str]
    """ORG/NAME on the Hub; created if it does not exist."""
    private: bool = False
    """Create the repository as private."""
    gated: Gated | None = None
    """Have readers ask for access, which is given at once or by hand."""
    revision: str = ""
    """Branch to push to; created if it does not exist."""
    tag: str = ""
    """A name for the commit, such as v1."""
    pull_request: bool = False
    """Propose the commit instead, to a repository that exists."""
    heads: bool = False
    """Also send the method's own parts, to pretrain further."""
    unfinished: bool = False
    """Also a run that has not finished, if it has an encoder."""


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
        address = push(
            sent.run,
            sent.repo,
            private=sent.private,
            gated=sent.gated,
            revision=sent.revision or None,
            tag=sent.tag or None,
            pull_request=sent.pull_request,
            heads=sent.heads,
            unfinished=sent.unfinished,
        )
        print(address)
    else:
        wanted = parse(PullArguments, words, "sslzoo pull", "Fetch an encoder from the Hub, and check it.")
        print(pull(wanted.repo, Path(wanted.out) if wanted.out else None))
    return 0
