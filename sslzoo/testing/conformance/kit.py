"""The conformance kit: does a plugin keep what its contract promises?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import timm

from sslzoo.api import open_dataset
from sslzoo.config import UsageError, cache_folder
from sslzoo.data.pairs import PREFIX, paired_names
from sslzoo.data.source import NamedDataset
from sslzoo.data.splits import parse_name
from sslzoo.encoders import frames_of
from sslzoo.evaluation import Evaluation
from sslzoo.method import PretextMethod
from sslzoo.registry import datasets, evaluations, methods
from sslzoo.testing.conformance.children import Job, JobError
from sslzoo.testing.conformance.declaration import config_fault, info_fault
from sslzoo.testing.conformance.evaluations import EvaluationSubject
from sslzoo.testing.conformance.jobs import PARTS, examine
from sslzoo.testing.conformance.outcome import Conformance, check
from sslzoo.testing.conformance.promises import PROMISES
from sslzoo.testing.conformance.sources import DatasetSubject
from sslzoo.testing.conformance.subject import SAMPLES, Named, Subject

ANY_DATASET = "moving-shapes"
"""Has every modality, and labels."""
CLIPS = 3
"""Of a data set of clips only, again and again; no divisor of a batch, so that others come at the same places."""


def check_method(
    method: str | type[PretextMethod],
    *,
    dataset: str = "",
    encoder: str = "",
    only: Sequence[str] = (),
    **settings: Any,
) -> Conformance:
    """Hold a pretext method against every promise of the contract. Takes some ten seconds on two cores.

    Args:
        method: the name of an installed method, or its class, which other processes must be able to import.
        dataset: what to check it on; by default that of its recipe if it comes with a package and has all modalities of
            the method (of clips, its beginning, for they may have to be rendered), else ``moving-shapes``.
        encoder: by default ``test_vit`` if its recipe has a transformer, ``test_r3d`` if it has an encoder of clips,
            else ``test_resnet``.
        only: names of promises; what has nothing to do with them is not run.
        settings: fields of its configuration, over those of its recipe ``small`` if it has one.

    Raises:
        UsageError: for an unknown name, data set, encoder, promise or setting.
        BrokenPlugin: if the plugin cannot be loaded at all.
    """
    kind = methods.load(method) if isinstance(method, str) else method
    subject = Subject.of(
        kind,
        settings=_small(kind) | _known(kind, settings),
        dataset=dataset or _default_dataset(kind),
        encoder=encoder or _default_encoder(kind),
    )
    return _held("method", kind, subject, only)


def check_evaluation(
    evaluation: str | type[Evaluation],
    *,
    dataset: str = ANY_DATASET,
    encoder: str = "",
    only: Sequence[str] = (),
    **settings: Any,
) -> Conformance:
    """Hold an evaluation against every promise of its contract, with ``dataset``'s splits ``train`` and ``test``.

    ``encoder`` is by default ``test_r3d`` if it is for clips only, else ``test_resnet``; of sounds, if it needs one.

    Raises:
        UsageError: for an unknown name, data set, encoder, promise or setting.
        BrokenPlugin: if the plugin cannot be loaded at all.
    """
    kind = evaluations.load(evaluation) if isinstance(evaluation, str) else evaluation
    encoder = encoder or ("test_r3d" if kind.info.modalities == ("clip",) else "test_resnet")
    subject = EvaluationSubject.of(kind, settings=_known(kind, settings), dataset=dataset, encoder=encoder)
    return _held("evaluation", kind, subject, only)


def check_dataset(dataset: str | type[NamedDataset], *, only: Sequence[str] = ()) -> Conformance:
    """Hold a data set against every promise of its contract.

    Raises:
        UsageError: for an unknown name or promise.
        BrokenPlugin: if the plugin cannot be loaded at all.
    """
    kind = datasets.load(dataset) if isinstance(dataset, str) else dataset
    return _held("dataset", kind, DatasetSubject.of(kind), only)


def _held(contract: str, kind: Any, subject: Named, only: Sequence[str]) -> Conformance:
    """A plugin against the promises of a contract."""
    promises = PROMISES[contract]
    unknown = [name for name in only if name not in promises]
    if unknown:
        raise UsageError(f"no promise {unknown[0]!r}; there are: {', '.join(promises)}")
    wanted = only or tuple(promises)
    broken = {"literal-info": info_fault(kind)}
    if "config-flags" in promises:
        broken["config-flags"] = config_fault(kind)
    broken |= _examined(contract, subject, wanted)
    checks = (check(name, promise, broken.get(name)) for name, promise in promises.items() if name in wanted)
    return Conformance(kind.info.name, tuple(checks))


def _examined(contract: str, subject: Named, wanted: Sequence[str]) -> dict[str, str]:
    """How each promise that takes a run to check is broken, empty where it is kept."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="sslzoo-check-") as folder:
        apart = {"SSLZOO_CACHE": str(_cache(Path(folder, "cache"), subject))}
        for number, part in enumerate(PARTS[contract]):
            if not set(part.promises) & set(wanted):
                continue
            work = (contract, number, subject, Path(folder, str(number)), wanted)
            if part.starts_jobs:
                found |= examine(*work)
                continue
            try:
                found |= Job(examine, *work, environment=apart).result()
            except JobError as error:
                found[part.promises[0]] = str(error)
    return found


def _cache(folder: Path, subject: Named) -> Path:
    """An empty one, but for the clips to check on: where they must be rendered, that is done once and before."""
    folder.mkdir()
    given = getattr(subject, "dataset", "")
    for one in paired_names(given) or (given,):
        name = parse_name(one)[0] if one else ""
        if _only_clips(name):
            source = open_dataset(one)
            for index in range(min(SAMPLES, len(source))):
                source.read(index)
            made = cache_folder() / name
            if made.is_dir():
                Path(folder, name).symlink_to(made.resolve(), target_is_directory=True)
    return folder


def _only_clips(name: str) -> bool:
    """Whether a data set of this name comes with a package, and has nothing but clips."""
    return name in datasets.names() and datasets.load(name).info.modalities == ("clip",)


def _known(kind: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that the configuration has."""
    known = _fields(kind)
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        raise UsageError(f"{kind.info.name} has no setting {unknown[0]!r}; there are: {', '.join(known) or 'none'}")
    return settings


def small_config(kind: Any) -> Any:
    """The configuration a plugin is checked with if nothing is said: a method's recipe ``small`` over the defaults."""
    return kind.Config(**_small(kind))


def _small(kind: Any) -> dict[str, Any]:
    recipe = kind.recipes.get("small", {}) if issubclass(kind, PretextMethod) else {}
    return {name: value for name, value in recipe.items() if name in _fields(kind)}


def _fields(kind: Any) -> list[str]:
    return [field.name for field in fields(kind.Config)] if is_dataclass(kind.Config) else []


def _default_dataset(kind: type[PretextMethod]) -> str:
    wanted = kind.defaults.dataset
    names = paired_names(wanted) or (wanted,)
    bases = [parse_name(name)[0] for name in names]
    if not set(bases) <= set(datasets.names()):
        return ANY_DATASET
    offered = {modality for base in bases for modality in datasets.load(base).info.modalities}
    if not set(kind.info.modalities) <= offered:
        return ANY_DATASET
    few = [_few(name) for name in names]
    return few[0] if len(few) == 1 else PREFIX + "+".join(few)


def _few(name: str) -> str:
    base, split = parse_name(name)
    if split is None and _only_clips(base):
        return f"{base}[{datasets.load(base).info.splits[0]}[:{CLIPS}]]"
    return name


def _default_encoder(kind: type[PretextMethod]) -> str:
    if frames_of(kind.defaults.encoder, {}):
        return "test_r3d"
    cfg = timm.get_pretrained_cfg(kind.defaults.encoder)
    return "test_vit" if cfg is not None and cfg.fixed_input_size else "test_resnet"
