"""Which files of a run are published, and where they lie in the repository."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from sslzoo.config import UserError
from sslzoo.hub.timm_config import CONFIG
from sslzoo.hub.weights import WEIGHTS

CARD = "README.md"
ENCODER_FILES = (CONFIG, WEIGHTS, CARD)
"""In the run's ``encoder/``, and at the root of the repository, where timm looks."""
SOUND_ENCODER = "sound_encoder"
"""Folder of the second encoder, which methods that see and hear have: at the same place in the run and in the
repository."""
SOUND_FILES = (CONFIG, WEIGHTS)
WEIGHTS_FILES = (WEIGHTS, f"{SOUND_ENCODER}/{WEIGHTS}")
"""Of each encoder, by their name in the repository."""
RUN_FILES = ("run.json", "log.jsonl")
EVAL_RESULTS = ".eval_results"
RUN_FOLDERS = {"evaluations": "*.json", "figures": "*.png", EVAL_RESULTS: "sslzoo-*.yaml"}
"""At the same place in the run and in the repository. ``state/`` stays at home, ``heads.safetensors`` unless it is
asked for, and other people's results in ``.eval_results/`` are theirs."""


def published_files(run: Path, *, unfinished: bool = False) -> dict[str, Path]:
    """Every file that is published, by its name in the repository.

    Raises:
        UserError: if the run is not finished (unless ``unfinished``, which asks for an encoder only), or a file lies
            outside of it, at the end of a link.
    """
    _check_finished(run, unfinished)
    files = {name: run / "encoder" / name for name in ENCODER_FILES}
    if missing := [name for name, path in files.items() if not path.is_file()]:
        raise UserError(f"{run}/encoder lacks {', '.join(missing)}; save the encoder and its card again")
    if (run / SOUND_ENCODER).is_dir():
        sounds = {f"{SOUND_ENCODER}/{name}": run / SOUND_ENCODER / name for name in SOUND_FILES}
        if missing := [name for name, path in sounds.items() if not path.is_file()]:
            raise UserError(f"{run} lacks {', '.join(missing)}; put back the whole folder, or remove it")
        files |= sounds
    files |= {name: run / name for name in RUN_FILES if (run / name).is_file()}
    for folder, pattern in RUN_FOLDERS.items():
        files |= {f"{folder}/{path.name}": path for path in sorted((run / folder).glob(pattern))}
    check_inside(run, files.values())
    return files


def check_inside(run: Path, paths: Iterable[Path]) -> None:
    """Refuse what is no file of the run itself.

    Raises:
        UserError: naming it.
    """
    for path in paths:
        if not path.resolve().is_relative_to(run.resolve()):
            raise UserError(
                f"{path} is a link out of the run, to {path.resolve()}; put the file itself there, or remove the link"
            )
        if not path.is_file():
            raise UserError(f"{path} is not a regular file, so it cannot be published; remove it")


def is_published(name: str) -> bool:
    """Whether a file of a repository is one that ``published_files`` may name."""
    folder, slash, rest = name.partition("/")
    if not slash:
        return name in ENCODER_FILES + RUN_FILES
    if folder == SOUND_ENCODER:
        return rest in SOUND_FILES
    return folder in RUN_FOLDERS and "/" not in rest and fnmatchcase(rest, RUN_FOLDERS[folder])


def encoder_folder(folder: Path) -> Path:
    """Where timm's files lie: in ``encoder/`` of a run; in a repository's layout, in the folder itself."""
    return folder / "encoder" if (folder / "encoder").is_dir() else folder


def move_encoder_into_run(folder: Path) -> Path:
    """Turn a repository's layout into a run's: what timm reads goes to ``encoder/``, which is returned."""
    encoder = folder / "encoder"
    encoder.mkdir()
    for name in ENCODER_FILES:
        if (folder / name).is_file():
            (folder / name).rename(encoder / name)
    return encoder


def _check_finished(run: Path, unfinished: bool) -> None:
    try:
        finished = json.loads((run / "run.json").read_text())["finished"]
    except FileNotFoundError as error:
        raise UserError(
            f"{run} is not a run: it has no run.json; name a folder that `sslzoo pretrain` wrote"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run / 'run.json'} cannot be read ({error!r}); restore it") from error
    if not (run / "encoder").is_dir():
        raise UserError(f"the run {run} has no encoder yet; go on with the same `sslzoo pretrain`, then push")
    if not finished and not unfinished:
        raise UserError(
            f"the run {run} has not finished; go on with the same `sslzoo pretrain`, or push it with --unfinished"
        )
