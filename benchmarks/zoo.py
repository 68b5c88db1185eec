"""Every method at one small budget, beside the untrained encoder: ``make zoo``.

Each method is pretrained by its recipe ``small`` with the same encoder, image size, batch size and number of epochs on
``cliparts``, with three seeds, then k-NN and linear probes are scored on the test split. ``zoo.json`` keeps one entry
per method and seed, and an entry is made again only when the method's file, its recipe or the budget has changed.
``zoo.md`` is the table, written from it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import timm
import torch
import tyro

from sslzoo.api import open_dataset
from sslzoo.config import PretrainConfig
from sslzoo.data.source import Source
from sslzoo.encoders import create_encoder
from sslzoo.hub.load import load_encoder
from sslzoo.pretraining import Training, settle
from sslzoo.recipes import default_out, recipe_of
from sslzoo.record import git_commit
from sslzoo.registry import evaluations, methods
from sslzoo.report import evaluate
from sslzoo.views import Sample

FOLDER = Path(__file__).parent
UNTRAINED = "untrained"
DATASET = "cliparts"
BUDGET: dict[str, Any] = {
    "dataset": f"{DATASET}[unlabeled]",
    "validation": f"{DATASET}[test]",
    "encoder": "test_resnet",
    "image_size": 64,
    "batch_size": 64,
    "epochs": 10,
    "precision": "bf16",
    "threads": 1,
    "workers": 0,
    "log_every": 50,
}
YOUNGER = ("illustrate", "monitor_features", "monitor_knn", "cache", "profile", "frames")
"""Settings that came after the first entries and are nothing to them."""
TRANSFORMER = "test_vit"
"""In place of the budget's encoder, for methods whose recipe has a transformer; its arguments are the recipe's."""
SEEDS = (0, 1, 2)
SCORES = {"knn": "k-NN", "linear_best": "linear, best layer", "linear_last": "linear, last layer"}


@dataclass(frozen=True)
class Arguments:
    """Pretrain and score what has changed, and write the table."""

    methods: tuple[str, ...] = ()
    """Only these; all that are installed if not given."""
    jobs: int = 2
    """Runs at a time, one thread each."""
    keep: Path | None = None
    """Keep the runs here, each in ``<method>_<encoder>_<dataset>-<seed>``."""


def main() -> None:
    """Bring zoo.json and zoo.md up to date."""
    arguments = tyro.cli(Arguments, description=__doc__)
    names = arguments.methods or covered()
    path = FOLDER / "zoo.json"
    entries: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    untrained = sorted({untrained_of(name) for name in names})
    due = [
        (name, seed)
        for seed in SEEDS
        for name in (*untrained, *names)
        if entries.get(f"{name}-{seed}", {}).get("key") != key_of(name)
    ]
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(entry, name, seed, arguments.keep): f"{name}-{seed}" for name, seed in due}
        for future in as_completed(futures):
            entries[futures[future]] = future.result()
            path.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")
            (FOLDER / "zoo.md").write_text(table(entries))
            print(futures[future], json.dumps(entries[futures[future]]["scores"]), flush=True)
    (FOLDER / "zoo.md").write_text(table(entries))


def covered() -> list[str]:
    """Methods of pictures that have the recipe. Those of clips and sounds have no rows yet."""
    found = [methods.load(name) for name in methods.names()]
    return [method.info.name for method in found if "small" in method.recipes and method.info.modalities == ("image",)]


def recipe(name: str) -> tuple[PretrainConfig, Any]:
    """A method's recipe at the budget."""
    config, own = recipe_of(methods.load(name), "small")
    pretrained_cfg = timm.get_pretrained_cfg(config.encoder)
    transformer = pretrained_cfg is not None and pretrained_cfg.fixed_input_size
    return replace(config, **BUDGET | ({"encoder": TRANSFORMER} if transformer else {})), own


def untrained_of(name: str) -> str:
    """What a method is to be compared with: ``untrained``, the encoder, and its arguments."""
    config, _ = recipe(name)
    return " ".join([UNTRAINED, config.encoder, *config.encoder_args])


def key_of(name: str) -> str:
    """What an entry depends on: the method's file, its configuration, and the budget."""
    if name.startswith(UNTRAINED):
        return _digest(name, BUDGET["image_size"], DATASET)
    config, own = recipe(name)
    settings = asdict(config)
    for younger in YOUNGER:
        del settings[younger]
    return _digest(Path(inspect.getfile(methods.load(name))).read_text(), settings, asdict(own))


def entry(name: str, seed: int, keep: Path | None = None) -> dict[str, Any]:
    """Pretrain with one seed and score the encoder; the run stays in ``keep``, if that is given."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"key": key_of(name), "commit": git_commit()}
    if name.startswith(UNTRAINED):
        _, architecture, *args = name.split(" ")
        return found | {"scores": scores(create_encoder(architecture, BUDGET["image_size"], args=args, seed=seed))}
    with tempfile.TemporaryDirectory() as folder:
        run = (keep or Path(folder)) / f"{default_out(name, recipe(name)[0]).name}-{seed}"
        shutil.rmtree(run, ignore_errors=True)  # of a method as it was before it changed
        began, worked = time.monotonic(), time.process_time()
        before = pretrained(name, seed, run)
        seconds, worked = time.monotonic() - began, time.process_time() - worked
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        shown = BUDGET["epochs"] * len(opened(BUDGET["dataset"]))
        found |= {
            "untrained": untrained_of(name),
            "pretext": {"before": before, "after": lines[-1]["validation"]},
            "feature_std": lines[-1].get("feature_std"),
            "seconds": round(seconds),
            "cpu_seconds": round(worked),
            "samples_per_cpu_second": round(shown / worked),
        }
        return found | {"scores": scores(load_encoder(run))}


def pretrained(name: str, seed: int, run: Path) -> dict[str, float]:
    """Pretrain into ``run``; gives the pretext task's held-out scores before the first step: its chance level."""
    method, (config, own) = methods.load(name), recipe(name)
    config = replace(config, seed=seed)
    source, held_out = opened(config.dataset), opened(config.validation)
    resolved, record = settle(method, own, config, source, run)
    training = Training(method, own, config, resolved, source, held_out, record, run)
    before = training.validate()
    training.restore()
    training.train()
    training.finish()
    return before


def scores(encoder: torch.nn.Module) -> dict[str, float]:
    """Balanced accuracy on the test split, by k-NN and by a linear probe of the best and of the last layer."""
    train, test = (opened(f"{DATASET}[{split}]") for split in ("train", "test"))
    found = {}
    for name in ("knn", "linear"):
        kind = evaluations.load(name)
        found[name] = evaluate(kind(kind.Config()), encoder, train, test, model="zoo", baseline=False)
    return {
        "knn": found["knn"].metrics["balanced_accuracy"],
        "linear_best": found["linear"].metrics["best_layer_balanced_accuracy"],
        "linear_last": found["linear"].metrics["balanced_accuracy"],
    }


class Decoded(Source):
    """A data set that is decoded once by each process, which reads it hundreds of times."""

    def __init__(self, source: Source) -> None:
        self.source, self.name, self.license = source, source.name, source.license
        self.class_names, self.samples = source.class_names, [source.read(index) for index in range(len(source))]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> Sample:
        return dict(self.samples[index])

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint

    def labels(self) -> torch.Tensor:
        return self.source.labels()


@functools.cache
def opened(name: str) -> Decoded:
    """A data set by name."""
    return Decoded(open_dataset(name))


def table(entries: dict[str, Any]) -> str:
    """The entries as Markdown: the best by k-NN first, the untrained encoder last."""
    by_method: dict[str, list[dict[str, Any]]] = {}
    for label in sorted(entries):
        by_method.setdefault(label.rpartition("-")[0], []).append(entries[label])
    untrained = {name: by_method.pop(name) for name in list(by_method) if name.startswith(UNTRAINED)}
    ranked = sorted(by_method, key=lambda name: -_mean(by_method[name], "knn"))
    lines = [HEAD.format(**BUDGET, transformer=TRANSFORMER), _line(COLUMNS), "|---" * len(COLUMNS) + "|"]
    lines += [_row(name, by_method[name], untrained.get(by_method[name][0]["untrained"], [])) for name in ranked]
    for name, found in untrained.items():
        scored = (_spread(found, score) for score in SCORES)
        lines.append(_line([f"*{name}*", str(len(found)), "", *scored, *[""] * 5, *_origin(found)]))
    return "\n".join([*lines, ""])


COLUMNS = (
    "method",
    "seeds",
    "pretext: before → after",
    *SCORES.values(),
    "beats untrained",
    "feature std",
    "wall s",
    "CPU s",
    "samples/CPU s",
    "key",
    "commits",
)
HEAD = """# The zoo at a small budget

Written by `make zoo`. Every method by its recipe `small`, with {encoder} ({transformer} where the method is for
transformers, compared with that one untrained) at {image_size} px, batches of {batch_size} and {epochs} epochs of
{dataset}, on one thread in {precision}; mean ± standard deviation over seeds. Scores are class-balanced accuracies in %
on the test split. *Pretext* is the accuracy of the task itself on held-out pictures where it has one, else the loss;
*before* is the untrained network's, its chance level (not MoCo's, whose queue then holds random directions, which any
key is told from). A method beats the untrained encoder in a score if the means differ by more than two standard
deviations, the larger of the two; with one seed nothing is said. Seconds are those of pretraining, its held-out scores
and figure included and decoding not, the median over seeds; other programs ran on the machine, which the wall clock
counts and the processor's does not. Samples are pictures, however many views are made of one. The key stands for the
method's file, its configuration and the budget: an entry with another one is made again. The recipes were chosen in a
few tries on this data and this test split: the table is a receipt that the methods work at a small budget, not a
comparison of what they can do.
"""


def _row(name: str, found: list[dict[str, Any]], untrained: list[dict[str, Any]]) -> str:
    better = [label for score, label in SCORES.items() if _beats(found, untrained, score)]
    told = min(len(found), len(untrained)) > 1
    return _line(
        [
            f"`{name}`",
            str(len(found)),
            _pretext(found),
            *(_spread(found, score) for score in SCORES),
            ", ".join(better) or ("**no**" if told else ""),
            ""
            if found[0]["feature_std"] is None
            else f"{statistics.mean(entry['feature_std'] for entry in found):.2f}",
            *(f"{_median(found, cost):.0f}" for cost in ("seconds", "cpu_seconds", "samples_per_cpu_second")),
            *_origin(found),
        ]
    )


def _beats(found: list[dict[str, Any]], untrained: list[dict[str, Any]], score: str) -> bool:
    if min(len(found), len(untrained)) < 2:
        return False
    deviation = max(statistics.stdev(entry["scores"][score] for entry in side) for side in (found, untrained))
    return _mean(found, score) - _mean(untrained, score) > 2 * deviation


def _pretext(found: list[dict[str, Any]]) -> str:
    name = "accuracy" if "accuracy" in found[0]["pretext"]["after"] else "loss"
    ends = [statistics.mean(entry["pretext"][end][name] for entry in found) for end in ("before", "after")]
    shown = [f"{100 * end:.1f} %" if name == "accuracy" else f"{end:.3g}" for end in ends]
    return f"{name} {shown[0]} → {shown[1]}"


def _spread(found: list[dict[str, Any]], score: str) -> str:
    values = [100 * entry["scores"][score] for entry in found]
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}" if values else ""


def _mean(found: list[dict[str, Any]], score: str) -> float:
    return statistics.mean(entry["scores"][score] for entry in found)


def _origin(found: list[dict[str, Any]]) -> tuple[str, str]:
    """Of what the entries were made: method, configuration and budget; and by which commits."""
    commits = {(entry["commit"] or "")[:7]: None for entry in found}
    return " ".join(sorted({entry["key"][:7] for entry in found})), " ".join(sorted(commits))


def _median(found: list[dict[str, Any]], cost: str) -> float:
    """Over the seeds for which it was measured."""
    return statistics.median(entry[cost] for entry in found if cost in entry)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, default=list, sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    main()
