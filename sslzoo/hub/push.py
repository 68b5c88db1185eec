"""A run to the Hub: encoder, card and record, in one commit."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from sslzoo import __version__
from sslzoo.hub.errors import hub_errors
from sslzoo.hub.layout import is_published, published_files
from sslzoo.hub.load import load_folder


def push(
    run: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    message: str | None = None,
) -> str:
    """Publish a finished run in one commit, and return the address of that commit.

    Files that the repository already has are not sent again; evaluations and figures of an earlier push that the run
    no longer has are taken away. The card (``encoder/README.md``) must have been written.

    Args:
        run: a finished run folder.
        repo_id: ``org/name``; created if missing.
        private: whether a new repository is private.
        revision: branch to commit to; created if missing.
        token: the client's own login if not given.
        endpoint: of another Hub than the client's.
        message: of the commit.

    Raises:
        UserError: if the run is not finished, its encoder is not what was saved, or the Hub refuses.
    """
    files = published_files(run)
    load_folder(run / "encoder")  # the checksum and the fingerprint, before anything is sent
    api = HfApi(endpoint=endpoint, token=token, library_name="sslzoo", library_version=__version__)
    with hub_errors(f"push {run} to {repo_id}"):
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision and revision != "main" and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        there = api.list_repo_files(repo_id, revision=revision)
        commit = api.create_commit(
            repo_id,
            [
                *(CommitOperationAdd(name, path) for name, path in files.items()),
                *(CommitOperationDelete(name) for name in there if is_published(name) and name not in files),
            ],
            commit_message=message or f"Publish {run.name}",
            revision=revision,
        )
    return commit.commit_url
