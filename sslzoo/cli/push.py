"""``sslzoo push RUN ORG/NAME``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from sslzoo.api import push
from sslzoo.flags import parse
from sslzoo.hub.push import Gated


@dataclass(frozen=True)
class Arguments:
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


def main(verb: str, words: list[str]) -> int:
    """Push a run and print the commit's address."""
    sent = parse(Arguments, words, "sslzoo push", "Publish a run on the Hugging Face Hub, in one commit.")
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
    return 0
