"""Encoders in: from a run, a folder, the Hub, or untrained by name. What loads is what was saved, or it is an error."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import timm
from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from torch import nn

from sslzoo import __version__
from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder, usual_size
from sslzoo.hub.bounds import on_meta
from sslzoo.hub.errors import hub_errors
from sslzoo.hub.fingerprint import check
from sslzoo.hub.known import is_known, note_of, remember
from sslzoo.hub.layout import SOUND_ENCODER
from sslzoo.hub.timm_config import CONFIG, build_encoder, is_ours, read_config
from sslzoo.hub.weights import (
    WEIGHTS,
    check_fit,
    load_strictly,
    read_shapes,
    read_weights,
    sha256,
    shapes_of,
    weights_file,
)

HUB, RANDOM = "hf-hub:", "random:"
T = TypeVar("T")


@dataclass(frozen=True)
class Resolved:
    """What a MODEL on the command line stands for."""

    kind: Literal["run", "encoder", "hub", "random"]
    name: str
    """``org/name`` on the Hub, ``ARCH`` or ``ARCH@SIZE`` if untrained, else the path."""
    folder: Path | None = None
    """Where config.json and model.safetensors are; None if untrained."""
    revision: str | None = None
    """The commit on the Hub."""
    subfolder: str = ""
    """Of the repository on the Hub, if it is not at the root."""


def resolve(model: str | Path, *, token: str | None = None, endpoint: str | None = None) -> Resolved:
    """Find what ``model`` names: a run folder, an encoder folder, ``hf-hub:org/name[@rev]`` or ``random:ARCH[@SIZE]``.

    What is on the Hub is downloaded into the client's cache, or taken from there. The second encoder of a method that
    sees and hears is in a folder of its own, there as in a run: ``hf-hub:org/name/sound_encoder[@rev]``.

    Raises:
        UsageError: if it is none of these.
        UserError: if a run has no encoder yet, or the Hub does not give it.
    """
    text = str(model)
    if text.startswith(RANDOM):
        return Resolved("random", text.removeprefix(RANDOM))
    if text.startswith(HUB):
        return _from_hub(text, token, endpoint)
    path = Path(model).expanduser()
    if (path / "encoder").is_dir() and not (path / CONFIG).is_file():
        return Resolved("run", text, path / "encoder")
    if (path / CONFIG).is_file():
        return Resolved("encoder", text, path)
    if (path / "run.json").is_file():
        raise UserError(
            f"the run {path} has no encoder yet: it has not finished; go on with the same `sslzoo pretrain`"
        )
    raise UsageError(_unknown(text, path))


def sound_encoder_of(model: str | Path) -> str | None:
    """What names the second encoder of a run or repository, that of sounds; None if it has none, or is itself one.

    Raises:
        UserError: if the Hub does not tell.
    """
    text = str(model)
    if not text.startswith(HUB):
        folder = Path(model).expanduser() / SOUND_ENCODER
        return str(folder) if folder.is_dir() else None
    repo_id, subfolder, revision = _on_hub(text)
    if subfolder:
        return None
    file = f"{SOUND_ENCODER}/{CONFIG}"
    with hub_errors(f"look for {file} of {text}"):
        try:
            hf_hub_download(repo_id, file, revision=revision, **_client())
        except RemoteEntryNotFoundError:
            return None
        except LocalEntryNotFoundError:
            if try_to_load_from_cache(repo_id, file, revision=revision) is _CACHED_NO_EXIST:
                return None
            raise
    return f"{HUB}{repo_id}/{SOUND_ENCODER}" + (f"@{revision}" if revision else "")


def load_encoder(model: str | Path, *, token: str | None = None, endpoint: str | None = None) -> nn.Module:
    """The encoder ``model`` names, on the CPU and in ``eval()``; images (B, C, H, W), or clips, to features (B, D).

    It carries its ``spec``. Nothing is executed from what was downloaded, and nothing unpickled. Weights that sslzoo
    published must have the checksum and the forward fingerprint of their config.json; of other timm repositories, the
    classifier is left away and everything else must fit.

    Args:
        model: a run folder, an encoder folder, ``hf-hub:org/name[@rev]``, or ``random:ARCH[@SIZE]`` for an untrained
            encoder that is the same every time. The encoder of sounds of a method that sees and hears is
            ``RUN/sound_encoder`` or ``hf-hub:org/name/sound_encoder[@rev]``: log-mel images (B, 1, bands, ticks), as
            ``sslzoo.views.spectrograms.spectrogram`` makes them, to features.
        token: for a private repository; the client's own login if not given.
        endpoint: of another Hub than the client's.

    Raises:
        UsageError: if ``model`` is none of these.
        UserError: if what it names cannot be had, or is not what was saved.
    """
    found = resolve(model, token=token, endpoint=endpoint)
    return load_folder(found.folder) if found.folder else _untrained(found.name)


def load_folder(folder: Path) -> nn.Module:
    """The encoder in a folder with config.json and model.safetensors, examined unless it is known to be right.

    Raises:
        UserError: if it is not what was saved, part by part.
    """
    config, path = read_config(folder), weights_file(folder)
    if is_known(note_of(folder)):
        return build_and_fill(config, path, known=True)
    return examine(folder, in_place=False)


def examine(folder: Path, *, in_place: bool = True) -> nn.Module:
    """The encoder in a folder, held against checksum, keys and fingerprint, whatever is known of it.

    With ``in_place`` its tensors stay in the file, which is for callers that do nothing else with it.

    Raises:
        UserError: as ``load_folder`` does.
    """
    config, path = read_config(folder), weights_file(folder)
    note = note_of(folder)
    with _summing(config, path):
        encoder = build_and_fill(config, path, in_place=in_place)
        if is_ours(config):
            try:
                check(encoder, config["sslzoo"]["fingerprint"])
            except UserError as error:
                raise UserError(f"{folder}: {error}") from error
    remember(note)
    return encoder


@contextmanager
def _summing(config: dict[str, Any], path: Path) -> Iterator[None]:
    """Compute the checksum beside what is done inside, on another core; its complaint comes first."""
    with ThreadPoolExecutor(1) as pool:
        summed = pool.submit(check_sum, config, path)
        try:
            yield
        finally:
            summed.result()


def build_and_fill(config: dict[str, Any], path: Path, *, known: bool = False, in_place: bool = False) -> nn.Module:
    """The encoder of a checked config, with exactly the tensors of the file ``path``: copied, or ``in_place``.

    Unless they are known to fit, the encoder is compared with the header of the file before either takes memory.

    Raises:
        UserError: if timm cannot build it, or it is not what the file is for.
    """
    where, complaint = path.parent / CONFIG, f"{path} does not fit its {CONFIG}; ask its author"
    if not known:
        shapes = read_shapes(path)
        with _named(where), on_meta(shapes):
            blueprint = build_encoder(config)
        check_fit(shapes_of(blueprint.state_dict()), _without_classifier(shapes, config, blueprint), complaint)
    with _named(where):
        encoder = build_encoder(config)
    load_strictly(encoder, _without_classifier(read_weights(path), config, encoder), complaint, in_place=in_place)
    return encoder


def check_sum(config: dict[str, Any], path: Path) -> None:
    """Hold a file of weights against the checksum of a config of ours.

    Raises:
        UserError: if it is another.
    """
    if not is_ours(config):
        return
    recorded, found = config["sslzoo"]["weights_sha256"], sha256(path)
    if found != recorded:
        raise UserError(
            f"{path} has sha256 {found[:12]}… where its {CONFIG} says {recorded[:12]}…: it was damaged or exchanged; "
            "fetch or save it again"
        )


def _without_classifier(tensors: dict[str, T], config: dict[str, Any], encoder: nn.Module) -> dict[str, T]:
    """Tensors, or anything by their names, but for those of a classifier if the config is not ours."""
    if is_ours(config):
        return tensors
    names = config["pretrained_cfg"].get("classifier") or encoder.pretrained_cfg["classifier"] or ()  # type: ignore[index]
    classifiers = (names,) if isinstance(names, str) else names
    dropped = {f"{name}.{part}" for name in classifiers for part in ("weight", "bias")}
    return {name: tensor for name, tensor in tensors.items() if name not in dropped}


@contextmanager
def _named(where: Path) -> Iterator[None]:
    """Say in what goes wrong inside which file it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _from_hub(model: str, token: str | None, endpoint: str | None) -> Resolved:
    repo_id, subfolder, revision = _on_hub(model)
    client = _client(token, endpoint) | {"subfolder": subfolder}
    with hub_errors(f"read {CONFIG} of {model}"):
        folder = Path(hf_hub_download(repo_id, CONFIG, revision=revision, **client)).parent
    commit = (folder.parent if subfolder else folder).name
    with hub_errors(f"read {WEIGHTS} of {model}"):  # of the same commit, even if someone pushes right now
        hf_hub_download(repo_id, WEIGHTS, revision=commit, **client)
    if not is_known(note_of(folder)) and is_damaged(folder):
        with hub_errors(f"read {WEIGHTS} of {model} again, since the copy in the cache is damaged"):
            hf_hub_download(repo_id, WEIGHTS, revision=commit, force_download=True, **client)
    return Resolved("hub", repo_id, folder, commit, subfolder)


def _on_hub(model: str) -> tuple[str, str, str | None]:
    """``hf-hub:org/name/sound_encoder@rev`` -> ``org/name``, ``sound_encoder`` and ``rev``."""
    path, _, revision = model.removeprefix(HUB).partition("@")
    repo_id, _, last = path.rpartition("/")
    repo_id, subfolder = (repo_id, last) if "/" in repo_id and last == SOUND_ENCODER else (path, "")
    return repo_id, subfolder, revision or None


def _client(token: str | None = None, endpoint: str | None = None) -> dict[str, Any]:
    return {"token": token, "endpoint": endpoint, "library_name": "sslzoo", "library_version": __version__}


def is_damaged(folder: Path) -> bool:
    """Whether its weights are certainly not what the config.json beside them is about."""
    try:
        config = read_config(folder)
    except UserError:
        return False
    try:
        check_sum(config, weights_file(folder))
    except UserError:
        return True
    return False


def _untrained(name: str) -> nn.Module:
    architecture, at, size = name.partition("@")
    if at and not size.isdecimal():
        raise UsageError(f"{RANDOM}{name}: {size!r} is not an image size; write it as {RANDOM}resnet18@96")
    return create_encoder(architecture, int(size) if at else usual_size(architecture), seed=0).eval()


def _unknown(text: str, path: Path) -> str:
    if path.is_file():
        return f"{text} is a file; name the folder with {CONFIG} and {WEIGHTS}"
    if path.is_dir():
        return f"{text} is neither a run nor an encoder folder: it has no {CONFIG} and no encoder/"
    if timm.is_model(text):
        return f"there is no folder {text}; for an untrained encoder write {RANDOM}{text}"
    if text.count("/") == 1 and not text.startswith(("/", ".", "~")):
        return f"there is no folder {text}; for a repository on the Hub write {HUB}{text}"
    return f"there is no folder {text}; a model is a run or encoder folder, {HUB}org/name or {RANDOM}ARCH"
