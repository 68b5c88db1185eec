"""The same verbs as the command line, for Python. ``import sslzoo`` offers them lazily, with those of ``hub``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from sslzoo.agreement import TOLERANCE, Agreement
from sslzoo.card import draw_layers, write_card
from sslzoo.config import PretrainConfig, UsageError, UserError
from sslzoo.data.open import open_source, open_stream, split_names
from sslzoo.data.pairs import Pairs, paired_names
from sslzoo.data.source import Source
from sslzoo.data.splits import default_test_split, of_different_lists, parse_name
from sslzoo.data.stream import Stream
from sslzoo.encoders import spec_of
from sslzoo.handover import load_heads
from sslzoo.hub.load import HUB, RANDOM, load_encoder, sound_encoder_of
from sslzoo.hub.push import HEADS, Gated
from sslzoo.hub.push import push as push_run
from sslzoo.method import PretextMethod
from sslzoo.pretraining import pretrain as run_pretraining
from sslzoo.recipes import default_out, divide, field_names, recipe_of
from sslzoo.record import public_name, read_record, restore_config
from sslzoo.registry import datasets, evaluations, method_info, methods
from sslzoo.report import USUAL_DATASET, Report, read_report, save_figures, save_report
from sslzoo.report import evaluate as run_evaluation
from sslzoo.taxonomy import MethodInfo

__all__ = [
    "evaluate",
    "evaluate_again",
    "list_methods",
    "open_dataset",
    "pretrain",
    "push",
]


def list_methods() -> list[MethodInfo]:
    """Every installed method that says what it is, without importing any."""
    found = (method_info(listed) for listed in methods.listed())
    return [info for info in found if info is not None]


def open_dataset(name: str, split: str = "", *, image_column: str = "", label_column: str = "") -> Source:
    """A split of a named, local or Hub data set. ``D[split]`` in the name wins over ``split``.

    ``pairs:A+B`` has samples of two data sets side by side, for pretraining.

    Raises:
        UsageError: naming what exists, for an unknown data set, split or column.
    """
    if (names := paired_names(name)) is not None:
        one, other = (open_dataset(part, image_column=image_column, label_column=label_column) for part in names)
        return Pairs(one, other)
    base, named_split = parse_name(name)
    wanted = named_split or split
    if base in datasets.names():
        dataset = datasets.load(base)()
        return dataset.open(wanted or dataset.info.splits[0])
    _refuse_misspelt(base)
    return open_source(f"{base}[{wanted}]" if wanted else base, image_column=image_column, label_column=label_column)


def pretrain(
    method: str,
    *,
    out: Path | str | None = None,
    recipe: str = "",
    config: PretrainConfig | None = None,
    method_config: Any = None,
    **settings: Any,
) -> Path:
    """Pretrain ``method``, or go on where the run in ``out`` stopped; returns the run's folder.

    ``settings`` are fields of ``PretrainConfig`` or of the method's own configuration, over the paper's recipe or
    another of the method's, such as ``small``::

        sslzoo.pretrain("rotation", recipe="small", dataset="cliparts", encoder="test_resnet", epochs=5)

    Raises:
        UsageError: for an unknown name.
        UserError: for anything else the user can mend.
    """
    method_type = methods.load(method)
    shared, own = divide(method_type, settings)
    usual, usual_own = recipe_of(method_type, recipe)
    config = replace(config or usual, **shared)
    method_config = replace(method_config or usual_own, **own)
    columns = {name: getattr(config, name) for name in ("image_column", "label_column")}
    source = (_open_stream if config.streaming else open_dataset)(config.dataset, **columns)
    validation = open_dataset(config.validation, **columns) if config.validation else None
    folder = Path(out or default_out(method, config))
    labelled = open_dataset(config.monitor_knn, **columns) if config.monitor_knn else None
    return run_pretraining(method_type, method_config, config, source, folder, validation, labelled)


def evaluate(
    evaluation: str,
    model: str | Path,
    dataset: str = USUAL_DATASET,
    *,
    train_split: str = "train",
    test_split: str = "",
    image_column: str = "",
    label_column: str = "",
    out: Path | str | None = None,
    keep: bool = True,
    baseline: bool = True,
    **settings: Any,
) -> Report:
    """Evaluate an encoder beside the untrained one; the report also goes to ``out``, or into the run if it is one.

    ``keep=False`` leaves a run as it is.

    ``test_split`` is the split called test, or else validation, if it is not given.

    ``settings`` are fields of the evaluation's own configuration.
    """
    if paired_names(dataset) is not None:
        raise UsageError(f"{dataset} is two data sets, which no evaluation takes: name one of them")
    kind = evaluations.load(evaluation)
    unknown = settings.keys() - {field.name for field in fields(kind.Config)}
    if unknown:
        raise UsageError(f"{evaluation} has no setting {sorted(unknown)[0]!r}; there are: {field_names(kind.Config)}")
    columns = {"image_column": image_column, "label_column": label_column}
    sounds = sound_encoder_of(model) if kind.info.needs == "sound_encoder" else None
    encoder = load_encoder(sounds or model)
    if kind.info.needs == "method":
        encoder = load_method(evaluation, Path(model), encoder)
    test_split = test_split or default_test_split(_splits(dataset), parse_name(dataset)[0], train_split)
    if kind.info.fits and of_different_lists(train_split, test_split) and {"train2", "test2"} <= set(_splits(dataset)):
        raise UsageError(
            f"each list of {dataset} is drawn from all of its samples, so {test_split} may have some of {train_split}: "
            "take train and test, train2 and test2, or train3 and test3"
        )
    test = open_dataset(dataset, test_split, **columns)
    train = open_dataset(dataset, train_split, **columns) if kind.info.fits else test
    report = run_evaluation(
        kind(kind.Config(**settings)), encoder, train, test, model=_name_of(model), baseline=baseline
    )
    run = Path(model)
    if out is not None:
        save_report(report, Path(out))
        save_figures(report, Path(out))
    elif keep and (run / "run.json").exists():
        save_report(report, run / "evaluations")
        save_figures(report, run / "figures")
        draw_layers(asdict(report), report.name, run)
        write_card(run)
    return report


def evaluate_again(
    report: str | Path,
    model: str | Path = "",
    dataset: str = "",
    *,
    image_column: str = "",
    label_column: str = "",
    out: Path | str | None = None,
    tolerance: float = TOLERANCE,
) -> Agreement:
    """Run the evaluation of a report once more, with its settings, on its data, and compare.

    A report names no folder of the machine it was made on, so ``model`` and ``dataset`` are to be given where they are
    folders. A report in a run's folder is of that run.

    Args:
        report: the JSON file.
        tolerance: the largest difference that still agrees: of a share as it is, of another number relative to it.

    Raises:
        UsageError: if there is nothing to compare, or it is not told where the model or the data are.
        UserError: if the report cannot be read, or is of another version of the protocol.
    """
    path = Path(report)
    told = read_report(path)
    kind = evaluations.load(told.evaluation)
    if kind.info.protocol != told.protocol.split()[0]:
        raise UserError(f"{path} is of {told.protocol}, and this sslzoo has {kind.info.protocol}: their numbers differ")
    if not told.metrics:
        raise UsageError(f"{path} holds no numbers to compare; draw again with sslzoo evaluate {told.evaluation}")
    parts = {part: parse_name(split["name"]) for part, split in (("train", told.train), ("test", told.test)) if split}
    settings = asdict(restore_config(kind.Config, told.config))
    found = evaluate(
        told.evaluation,
        model or _model_of(path, told),
        dataset or parts["test"][0],
        train_split=parts["train"][1] or "" if "train" in parts else "",
        test_split=parts["test"][1] or "",
        image_column=image_column,
        label_column=label_column,
        out=out,
        keep=False,
        baseline=told.baseline is not None,
        **settings,
    )
    return Agreement(told, found, tolerance)


def _model_of(path: Path, report: Report) -> str | Path:
    """What a report is of, if that can be known."""
    run = path.resolve().parent.parent
    if path.resolve().parent.name == "evaluations" and (run / "run.json").exists():
        return run
    if report.model.startswith((HUB, RANDOM)):
        return report.model
    raise UsageError(f"{path} is of {report.model!r}, which may be anywhere: name it, as in --like {path} MODEL")


def _name_of(model: str | Path) -> str:
    """For the report: as it is on the Hub, without the folders of this machine."""
    return str(model) if str(model).startswith(HUB) else public_name(str(model))


def load_method(evaluation: str, run: Path, encoder: nn.Module) -> PretextMethod:
    """The whole method of a run that published ``encoder``."""
    record = read_record(run) if (run / HEADS).is_file() else None
    if record is None:
        raise UsageError(
            f"{evaluation} needs a whole method, and {run} is no run with its {HEADS}: name a folder that "
            f"`sslzoo pretrain` wrote, or `sslzoo pull` from what was pushed with --heads"
        )
    kind = methods.load(record["method"]["name"])
    method = kind(spec_of(encoder).build(), restore_config(kind.Config, record["method_config"]))
    load_heads(method, encoder, run / HEADS)
    return method.eval()


def _refuse_misspelt(name: str) -> None:
    """Before the Hub is asked for a data set that nobody meant."""
    near = difflib.get_close_matches(name, datasets.names(), n=1, cutoff=0.8)
    if near and not Path(name).exists():
        raise UsageError(f"no data set {name!r}; did you mean {near[0]!r}?")


def _open_stream(name: str, **columns: str) -> Stream:
    if paired_names(name) is not None:
        raise UsageError(f"{name} is two data sets, which cannot be streamed: leave out --streaming")
    base, _ = parse_name(name)
    if base in datasets.names():
        raise UsageError(
            f"{base} comes with an installed package, so there is nothing to stream: leave out --streaming"
        )
    return open_stream(name, **columns)


def _splits(name: str) -> Sequence[str]:
    base, _ = parse_name(name)
    return datasets.load(base).info.splits if base in datasets.names() else split_names(base)


def push(
    run: Path | str,
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
) -> str:
    """Publish a finished run as ``repo_id`` on the Hub, in one commit whose address is returned.

    Its card is rendered anew, with the name under which it will be loaded. The arguments are those of
    ``sslzoo.hub.push.push``.

    Raises:
        UserError: if the run is not finished, its encoder is not what was saved, a file holds a secret or a folder of
            this machine, or the Hub refuses.
    """
    write_card(Path(run), repo_id)
    return push_run(
        Path(run),
        repo_id,
        private=private,
        gated=gated,
        revision=revision,
        tag=tag,
        pull_request=pull_request,
        heads=heads,
        unfinished=unfinished,
        token=token,
        endpoint=endpoint,
    )
