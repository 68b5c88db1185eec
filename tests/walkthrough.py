"""Do what a guide in Markdown says: run its commands, write its files, and look for the output that it shows.

In the guide, ``bash`` blocks are run, one after the other, as if typed into one shell. ``python`` blocks with a title
are whole files, ``diff`` blocks with a title are changes of one, with ``@@`` lines between changes of different places.
A ``text`` block shows lines of the output of the commands before it, in order, with … for what varies. Nothing is
passed over in silence: a block is done, or the paragraph before it says that it is not, and why.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NOT_RUN = "*Not run by the tests: "
INSTALL = "pip install sslzoo"
"""The one command that is done in another way: sslzoo comes from this checkout, not from the index."""

_FENCED = re.compile(r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.M | re.S)
_FENCE = re.compile("```.*|~~~.*")


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str
    line: int
    """Where it begins in the guide."""


def blocks_of(markdown: str) -> list[Block]:
    """Every block that is to be done."""
    between = _FENCED.sub("", markdown)
    assert not _FENCE.search(between), f"a block that is not at the margin, or not closed: {_FENCE.search(between)}"
    blocks = []
    for found in _FENCED.finditer(markdown):
        if not markdown[: found.start()].rstrip().rpartition("\n\n")[2].startswith(NOT_RUN):
            line = markdown.count("\n", 0, found.start()) + 1
            blocks.append(Block(found["language"], found["title"] or "", found["text"], line))
    return blocks


def clean_environment() -> dict[str, str]:
    """Environment variables in which ``python`` is the one that runs, and sees what is installed and no more."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return environment | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


class Walk:
    """A reader who has come to some place in a guide, in a folder of their own."""

    def __init__(self, guide: Path, folder: Path, environment: dict[str, str], checkout: Path) -> None:
        self.guide, self.folder, self.checkout = guide, folder, checkout
        self.environment = environment | {"COLUMNS": "100"}
        self.left = blocks_of(guide.read_text())
        self.output = ""
        """Of the last commands."""
        self._shell = folder / "shell-state"
        self._shell.write_text(f'cd "{folder}"\n')

    def until(self, command: str) -> None:
        """Do every block up to the next one that holds ``command``, and that one."""
        done = False
        while not done:
            done = command in self.left[0].text
            self._do(self.left.pop(0))

    def rest(self) -> None:
        """Do every block that is left."""
        while self.left:
            self._do(self.left.pop(0))

    def _do(self, block: Block) -> None:
        place = f"{self.guide.name}, line {block.line}"
        if block.language == "bash":
            self.output = self._run(block.text.replace(INSTALL, f"pip install {self.checkout}"), place)
        elif block.language == "text":
            lacking = not_shown(block.text, self.output)
            assert not lacking, f"{place}: no line\n  {lacking}\nin the output\n{self.output}"
        elif block.language == "python" and block.title:
            self._file(block).write_text(block.text)
        elif block.language == "diff" and block.title:
            self._file(block).write_text(changed(self._file(block).read_text(), block.text, place))
        else:
            raise AssertionError(f"{place}: nothing tells what to do with this block, nor why nothing is to be done")

    def _run(self, commands: str, place: str) -> str:
        """What commands print, which begin where the last ones ended: in that folder, with those variables."""
        keep = f'trap \'{{ export -p; echo "cd \\"$PWD\\""; }} > "{self._shell}"\' EXIT'
        done = subprocess.run(
            ["bash", "-c", f'. "{self._shell}"\n{keep}\nset -e\n{commands}'],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{place}: exit code {done.returncode} of\n{commands}\n{done.stdout}"
        return done.stdout

    def _file(self, block: Block) -> Path:
        """The file a block is about, from the folder that the reader is in."""
        return Path(self._shell.read_text().splitlines()[-1].removeprefix("cd ").strip('"'), block.title)


def not_shown(shown: str, output: str) -> str:
    """The first line that should be in the output after those before it, and is not; empty if all are."""
    lines = iter([" ".join(line.split()) for line in output.splitlines()])
    for wanted in filter(lambda line: line.strip() not in ("", "…"), shown.splitlines()):
        parts = " ".join(wanted.split()).split("…")
        pattern = re.compile(".*".join(map(re.escape, parts)))
        if not any(pattern.fullmatch(line) for line in lines):
            return wanted
    return ""


def changed(text: str, diff: str, place: str) -> str:
    """``text`` after the changes of a diff, each of which must fit one place."""
    for hunk in re.split(r"^@@.*\n", diff, flags=re.M):
        before, after = ("".join(f"{line[1:]}\n" for line in hunk.splitlines() if line[:1] != sign) for sign in "+-")
        assert not before or text.count(before) == 1, f"{place}: to be changed, once, but not so in the file:\n{before}"
        text = text.replace(before, after) if before else text
    return text
