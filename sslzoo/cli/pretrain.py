"""``sslzoo pretrain METHOD``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import PartialState

from sslzoo.api import pretrain
from sslzoo.config import PretrainConfig, UsageError
from sslzoo.flags import parse, pretrain_flags
from sslzoo.recipes import default_out, recipe_of, recorded_settings
from sslzoo.registry import methods

_SHORT = {"--monitor": "--monitor-features"}
"""Other names of flags. Torchrun takes ``--monitor`` for the start of one of its own, wherever it stands."""


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
    words = [_SHORT.get(word, word) for word in words]
    method = methods.load(words[0])
    prog = f"sslzoo pretrain {words[0]}"

    def given(config: PretrainConfig, method_config: Any) -> Any:
        """What the words say, over these settings."""
        return parse(pretrain_flags(method, method_config, config), words[1:], prog, method.info.summary)

    parsed = given(*recipe_of(method))
    if parsed.recipe:
        parsed = given(*recipe_of(method, parsed.recipe))
    out = Path(parsed.out or default_out(method.info.name, parsed.pretrain))
    begun = recorded_settings(method, out)
    if begun is not None:  # flags that are not given are as the run was begun
        parsed = given(*begun)
    pretrain(words[0], out=out, config=parsed.pretrain, method_config=parsed.method)
    if PartialState().is_main_process:
        print(out)
    return 0
