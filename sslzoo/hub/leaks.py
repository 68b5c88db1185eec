"""What must not leave this machine: access tokens, and the folders it keeps its files in."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_token

from sslzoo.config import UserError

TEXTS = (".json", ".jsonl", ".md", ".yaml", ".yml", ".txt")
MOST_METADATA = 2**20
"""Bytes at the beginning of a picture, or of the header of weights, where words may be."""


@dataclass(frozen=True)
class Rule:
    """Something to look for."""

    what: str
    hints: tuple[str, ...]
    """One of these is in every text that ``pattern`` is in: looking for them first is a hundred times as fast."""
    pattern: re.Pattern[str]
    secret: bool = True

    def says(self, line: str) -> str | None:
        """What was found in a line and what to do; a secret is not repeated."""
        found = any(hint in line for hint in self.hints) and self.pattern.search(line)
        if not found:
            return None
        if self.secret:
            return f"{self.what} ({found[0][:6]}…); take it out and have it revoked"
        return f"{self.what} {found[0]}; take it out"


def _secret(what: str, hints: str, pattern: str) -> Rule:
    return Rule(what, tuple(hints.split()), re.compile(pattern))


_SECRETS = [
    _secret("a Hugging Face token", "hf_ api_org_", r"\b(?:api_org|hf)_[A-Za-z0-9]{20,}"),
    _secret("a GitHub token", "gho_ ghp_ ghs_ ghu_ github_pat_", r"\b(?:gh[opsu]_[A-Za-z0-9]{30}|github_pat_\w{30})"),
    _secret("a GitLab token", "glpat-", r"\bglpat-[\w-]{20}"),
    _secret("a Slack token", "xox", r"\bxox[abprs]-[\w-]{10}"),
    _secret("an API key", "sk-", r"\bsk-[\w-]{20}"),
    _secret("an AWS key", "AKIA ASIA", r"\bA[KS]IA[0-9A-Z]{16}\b"),
    _secret("a private key", "-----BEGIN", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    _secret("a password in an address", "://", r"\b[a-z][a-z0-9+.-]*://[\w.%+~-]*:[\w.%+~!$-]+@"),
    _secret(
        "a secret in an address",
        "token= key= auth= password= secret= sig= ignature=",
        r"(?i)[?&][\w-]*(?:token|key|auth|password|secret|sig|signature)=[\w.%+~/-]{8}",
    ),
]


def refuse_leaks(files: Mapping[str, Path], folders: Iterable[Path]) -> None:
    """Read what is about to be published: texts whole, of pictures the beginning, of weights the header.

    Args:
        files: by their name in the repository.
        folders: of this machine, whose names mean nothing elsewhere; its home and working folder are added.

    Raises:
        UserError: naming the file, the line and what is in it.
    """
    rules = [*_SECRETS, *_login(), *_folders([*folders, Path.cwd()])]
    for name, path in files.items():
        text = _text(path)
        concerned = [rule for rule in rules if any(hint in text for hint in rule.hints)]
        for number, line in enumerate(text.splitlines() if concerned else (), start=1):
            for rule in concerned:
                if said := rule.says(line):
                    raise UserError(f"{path}, line {number}, would publish (as {name}) {said}, then push again")


def _text(path: Path) -> str:
    if path.suffix in TEXTS:
        return path.read_text(encoding="utf-8", errors="replace")
    with path.open("rb") as file:
        beginning = file.read(MOST_METADATA)
    if path.suffix == ".safetensors":  # behind its header are numbers and nothing else
        beginning = beginning[: 8 + int.from_bytes(beginning[:8], "little")]
    return beginning.decode("latin-1")


def _login() -> Iterator[Rule]:
    if token := get_token():
        yield Rule("the token you are logged in with", (token,), re.compile(re.escape(token)))


def _folders(folders: Iterable[Path]) -> Iterator[Rule]:
    """As they are, and as JSON writes them. One right below the root, such as /data, may be part of an address."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() fails for a user without one
    paths = {path for folder in (home, *folders) for path in (folder.absolute(), folder.resolve())}
    names = {str(path) for path in paths if len(path.parts) > 2 or (path == home and len(path.parts) == 2)}
    written = names | {json.dumps(name)[1:-1] for name in names}
    for name in sorted(written, key=len, reverse=True):
        pattern = re.compile(rf"(?:(?<=://)|(?<![\w./-])){re.escape(name)}(?![\w-])")
        yield Rule("this machine's folder", (name,), pattern, secret=False)
