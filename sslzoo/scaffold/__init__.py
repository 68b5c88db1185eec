"""A third-party package with one pretext method, ready to be changed: what ``sslzoo new`` writes."""

from __future__ import annotations

import ast
import keyword
import re
from datetime import date
from pathlib import Path
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from sslzoo import __version__
from sslzoo.config import UsageError, UserError
from sslzoo.registry import methods

Kind = Literal["image", "clip", "pair", "teacher"]

KINDS: dict[Kind, str] = {
    "image": "Tell whether a picture lies on its side.",
    "clip": "Tell whether a clip runs backwards.",
    "pair": "Tell whether a picture and a sound are of the same moment.",
    "teacher": "Predict a teacher's feature of another view of the picture.",
}
"""The tasks that there are templates of, each in one sentence."""

FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    ".github/workflows/test.yml": "test.yml",
    "{module}/__init__.py": "package.py",
    "{module}/{name}.py": "{kind}/method.py",
    "tests/test_{name}.py": "{kind}/test.py",
}
"""Each file of a package, and the template it comes from."""

_LONGEST = 40


def write_package(name: str, out: Path, kind: Kind = "image") -> Path:
    """Write a package with a method called ``name``, as ``method_name`` gives it, into the folder ``out``; return it.

    Raises:
        UsageError: if ``out`` is no empty folder, or the name is one that the module needs; then nothing is written.
        UserError: if the folder cannot be written.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} is there already and not empty: name a new folder with --out")
    texts = render(name, kind)
    try:
        for path, text in texts.items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): name another folder with --out") from error
    return out


def method_name(name: str) -> str:
    """The name with underscores, as modules and entry points have it.

    Raises:
        UsageError: if it is no name, or taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", name) or len(name) > _LONGEST:
        raise UsageError(
            f"{name!r} cannot be a method's name: write lower-case words joined by _ or -, such as my_task, "
            f"with a letter first and at most {_LONGEST} characters"
        )
    name = name.replace("-", "_")
    if keyword.iskeyword(name) or keyword.iskeyword(class_name(name)):
        raise UsageError(f"{name!r} is a word of Python's own: choose another name")
    for listed in methods.listed():
        if listed.name.replace("-", "_") == name:
            raise UsageError(f"there is a method {listed.name!r} already, from {listed.package}: choose another name")
    return name


def class_name(name: str) -> str:
    """``my_task`` as ``MyTask``."""
    return "".join(word.capitalize() for word in name.split("_"))


def distribution_name(name: str) -> str:
    """``my_task`` as ``sslzoo-my-task``: what pip installs."""
    return f"sslzoo-{name.replace('_', '-')}"


def render(name: str, kind: Kind) -> dict[str, str]:
    """The text of each file by its path in the package.

    Raises:
        UsageError: if the method's class would hide another of its module.
    """
    names = {"name": name, "module": f"sslzoo_{name}", "kind": kind}
    environment = Environment(
        loader=PackageLoader("sslzoo.scaffold"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = {
        **names,
        "class_name": class_name(name),
        "distribution": distribution_name(name),
        "summary": KINDS[kind],
        "version": __version__,
        "year": date.today().year,
    }
    texts = {
        path.format(**names): environment.get_template(f"{template.format(**names)}.jinja").render(words)
        for path, template in FILES.items()
    }
    if _names(texts[f"sslzoo_{name}/{name}.py"]).count(class_name(name)) > 1:
        raise UsageError(
            f"the method's class would hide another {class_name(name)}, which it needs: choose another name"
        )
    return texts


def _names(source: str) -> list[str]:
    """What a module's imports and classes are called."""
    nodes = list(ast.walk(ast.parse(source)))
    imported = [alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
    classes = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    return [alias.asname or alias.name for alias in imported] + classes
