"""The paper of a method as BibTeX."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_SMALL_WORDS = {"a", "an", "the", "on", "in", "of", "by", "for", "to", "with"}


def bibtex(paper: dict[str, Any]) -> str:
    """One entry. Surnames stand for authors, as in ``MethodInfo``; what BibTeX would take for a command is escaped."""
    names = re.split(r"\s*(?:,|&|\band\b)\s*", re.sub(r",?\s*\bet al\.?$", " and others", str(paper["authors"])))
    authors = " and ".join(name if name == "others" else _braced(name) for name in names if name)
    year = _plain(paper["year"])
    lines = [
        f"@misc{{{_key(names[0], year, str(paper['title']))},",
        f"  author = {{{authors}}},",
        f'  title = "{{{_plain(paper["title"])}}}",',  # braces keep capitals
        f"  howpublished = {{{_plain(paper['venue'])}}},",
        f"  year = {{{year}}},",
        f"  url = {{{_plain(paper['url'])}}}",
        "}",
    ]
    return "\n".join(lines)


def _key(author: str, year: str, title: str) -> str:
    words = [_ascii(word) for word in title.split()]
    word = next((word for word in words if word and word not in _SMALL_WORDS), "")
    return f"{_ascii(author)}{_ascii(year)}{word}"


def _ascii(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"\W+", "", letters).lower()


def _braced(name: str) -> str:
    """Surnames of two words are one."""
    plain = _plain(name)
    return f"{{{plain}}}" if " " in plain else plain


def _plain(value: object) -> str:
    text = " ".join(re.sub(r"[\\{}]", "", str(value)).split())
    return re.sub(r"([&%$#_])", r"\\\1", text)
