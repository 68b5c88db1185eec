"""``sslzoo new NAME``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from sslzoo.flags import parse
from sslzoo.scaffold import Kind, distribution_name, method_name, write_package


@dataclass(frozen=True)
class Arguments:
    name: tyro.conf.Positional[str]
    """Of the method, such as my_task."""
    out: str = ""
    """A new or empty folder for the package; ./sslzoo-NAME if not given."""
    kind: Kind = "image"
    """The task to start from: of pictures, of clips, of pictures with sounds, or with a teacher."""


def main(verb: str, words: list[str]) -> int:
    """Write the package, print its folder, and say what to do next."""
    arguments = parse(Arguments, words, "sslzoo new", "A package with a pretext method of yours, that works at once.")
    name = method_name(arguments.name)
    out = write_package(name, Path(arguments.out or distribution_name(name)), arguments.kind)
    print(out)
    print(
        f"The task is in {out / f'sslzoo_{name}' / f'{name}.py'}. Next:\n\n"
        f"  pip install -e {out}\n"
        f"  sslzoo check {name}\n"
        f"  sslzoo pretrain {name} --out runs/{name}",
        file=sys.stderr,
    )
    return 0
