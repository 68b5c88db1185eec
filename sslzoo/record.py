"""run.json: the whole recipe of a run, and the proof that a run goes on with the recipe it began with."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import uuid
from collections.abc import Iterable
from dataclasses import asdict, fields
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

from sslzoo import __version__
from sslzoo.checkpoint import atomic_write
from sslzoo.config import PretrainConfig, UserError
from sslzoo.data.pairs import PREFIX, paired_names
from sslzoo.data.splits import parse_name
from sslzoo.taxonomy import MethodInfo

FORMAT = 1
FREE = (
    *("workers", "cache", "profile", "save_every", "log_every"),
    *("tracker", "stop_on", "illustrate", "monitor_features", "monitor_knn"),
)
"""Settings that may change when a run goes on: they do not change what is computed."""
DATASETS = ("dataset", "validation", "monitor_knn")
"""Settings that name data, which may be a folder of this machine."""
PACKAGES = ("torch", "torchvision", "timm", "accelerate", "datasets", "huggingface-hub", "safetensors")


def public_name(dataset: str) -> str:
    """A data set's name without this machine's folders: ``folder:/home/me/flowers`` becomes ``folder:flowers``."""
    if (names := paired_names(dataset)) is not None:
        return PREFIX + "+".join(map(public_name, names))
    prefix, colon, path = dataset.partition(":")
    if colon and prefix == "folder":
        return f"folder:{_base(path)}"
    return _base(dataset) if dataset.startswith(("/", ".", "~")) or dataset.count("/") > 1 else dataset


def file_name(dataset: str) -> str:
    """A data set in the name of a file: without its split, and of letters, digits, ``-`` and ``.``."""
    name = public_name(parse_name(dataset)[0])
    return "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in name)


def _base(path: str) -> str:
    return path.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1]


def new_record(
    info: MethodInfo,
    method_config: Any,
    config: PretrainConfig,
    defaults: PretrainConfig,
    dataset: dict[str, Any],
    environment: dict[str, Any],
) -> dict[str, Any]:
    """The record of a run that begins now. ``environment`` is what was resolved for this machine."""
    pretrain = asdict(config) | {name: public_name(getattr(config, name)) for name in DATASETS}
    return _plain(
        {
            "format": FORMAT,
            "id": uuid.uuid4().hex,
            "method": asdict(info),
            "method_config": asdict(method_config),
            "pretrain": pretrain,
            "dataset": dataset,
            "environment": environment
            | {"platform": platform.platform(), "git_commit": git_commit()}
            | {"versions": versions() | plugin_version(info.name)},
            "command": command_line(info.name, method_config, config, defaults),
            "finished": False,
        }
    )


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of the run in ``folder``, or None where no run was begun.

    Raises:
        UserError: if the folder holds something else.
    """
    path = folder / "run.json"
    if not path.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder} holds files but no run.json, so it is not a run; choose another --out")
        return None
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); restore it, or choose another --out") from error
    if record.get("format") != FORMAT:
        raise UserError(f"{path} has format {record.get('format')}; this sslzoo reads {FORMAT}: choose another --out")
    return record


def restore_config(kind: type, recorded: dict[str, Any]) -> Any:
    """A configuration from JSON: lists were tuples. What this version does not know is left out."""
    known = {field.name for field in fields(kind)}
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items()}
    return kind(**{name: value for name, value in plain.items() if name in known})


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write run.json, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "run.json") as path:
        path.write_text(json.dumps(record, indent=2) + "\n")


def check_same_run(folder: Path, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with other settings than a run was begun with.

    Raises:
        UserError: naming each setting that differs.
    """
    changed = []
    for part in ("method", "method_config", "pretrain", "dataset"):
        old, new = begun[part], now[part]
        changed += [
            f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
            for key in sorted(old.keys() | new.keys())
            if key not in FREE and old.get(key) != new.get(key)
        ]
    if changed:
        raise UserError(
            f"{folder} was begun with other settings ({'; '.join(changed)}); undo that, or choose another --out"
        )


def command_line(method: str, method_config: Any, config: PretrainConfig, defaults: PretrainConfig) -> str:
    """The command that repeats a run: every flag that is not the method's default."""
    words = ["sslzoo", "pretrain", method]
    for name in DATASETS:
        value = public_name(getattr(config, name))
        words += flag_words(name, value) if value else []
    words += ["--encoder", config.encoder]
    spoken = {*DATASETS, "encoder"}
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in spoken and value != getattr(defaults, field.name):
            words += flag_words(field.name, value)
    for field in fields(method_config):
        value = getattr(method_config, field.name)
        if value != field.default:
            words += flag_words(field.name, value)
    return shlex.join(words)


def flag_words(name: str, value: Any) -> list[str]:
    """One setting as it is given on the command line."""
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    values: Iterable[Any] = value if isinstance(value, tuple) else [value]
    return [f"--{dashed}", *map(str, values)]


def versions() -> dict[str, str]:
    """Versions of the packages that decide numbers."""
    ours = {"sslzoo": __version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in PACKAGES}


def plugin_version(method: str) -> dict[str, str]:
    """Version of the package that declares a method; nothing for one that no package declares."""
    found = entry_points(group="sslzoo.methods", name=method)
    return {entry.dist.name: entry.dist.version for entry in found if entry.dist}


def git_commit() -> str | None:
    """The commit of the checkout that sslzoo runs from; None when it is installed."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if dirty else "")


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """As it will be read back: tuples as lists."""
    return json.loads(json.dumps(record))
