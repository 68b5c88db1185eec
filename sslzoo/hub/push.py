"""A run to the Hub: encoder (two, if it has one of sounds), card and record, in one commit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi

from sslzoo import __version__
from sslzoo.config import UsageError, UserError
from sslzoo.hub.errors import hub_errors
from sslzoo.hub.known import is_known, note_of
from sslzoo.hub.layout import WEIGHTS_FILES, check_inside, is_published, published_files
from sslzoo.hub.leaks import refuse_leaks
from sslzoo.hub.load import examine
from sslzoo.hub.timm_config import is_ours, read_config
from sslzoo.hub.weights import WEIGHTS, read_shapes, sha256

HEADS = "heads.safetensors"
"""The method's own parts, which only who pretrains further has a use for."""
Gated = Literal["auto", "manual"]


def push(
    run: Path,
    repo_id: str,
    *,
    private: bool = False,
    gated: Gated | None = None,
    revision: str | None = None,
    tag: str | None = None,
    pull_request: bool = False,
    heads: bool = False,
    unfinished: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
    message: str | None = None,
) -> str:
    """Publish a finished run in one commit, and return the address of that commit.

    Files that the repository already has are not sent again; evaluations, figures and heads of an earlier push that
    this one does not hold are taken away. If nothing differs, there is no new commit. The card (``encoder/README.md``)
    must have been written. Nothing is sent before everything was looked at, and what others commit meanwhile is not
    overwritten: then nothing is changed, and the error says so.

    Args:
        run: a finished run folder.
        repo_id: ``org/name``; created if missing.
        private: create the repository as private; refused if it exists and is public.
        gated: have readers ask for access, which is given at once (``auto``) or by hand (``manual``).
        revision: branch to commit to; created if missing.
        tag: a name for the commit.
        pull_request: propose the commit, to a repository that exists, and return the address of the proposal.
        heads: also send ``heads.safetensors``.
        unfinished: also a run that has not finished, if it has an encoder. What does not verify is never sent: no
            reader could load it.
        token: the client's own login if not given.
        endpoint: of another Hub than the client's.
        message: of the commit.

    Raises:
        UsageError: if a pull request is asked to be more than that.
        UserError: if the run is not finished, an encoder is not what was saved, a file holds a secret or a folder of
            this machine, or the Hub refuses.
    """
    if pull_request and (private or gated or tag):
        raise UsageError("a pull request changes nothing yet: it can be neither private nor gated nor tagged")
    additions = _additions(run, heads=heads, unfinished=unfinished)
    api = HfApi(endpoint=endpoint, token=token, library_name="sslzoo", library_version=__version__)
    with hub_errors(f"push {run} to {repo_id}"):
        if not pull_request:
            repo_id = _make_room(api, repo_id, private=private, gated=gated, revision=revision)
        before = api.model_info(repo_id, revision=revision)
        if tag:
            _check_free(api, repo_id, tag)
        names = {addition.path_in_repo for addition in additions}
        there = {file.rfilename for file in before.siblings or []}
        gone = sorted(name for name in there - names if is_published(name) or name == HEADS)
        commit: CommitInfo = api.create_commit(
            repo_id,
            [*additions, *map(CommitOperationDelete, gone)],
            commit_message=message or f"Publish {run.resolve().name}",
            revision=revision,
            parent_commit=before.sha,
            create_pr=pull_request,
        )
        if tag:
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
    return commit.pr_url or commit.commit_url


def _additions(run: Path, *, heads: bool, unfinished: bool) -> list[CommitOperationAdd]:
    """Every file to publish, after all that can be checked without the Hub."""
    files = published_files(run, unfinished=unfinished)
    if heads:
        if not (run / HEADS).is_file():
            raise UserError(f"{run} has no {HEADS}; leave out --heads")
        check_inside(run, [run / HEADS])
        read_shapes(run / HEADS)
        files[HEADS] = run / HEADS
    refuse_leaks(files, [run])
    encoders = [_checked_weights(run, name, files.pop(name)) for name in WEIGHTS_FILES if name in files]
    return [*encoders, *(CommitOperationAdd(name, path) for name, path in files.items())]


def _checked_weights(run: Path, name: str, path: Path) -> CommitOperationAdd:
    """The weights of an encoder, to be sent under ``name``, after the encoder was checked."""
    digest = _check_encoder(run, path.parent)
    weights = CommitOperationAdd(name, path)
    weights.upload_info.sha256 = bytes.fromhex(digest)  # or the client would compute it once more
    return weights


def _check_encoder(run: Path, folder: Path) -> str:
    """Hold an encoder against its checksum, which is returned, against its fingerprint, and against the run."""
    known = is_known(note_of(folder))
    if not known:
        examine(folder)
    config = read_config(folder)
    if not is_ours(config):
        raise UserError(f"{folder} has no checksum and no fingerprint to verify it by; save it with sslzoo")
    digest: str = config["sslzoo"]["weights_sha256"]
    if known and sha256(folder / WEIGHTS) != digest:
        raise UserError(f"{folder}/{WEIGHTS} was damaged since it was verified; save the encoder again")
    record = json.loads((run / "run.json").read_text())
    if config["sslzoo"].get("run", record.get("id")) != record.get("id"):
        raise UserError(f"{folder} is of another run than run.json; put back the one that belongs there")
    return digest


def _make_room(api: HfApi, repo_id: str, *, private: bool, gated: Gated | None, revision: str | None) -> str:
    """Create what is missing of repository and branch; return the repository's full name."""
    repo_id = api.create_repo(repo_id, private=private or None, exist_ok=True).repo_id
    if private and not api.model_info(repo_id).private:
        raise UserError(f"{repo_id} exists and is public; make it private in its settings, then push again")
    if gated:  # before there is anything in it to read
        api.update_repo_settings(repo_id, gated=gated)
    if revision and revision != "main" and not revision.startswith("refs/"):
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    return repo_id


def _check_free(api: HfApi, repo_id: str, tag: str) -> None:
    """Before anything is sent, so that a push with a tag is done whole or not at all."""
    if any(known.name == tag for known in api.list_repo_refs(repo_id).tags):
        raise UserError(f"{repo_id} has a tag {tag} already; choose another, or delete that one")
