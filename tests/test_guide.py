"""The guide says what is so: all of it is done as a reader would, and its table of promises is the code's."""

from __future__ import annotations

import os
import re
import sysconfig
from pathlib import Path

import pytest
from conftest import ROOT
from walkthrough import INSTALL, NOT_RUN, Block, Walk, blocks_of, changed, clean_environment, not_shown

from sslzoo.testing.conformance.promises import PROMISES
from sslzoo.testing.loopback import LoopbackHub

GUIDE = ROOT / "docs" / "writing-a-method.md"
TABLES = re.compile(r"(?<=<!-- promises: python tests/test_guide.py -->\n).*?(?=<!-- /promises -->)", re.S)
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_CONFIG_FILE": os.devnull}
"""For pip: everything that is needed is there. (Of a flag that says no, 0 is pip's word for yes.)"""


def promises() -> str:
    """A table for each contract: what a plugin promises, and how to keep it."""
    tables = []
    for contract, kept in PROMISES.items():
        rows = [f"| `{name}` | {_cell(promise.says)} | {_cell(promise.mend)} |" for name, promise in kept.items()]
        heading = f"| {contract} | promises that … | if `sslzoo check` says that it is broken |\n|---|---|---|"
        tables.append("\n".join([heading, *rows]))
    return "\n\n".join(tables) + "\n"


def _cell(text: str) -> str:
    """Text that Markdown takes neither for the end of a cell nor for bold."""
    return re.sub(r"__\w+__", r"`\g<0>`", text.replace("|", "\\|"))


def test_everything_in_the_guide_works_as_it_says(tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        walk = Walk(GUIDE, tmp_path, clean_environment() | OFFLINE | hub.environment(tmp_path / "home"), ROOT)
        walk.until("python -m venv")
        # What pip would fetch is borrowed from the environment of the tests; sslzoo itself is installed all the same.
        (site,) = (tmp_path / ".venv" / "lib").glob("python*/site-packages")
        (site / "borrowed.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        walk.rest()
        assert hub.repo("you/my-encoder").files().keys() >= {"config.json", "model.safetensors", "README.md"}


def test_the_table_of_promises_is_the_codes() -> None:
    (table,) = TABLES.findall(GUIDE.read_text())
    assert table == promises(), "run: python tests/test_guide.py"


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", GUIDE.read_text())
    assert links and all((GUIDE.parent / link).exists() for link in links)


def test_the_readme_leads_to_the_guide() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "(docs/writing-a-method.md)" in readme
    assert all(
        f"\n{command}" in readme for command in ("sslzoo new my_task", "pip install -e ", "sslzoo check my_task")
    )


def test_one_command_of_the_guide_is_done_in_another_way() -> None:
    assert sum(block.text.count(INSTALL) for block in blocks_of(GUIDE.read_text())) == 1


# The tests of the guide are only as good as the one who walks through it.


def walk_through(text: str, folder: Path) -> Walk:
    guide = folder / "guide.md"
    guide.write_text(text)
    walk = Walk(guide, folder, clean_environment(), ROOT)
    walk.rest()
    return walk


def fenced(language: str, text: str) -> str:
    return f"\n```{language}\n{text}\n```\n"


def test_commands_of_all_blocks_are_of_one_shell(tmp_path: Path) -> None:
    text = fenced("bash", "mkdir sub\ncd sub\nexport WORD='two  words'") + fenced("bash", 'echo "$WORD in $(pwd)"')
    walk_through(text + fenced("text", f"two  words in {tmp_path}/sub"), tmp_path)


def test_files_are_written_and_changed_where_the_reader_is(tmp_path: Path) -> None:
    text = fenced("bash", "mkdir sub; cd sub") + fenced('python title="a.py"', "print(1)\nprint(2)")
    walk_through(text + fenced('diff title="a.py"', " print(1)\n-print(2)\n+print(3)"), tmp_path)
    assert (tmp_path / "sub" / "a.py").read_text() == "print(1)\nprint(3)\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (fenced("bash", "false\necho hello"), "line 2: exit code 1"),
        (fenced("bash", "echo hello") + fenced("text", "goodbye"), "no line\n  goodbye"),
        (fenced("python", "x = 1"), "nothing tells what to do"),
        (fenced("", "x"), "nothing tells what to do"),
        (fenced("console", "$ rm"), "nothing tells what to do"),
        (fenced('python title="a.py"', "1\n1") + fenced('diff title="a.py"', "-1\n+2"), "once, but not so"),
    ],
)
def test_what_does_not_work_is_told_by_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        walk_through(text, tmp_path)


def test_a_block_is_passed_over_only_if_the_guide_says_so() -> None:
    block = fenced("bash", "hf auth login")
    assert blocks_of(f"Log in.\n{block}") == [Block("bash", "", "hf auth login\n", 3)]
    assert blocks_of(f"{NOT_RUN}it asks for a password.*\n{block}") == []
    assert len(blocks_of(f"{NOT_RUN}it asks for a password.*\n{block}{block}")) == 1


@pytest.mark.parametrize("text", ["- item\n  ```bash\n  true\n  ```\n", "```bash\ntrue\n", "~~~\ntrue\n~~~\n"])
def test_no_block_is_overlooked(text: str) -> None:
    with pytest.raises(AssertionError, match="not at the margin, or not closed"):
        blocks_of(text)


def test_output_is_compared_by_lines_in_order() -> None:
    output = "epoch 1  loss 0.5\nepoch 2  loss 0.25\n"
    assert not_shown("epoch 1 loss …\nepoch 2 loss 0.25", output) == ""
    assert not_shown("…loss 0.25", output) == ""
    assert not_shown("epoch 2 …\nepoch 1 …", output) == "epoch 1 …"
    assert not_shown("loss 0.5", output) == "loss 0.5"


def test_changes_are_made_at_their_places() -> None:
    text = "a = 1\nb = 2\n\nc = 3\n"
    assert changed(text, "-a = 1\n@@ further down\n \n-c = 3\n+c = 4\n", "here") == "b = 2\n\nc = 4\n"


if __name__ == "__main__":
    GUIDE.write_text(TABLES.sub(lambda _: promises(), GUIDE.read_text()))
