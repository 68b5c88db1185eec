"""A run from the Hub: what ``push`` sent, at the places it came from."""

from __future__ import annotations

import os
import re
import shutil
from glob import escape
from pathlib import Path, PurePosixPath, PureWindowsPath
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, constants, try_to_load_from_cache

from sslzoo import __version__
from sslzoo.config import UserError
from sslzoo.hub.errors import hub_errors
from sslzoo.hub.layout import SOUND_ENCODER, WEIGHTS_FILES, is_published, move_encoder_into_run
from sslzoo.hub.load import HUB, examine, is_damaged
from sslzoo.hub.push import HEADS
from sslzoo.hub.weights import read_shapes

MOST_FILES = 1000
_RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?|.*[. ]|.*[\x00-\x1f<>:\"|?*\x7f].*", re.DOTALL)
"""Names that Windows does not take, or takes for something else."""


def pull(model: str, out: Path | None = None, *, token: str | None = None, endpoint: str | None = None) -> Path:
    """Fetch ``org/name[@rev]`` into a new folder, which appears only once it is whole and verified; return it.

    Of a repository that ``push`` wrote, the folder is a run folder: it can be evaluated and pushed again. Of any other
    timm repository, it is an encoder folder. Files of no use to either are not fetched, pickles above all. With the
    client offline (HF_HUB_OFFLINE), the folder is made of what its cache holds.

    Args:
        model: ``org/name``, ``org/name@rev`` (a branch, tag or commit), or the same after ``hf-hub:``.
        out: ``name`` in the working directory if not given.

    Raises:
        UserError: if ``out`` exists, the Hub does not give the repository, a file of it would lie outside of ``out``
            or under a name that not every system can keep, or an encoder of it is not what was saved.
    """
    repo_id, _, revision = model.removeprefix(HUB).partition("@")
    out = out or Path(repo_id.rpartition("/")[2])
    if os.path.lexists(out):
        raise UserError(f"{out} exists already; choose another --out")
    api = HfApi(endpoint=endpoint, token=token, library_name="sslzoo", library_version=__version__)
    with hub_errors(f"pull {repo_id}"):
        fetch = _from_cache if constants.HF_HUB_OFFLINE else _from_hub
        out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", ignore_cleanup_errors=True) as temporary:
        staged = Path(temporary) / out.name
        with hub_errors(f"pull {repo_id}"):
            fetch(api, repo_id, revision or None, staged)
        examine(move_encoder_into_run(staged) if (staged / "run.json").is_file() else staged)
        if (staged / SOUND_ENCODER).is_dir():
            examine(staged / SOUND_ENCODER)
        if (staged / HEADS).is_file():
            read_shapes(staged / HEADS)
        staged.rename(out)
    return out


def _from_hub(api: HfApi, repo_id: str, revision: str | None, staged: Path) -> None:
    info = api.model_info(repo_id, revision=revision)
    names = _wanted([file.rfilename for file in info.siblings or []], repo_id)
    api.snapshot_download(repo_id, revision=info.sha, local_dir=staged, allow_patterns=[*map(escape, names)])
    for name in WEIGHTS_FILES:  # the client takes what is in its cache, and checks nothing of it
        cached = try_to_load_from_cache(repo_id, name, revision=info.sha)
        if isinstance(cached, str) and is_damaged((staged / name).parent):
            api.hf_hub_download(repo_id, name, revision=info.sha, local_dir=staged, force_download=True)
    shutil.rmtree(staged / ".cache", ignore_errors=True)  # the client's notes


def _from_cache(api: HfApi, repo_id: str, revision: str | None, staged: Path) -> None:
    cached = Path(api.snapshot_download(repo_id, revision=revision))
    names = [path.relative_to(cached).as_posix() for path in cached.rglob("*") if path.is_file()]
    for name in _wanted(names, repo_id):
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(cached / name, staged / name)


def _wanted(names: list[str], repo_id: str) -> list[str]:
    """The files worth fetching.

    Raises:
        UserError: if any file, wanted or not, would lie outside of the folder, or a wanted one cannot be kept under
            its name everywhere: such a repository is an attack.
    """
    for name in names:
        if any(path.drive or path.root or ".." in path.parts for path in (PurePosixPath(name), PureWindowsPath(name))):
            raise UserError(f"{repo_id} holds a file {name!r}, which would lie outside of the folder; do not trust it")
    wanted = [name for name in names if is_published(name) or name == HEADS]
    if len(wanted) > MOST_FILES:
        raise UserError(f"{repo_id} holds {len(wanted)} files, where a run has some dozens; do not trust it")
    seen: dict[str, str] = {}
    for name in wanted:
        if len(name.encode()) > 255 or any(_RESERVED.fullmatch(part) for part in name.split("/")):
            raise UserError(f"{repo_id} holds a file {name!r}, a name that not every system takes; do not trust it")
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise UserError(f"{repo_id} holds {other!r} and {name!r}, one file to many systems; do not trust it")
    return wanted
