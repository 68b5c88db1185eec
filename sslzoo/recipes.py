"""What a method is pretrained with: its recipes, a run's own settings, and where the run goes."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from sslzoo.config import PretrainConfig, UsageError
from sslzoo.data.source import Source
from sslzoo.data.stream import Stream
from sslzoo.machine import Resolved, join_processes, resolve
from sslzoo.method import PretextMethod
from sslzoo.record import check_same_run, file_name, new_record, read_record, restore_config


def default_out(method: str, config: PretrainConfig) -> Path:
    """``runs/<method>_<encoder>_<dataset>``, the name a released encoder would have."""
    return Path("runs") / f"{method}_{config.encoder}_{file_name(config.dataset)}"


def recipe_of(method: type[PretextMethod], name: str = "") -> tuple[PretrainConfig, Any]:
    """One of a method's recipes as both configurations; the paper's if no name is given.

    Raises:
        UsageError: if it has none of that name.
    """
    if name and name not in method.recipes:
        there = ", ".join(method.recipes) or "none besides the paper's"
        raise UsageError(f"{method.info.name} has no recipe {name!r}; there are: {there}")
    shared, own = divide(method, dict(method.recipes[name]) if name else {})
    return replace(method.defaults, **shared), method.Config(**own)


def settle(
    method_type: type[PretextMethod], method_config: Any, config: PretrainConfig, source: Source | Stream, out: Path
) -> tuple[Resolved, dict[str, Any]]:
    """What the machine gives the run in ``out``, and its record: that of the run begun there, or a new one."""
    begun = read_record(out)
    state = join_processes()
    resolved = resolve(config, state.device, state.num_processes)
    if begun:  # a run keeps the arithmetic it began with
        kept = {name: begun["environment"][name] for name in ("precision", "threads")}
        resolved = replace(resolved, **kept)
    samples = (config.samples_per_epoch or source.length) if isinstance(source, Stream) else len(source)
    dataset = {"name": source.name, "fingerprint": source.fingerprint, "license": source.license, "samples": samples}
    record = new_record(method_type.info, method_config, config, method_type.defaults, dataset, asdict(resolved))
    if begun:
        check_same_run(out, begun, record)
        record = begun
    return resolved, record


def recorded_settings(method: type[PretextMethod], out: Path) -> tuple[PretrainConfig, Any] | None:
    """What a run in ``out`` was begun with, to go on without saying it all again; None where there is no run."""
    record = read_record(out)
    if record is None or record["method"]["name"] != method.info.name:
        return None
    return restore_config(PretrainConfig, record["pretrain"]), restore_config(method.Config, record["method_config"])


def divide(method: type[PretextMethod], settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of every method, and those of this one.

    Raises:
        UsageError: for one that is neither.
    """
    shared = {field.name for field in fields(PretrainConfig)}
    own = {field.name for field in fields(method.Config)}
    unknown = sorted(settings.keys() - shared - own)
    if unknown:
        raise UsageError(f"{method.info.name} has no setting {unknown[0]!r}; its own are: {field_names(method.Config)}")
    return (
        {name: value for name, value in settings.items() if name in shared},
        {name: value for name, value in settings.items() if name in own},
    )


def field_names(config: type) -> str:
    """The settings of a configuration, for messages."""
    return ", ".join(field.name for field in fields(config)) or "none"
