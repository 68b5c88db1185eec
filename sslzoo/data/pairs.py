"""Two data sets side by side, for methods that learn from one with an eye on the other."""

from __future__ import annotations

import hashlib
from collections import ChainMap
from typing import cast

from sslzoo.config import UsageError
from sslzoo.data.source import Source
from sslzoo.views import Sample

PREFIX = "pairs:"


class Pairs(Source):
    """Samples of two sources, one of each with all fields of both: such as rendered clips, each with a photograph.

    As many as the longer source has, so that all of both is seen in an epoch; the shorter one begins again. Which two
    come together means nothing. There are no labels.
    """

    def __init__(self, one: Source, other: Source) -> None:
        self.one, self.other = one, other
        self.name = f"{PREFIX}{one.name}+{other.name}"
        licenses = [source.license for source in (one, other) if source.license]
        self.license = " AND ".join(dict.fromkeys(licenses)) if len(licenses) == 2 else None

    def __len__(self) -> int:
        return max(len(self.one), len(self.other))

    def read(self, index: int) -> Sample:
        """The fields of both, which are not looked at here: those of a rendered clip are decoded when they are.

        Raises:
            UsageError: if both have one of the same name.
        """
        one, other = self.one.read(index % len(self.one)), self.other.read(index % len(self.other))
        both = sorted(one.keys() & other.keys())
        if both:
            raise UsageError(
                f"{self.one.name} and {self.other.name} both have {both[0]!r}, so they cannot be paired: take one of "
                f"clips and one of images"
            )
        return cast(Sample, ChainMap({}, one, other))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the fingerprints of both."""
        return hashlib.sha256(f"{self.one.fingerprint}+{self.other.fingerprint}".encode()).hexdigest()


def paired_names(name: str) -> tuple[str, str] | None:
    """``A`` and ``B`` of ``pairs:A+B``, which may have splits such as ``train+test``; None for any other name.

    Raises:
        UsageError: if there are not two.
    """
    if not name.startswith(PREFIX):
        return None
    parts, depth = [""], 0
    for letter in name.removeprefix(PREFIX):
        depth += (letter == "[") - (letter == "]")
        if letter == "+" and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    if len(parts) != 2 or not all(parts):
        raise UsageError(f"{name!r} does not name two data sets: write {PREFIX}A+B, such as {PREFIX}world+cliparts")
    return parts[0], parts[1]
