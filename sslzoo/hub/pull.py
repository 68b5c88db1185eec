"""A run from the Hub: what ``push`` sent, at the places it came from."""

from __future__ import annotations

import shutil
from glob import escape
from pathlib import Path, PurePosixPath, PureWindowsPath
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi

from sslzoo import __version__
from sslzoo.config import UserError
from sslzoo.hub.errors import hub_errors
from sslzoo.hub.layout import is_published, move_encoder_into_run
from sslzoo.hub.load import HUB, load_folder


def pull(model: str, out: Path | None = None, *, token: str | None = None, endpoint: str | None = None) -> Path:
    """Fetch ``org/name[@rev]`` into a new folder, which appears only once it is whole and verified; return it.

    Of a repository that ``push`` wrote, the folder is a run folder: it can be evaluated and pushed again. Of any other
    timm repository, it is an encoder folder. Files of no use to either are not fetched, pickles above all.

    Args:
        model: ``org/name``, ``org/name@rev``, or the same after ``hf-hub:``.
        out: ``name`` in the working directory if not given.

    Raises:
        UserError: if ``out`` exists, the Hub does not give the repository, a file of it would lie outside of ``out``,
            or its encoder is not what was saved.
    """
    repo_id, _, revision = model.removeprefix(HUB).partition("@")
    out = out or Path(repo_id.rpartition("/")[2])
    if out.exists():
        raise UserError(f"{out} exists already; choose another --out")
    api = HfApi(endpoint=endpoint, token=token, library_name="sslzoo", library_version=__version__)
    with hub_errors(f"pull {repo_id}"):
        info = api.model_info(repo_id, revision=revision or None)
        names = _wanted([file.rfilename for file in info.siblings or []], repo_id)
        out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", ignore_cleanup_errors=True) as temporary:
        staged = Path(temporary) / out.name
        with hub_errors(f"pull {repo_id}"):
            api.snapshot_download(repo_id, revision=info.sha, local_dir=staged, allow_patterns=[*map(escape, names)])
        shutil.rmtree(staged / ".cache", ignore_errors=True)  # the client's notes
        load_folder(move_encoder_into_run(staged) if "run.json" in names else staged)
        staged.rename(out)
    return out


def _wanted(names: list[str], repo_id: str) -> list[str]:
    """The files worth fetching.

    Raises:
        UserError: if any file, wanted or not, would lie outside of the folder: such a repository is an attack.
    """
    for name in names:
        if any(path.drive or path.root or ".." in path.parts for path in (PurePosixPath(name), PureWindowsPath(name))):
            raise UserError(f"{repo_id} holds a file {name!r}, which would lie outside of the folder; do not trust it")
    return [name for name in names if is_published(name)]
