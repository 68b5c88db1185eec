"""``sslzoo pretrain METHOD``."""

from __future__ import annotations

from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import Any

import tyro
from accelerate import PartialState

from sslzoo.api import default_out, pretrain, recorded_settings
from sslzoo.cli.parse import parse
from sslzoo.config import PretrainConfig, UsageError
from sslzoo.method import PretextMethod
from sslzoo.registry import methods


def main(verb: str, words: list[str]) -> int:
    """Pretrain, and print the run's folder."""
    if not words or words[0].startswith("-"):
        names = ", ".join(methods.names())
        usage = (
            f"usage: sslzoo pretrain METHOD [flags]; methods: {names}; sslzoo pretrain METHOD --help shows its flags"
        )
        if words and words[0] in ("-h", "--help"):
            print(usage)
            return 0
        raise UsageError(usage)
    method = methods.load(words[0])
    prog = f"sslzoo pretrain {words[0]}"
    arguments = _arguments(method, method.Config(), method.defaults)
    parsed: Any = parse(arguments, words[1:], prog, method.info.summary)
    out = Path(parsed.out or default_out(method.info.name, parsed.pretrain))
    begun = recorded_settings(method, out)
    if begun is not None:  # flags that are not given are as the run was begun
        parsed = parse(_arguments(method, *begun), words[1:], prog, method.info.summary)
    pretrain(words[0], out=out, config=parsed.pretrain, method_config=parsed.method)
    if PartialState().is_main_process:
        print(out)
    return 0


def _arguments(method: type[PretextMethod], method_config: Any, config: PretrainConfig) -> type:
    """One flat set of flags: where to, the method's own, and the recipe."""
    clash = {f.name for f in fields(method.Config)} & ({f.name for f in fields(PretrainConfig)} | {"out"})
    if clash:
        raise UsageError(
            f"{method.info.name}'s configuration repeats flags of every method: {', '.join(sorted(clash))}"
        )
    flat = tyro.conf.OmitArgPrefixes
    return make_dataclass(
        "Arguments",
        [
            ("out", str, field(default="", metadata={})),
            ("method", flat[method.Config], field(default=method_config)),
            ("pretrain", flat[PretrainConfig], field(default=config)),
        ],
        frozen=True,
        namespace={"__doc__": method.info.summary},
    )
