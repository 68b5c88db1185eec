"""The command line: one module per verb, imported when the verb is called.

Data goes to stdout, talk to stderr. Exit code 0 is success, 2 wrong usage, 1 any other failure, told in one line.
"""

from __future__ import annotations

import difflib
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from sslzoo import __version__
from sslzoo.config import UsageError, UserError

VERBS = {
    "list": ("listing", "Every installed method, evaluation or data set, and its package."),
    "info": ("info", "One method: paper, configuration, default recipe."),
    "pretrain": ("pretrain", "Pretrain a method, or go on where a run stopped."),
    "evaluate": ("evaluate", "What an encoder is good for, beside the untrained one."),
    "verify": ("verify", "Check an encoder's files, and its features through every door."),
    "push": ("push", "Publish a run on the Hugging Face Hub."),
    "pull": ("pull", "Fetch an encoder from the Hugging Face Hub."),
    "new": ("new", "A package with a pretext method of yours, that works at once."),
    "check": ("check", "Does a plugin keep what its contract promises?"),
    "demo": ("demo", "The main job on embedded data, without network, in five minutes."),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run one command, by default the one that this process is; returns the exit code."""
    words = list(sys.argv[1:] if args is None else args)
    # Torch reads it at its first allocation. Fresh memory in huge pages costs a quarter, and large views are all fresh.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        if not words:
            raise UsageError("no command given; see sslzoo --help")
        if words[0] in ("-h", "--help"):
            print(_help())
            return 0
        if words[0] == "--version":
            print(f"sslzoo {__version__}")
            return 0
        code = _verb(words[0], words[1:], own_process=args is None)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who reads it has enough, as head has; Python would try once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UsageError as error:
        print(f"sslzoo: {error}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"sslzoo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sslzoo: interrupted", file=sys.stderr)
        return 1


def _verb(verb: str, words: list[str], own_process: bool) -> int:
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        raise UsageError(f"no command {verb!r}; " + (f"did you mean {near[0]!r}?" if near else "see sslzoo --help"))
    if own_process:  # what is imported stays to the end: to look for garbage in it is a third of a start and an exit
        gc.disable()
    module = import_module(f"sslzoo.cli.{VERBS[verb][0]}")
    if own_process:
        gc.freeze()
        gc.enable()
    return module.main(verb, words)


def _help() -> str:
    lines = ["usage: sslzoo COMMAND ...", "", "Self-supervised pretext methods that publish plain timm encoders.", ""]
    lines += [f"  {verb:<10}{text}" for verb, (_, text) in VERBS.items()]
    return "\n".join([*lines, "", "sslzoo COMMAND --help tells the rest."])
