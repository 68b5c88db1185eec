"""Values from files, put into Markdown so that they show as they are and change nothing around them."""

from __future__ import annotations

import re
from typing import Any


def plain(value: object) -> str:
    """One line of text, in a paragraph or in a cell of a table."""
    text = re.sub(r"([\\`*|~])", r"\\\1", _one_line(value))
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text).replace("<", "&lt;").replace("](", "]\\(")
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # inside of a word it means nothing
    return re.sub(r"^(\d*(?=[.)]\s))?([-+#>=.)\[])", r"\1\\\2", text)  # lists, headings, quotes, definitions


def code(value: object) -> str:
    """A digest or a name as code; anything else is no such thing, and stays text."""
    text = _one_line(value)
    return f"`{text}`" if re.fullmatch(r"[\w.:@/+-]+", text) else plain(text) or "not known"


def block(value: object, language: str) -> str:
    """Lines of code, fenced."""
    text = str(value)
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def link(title: object, url: object) -> str:
    """The title, as a link if the address is one of the web."""
    if not re.fullmatch(r"https?://[^\s<>()\[\]\\|`\"']+", str(url)):
        return plain(title)
    title = re.sub(r"(?<!\\)([\[\]])", r"\\\1", plain(title))
    return f"[{title}]({url})"


def words(name: object) -> str:
    """``best_layer_accuracy`` -> ``best layer accuracy``."""
    return str(name).replace("_", " ").replace("-", " ")


def items(values: dict[str, Any]) -> str:
    """Settings, as one speaks of them."""
    return ", ".join(f"{words(key)} {_value(value)}" for key, value in values.items())


def thousands(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else "not known"


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "as the report says"
    if isinstance(value, list) and len(value) > 4:
        return f"{value[0]} … {value[-1]} ({len(value)} values)"
    return str(value)


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
