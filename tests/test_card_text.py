"""Whatever a file says, the card shows it as it is and stays a card."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from jinja2 import Environment
from published_run import RECORD, REPORT, write_run

from sslzoo.card import render_card
from sslzoo.card.citation import bibtex
from sslzoo.card.text import block, code, link, plain
from sslzoo.testing.loopback.cards import errors

HOSTILE = (
    "a|b <script>alert(1)</script> `code` ``` *b* __c__ ~~d~~ ![x](http://x) [y](javascript:z) # e {{ f }} {% g %} "
    "&lt; \\ : - 'q' \"r\"\n---\nlicense: mit\n\n# A heading\n| a | b |\n"
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("cliparts[test]", "cliparts[test]"),
        ("31.4 %", "31.4 %"),
        ("test_resnet", "test_resnet"),
        ("a | b", r"a \| b"),
        ("1. first", r"1\. first"),
        ("# heading", r"\# heading"),
        ("- item\n- item", r"\- item - item"),
        ("> quote", r"\> quote"),
        ("[a]: http://x", r"\[a]: http://x"),
        ("see [a](http://x)", r"see [a]\(http://x)"),
        ("<b>", "&lt;b>"),
        ("&lt;b>", "&amp;lt;b>"),
        ("*a* _b_ __c__ ~~d~~ `e`", r"\*a\* \_b\_ \_\_c\_\_ \~\~d\~\~ \`e\`"),
        (r"a\b", r"a\\b"),
    ],
)
def test_text_shows_as_it_is(value: str, shown: str) -> None:
    assert plain(value) == shown


def test_code_ends_where_it_should() -> None:
    assert code("0123abcd") == "`0123abcd`" and code("a`|b") == r"a\`\|b" and code("") == "not known"
    assert block("a\n```\nb", "bash") == "````bash\na\n```\nb\n````"


def test_only_addresses_of_the_web_are_linked() -> None:
    assert link("A [nice] title", "https://arxiv.org/abs/1803.07728") == (
        r"[A \[nice\] title](https://arxiv.org/abs/1803.07728)"
    )
    for address in ("javascript:alert(1)", "https://x) [y](z", "https://x y", "", None):
        assert link("title", address) == "title"


def filled(value: Any, text: str) -> Any:
    """Every text of a record or report replaced, but for keys and what decides the course of things."""
    if isinstance(value, dict):
        return {key: filled(inner, text) if key not in ("format", "url") else inner for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, text) for inner in value]
    return text if isinstance(value, str) else value


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def headings(run: Path) -> list[str]:
    return headings_of(render_card(run, "tester/x"))


def headings_of(card: str) -> list[str]:
    return [line for line in card.splitlines() if line.startswith("#")]


@pytest.mark.parametrize(
    "text", [HOSTILE, "- a: [b, {c", "\u2028\u0085\t", "", "%YAML", "!!python/object:os.system", "null"]
)
def test_no_value_breaks_table_html_or_yaml(run: Path, headings: list[str], text: str) -> None:
    record, report = filled(copy.deepcopy(RECORD), text), filled(copy.deepcopy(REPORT), text)
    report["metrics"][f"top|1 {text}"] = 0.5
    (run / "run.json").write_text(json.dumps(record))
    (run / "evaluations" / "knn.json").write_text(json.dumps(report))
    rendered = render_card(run, "tester/x")

    card = ModelCard(rendered)  # the client's own reading
    assert errors(rendered) == []
    assert card.data.license == "apache-2.0" and card.data.library_name == "timm"
    assert card.data["sslzoo"]["dataset"] == text
    again = yaml.safe_load(card.data.to_yaml())
    assert again["sslzoo"]["method"] == text

    outside = without_code(card.text)
    assert "<script" not in outside and "](javascript" not in outside and "](http://x" not in outside
    assert headings_of(outside) == headings
    for line in outside.splitlines():
        if line.startswith("|"):
            assert line.endswith("|") and line.count("|") - line.count("\\|") in (3, 6), line


def without_code(text: str) -> str:
    """Without fenced blocks, however long their fences are."""
    kept, fence = [], ""
    for line in text.splitlines():
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if not fence and len(ticks) >= 3:
            fence = ticks
        elif fence and line == fence:
            fence = ""
        elif not fence:
            kept.append(line)
    assert not fence, "a block of code never ends"
    return "\n".join(kept)


def test_templates_in_values_are_not_run(run: Path) -> None:
    method = RECORD["method"] | {"summary": "{{ 6 * 7 }} {% raw %}"}
    (run / "run.json").write_text(json.dumps(RECORD | {"method": method}))
    assert "{{ 6 \\* 7 }} {% raw %}" in render_card(run)
    assert Environment().from_string("{{ 6 * 7 }}").render() == "42", "or else this test could not fail"


def test_the_paper_can_be_cited() -> None:
    assert bibtex(RECORD["method"]["paper"]).splitlines() == [
        "@misc{gidaris2018unsupervised,",
        "  author = {Gidaris and Singh and Komodakis},",
        '  title = "{Unsupervised Representation Learning by Predicting Image Rotations}",',
        "  howpublished = {ICLR},",
        "  year = {2018},",
        "  url = {https://arxiv.org/abs/1803.07728}",
        "}",
    ]
    paper = {
        "authors": "Santa Cruz, Altché, Tallec et al.",
        "title": "The 50 % of {A_B} \\input{x} & C",
        "venue": "arXiv",
        "year": 2020,
        "url": "https://arxiv.org/abs/1",
    }
    entry = bibtex(paper)
    assert entry.startswith("@misc{santacruz202050,\n  author = {{Santa Cruz} and Altché and Tallec and others},")
    assert r'"{The 50 \% of A\_B inputx \& C}"' in entry
    assert entry.count("{") == entry.count("}")
