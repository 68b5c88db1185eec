"""At what budget methods are compared, and how they are scored: of pictures on ``cliparts``, of clips on ``world``."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import timm
import torch
from torch import nn

from sslzoo.api import open_dataset
from sslzoo.config import PretrainConfig
from sslzoo.data.source import Source
from sslzoo.encoders import create_encoder, create_sound_encoder, takes_clips
from sslzoo.encoders.video import is_video
from sslzoo.recipes import recipe_of
from sslzoo.registry import evaluations, methods
from sslzoo.report import evaluate
from sslzoo.views import Sample

UNTRAINED = "untrained"
TRANSFORMER, OF_CLIPS = "test_vit", "test_r3d"
"""In place of a budget's encoder, for methods whose recipe has a transformer, or an encoder of clips; its arguments are
the recipe's."""
SMALLEST: dict[str, Any] = {
    "encoder": "test_resnet",
    "image_size": 64,
    "precision": "auto",
    "threads": 1,
    "workers": 0,
    "log_every": 50,
}


class Track(ABC):
    """Methods that are pretrained and scored alike."""

    name: ClassVar[str]
    """Of the JSON file with its entries."""
    text: ClassVar[str]
    """Before its table."""
    scored_on: ClassVar[tuple[str, ...]]
    """Data sets."""
    budget: ClassVar[Mapping[str, Any]]
    """Settings of every run, in place of its recipe's."""
    columns: ClassVar[Mapping[str, str]]
    """Titles by score; the first is what methods are ranked by."""
    notes: ClassVar[Mapping[str, str]] = {}
    """By method, why it is not better than it is, as far as was looked into."""
    younger: ClassVar[tuple[str, ...]] = ()
    """Settings that came after the first entries and are nothing to them."""

    @abstractmethod
    def covers(self, modalities: tuple[str, ...]) -> bool:
        """Whether a method of such data is of this track."""

    def open(self, name: str) -> Source:
        """A data set by name."""
        return open_dataset(name)

    def data(self) -> list[str]:
        """What an entry depends on besides the names of the data sets."""
        return []

    @abstractmethod
    def scores(self, name: str, encoder: nn.Module, sounds: nn.Module | None) -> dict[str, float]:
        """Of the encoder of a method, or of an untrained one, and of the encoder of sounds that came with it."""

    def score(self, name: str, encoder: nn.Module, dataset: str, **settings: Any) -> dict[str, float]:
        """What an evaluation finds, with the settings that are not its own defaults."""
        kind = evaluations.load(name)
        train, test = (self.open(f"{dataset}[{split}]") for split in ("train", "test"))
        return evaluate(kind(kind.Config(**settings)), encoder, train, test, model="zoo", baseline=False).metrics

    def untrained(self, architecture: str, args: list[str], seed: int) -> tuple[nn.Module, nn.Module | None]:
        """What is scored for comparison."""
        return create_encoder(architecture, self.budget["image_size"], args=args, seed=seed), None

    def methods(self) -> list[str]:
        """Those installed that have the recipe ``small``."""
        found = [methods.load(name) for name in methods.names()]
        return [one.info.name for one in found if self.covers(one.info.modalities) and "small" in one.recipes]

    def recipe(self, name: str) -> tuple[PretrainConfig, Any]:
        """A method's recipe at the budget."""
        config, own = recipe_of(methods.load(name), "small")
        pretrained_cfg = timm.get_pretrained_cfg(config.encoder)
        if is_video(config.encoder):
            return replace(config, **self.budget | {"encoder": OF_CLIPS}), own
        transformer = pretrained_cfg is not None and pretrained_cfg.fixed_input_size
        return replace(config, **self.budget | ({"encoder": TRANSFORMER} if transformer else {})), own

    def untrained_of(self, name: str) -> str:
        """What a method is to be compared with: ``untrained``, the encoder, and its arguments."""
        config, _ = self.recipe(name)
        return " ".join([UNTRAINED, config.encoder, *config.encoder_args])


class Images(Track):
    """Balanced accuracy on the test split, by k-NN and by a linear probe of the best and of the last layer."""

    name = "zoo"
    text = f"""## Pictures

At 64 px, with test_resnet ({TRANSFORMER} where the method is for transformers, compared with that one untrained),
batches of 64 and 10 epochs of cliparts[unlabeled], whose decoding is not timed. Scores are class-balanced accuracies.
"""
    dataset = "cliparts"
    scored_on = (dataset,)
    budget = SMALLEST | {
        "dataset": f"{dataset}[unlabeled]",
        "validation": f"{dataset}[test]",
        "batch_size": 64,
        "epochs": 10,
    }
    columns: ClassVar = {"knn": "k-NN", "linear_best": "linear, best layer", "linear_last": "linear, last layer"}
    younger = ("illustrate", "monitor_features", "monitor_knn", "cache", "profile", "frames")

    def covers(self, modalities: tuple[str, ...]) -> bool:
        return modalities == ("image",)

    def open(self, name: str) -> Source:
        return decoded(name)

    def scores(self, name: str, encoder: nn.Module, sounds: nn.Module | None) -> dict[str, float]:
        knn, linear = (self.score(kind, encoder, self.dataset) for kind in ("knn", "linear"))
        return {
            "knn": knn["balanced_accuracy"],
            "linear_best": linear["best_layer_balanced_accuracy"],
            "linear_last": linear["balanced_accuracy"],
        }


SHOWN = 16_000
"""Clips of a run, over all epochs."""


class Clips(Track):
    """Actions and materials, told apart; of most encoders of images depth and flow, too, and of one of sounds those."""

    name = "zoo_clips"
    text = f"""## Clips

At 64 px, with test_resnet ({OF_CLIPS} where the method is for encoders of clips, compared with that one untrained), as
many epochs of the recipe's data (`world`, `world-actions`, or `world` beside `cliparts`) as show about {SHOWN:,} clips,
and the recipe's own size of a batch. *action* is the class-balanced accuracy of `action` on world-actions (chance 7.1;
of four windows of a clip, or of 25 frames), *tuned* that of an encoder that is trained on, for methods that learn the
order of frames, whose papers do so (20 epochs at a rate of 1e-3), *material* that of `action` on world (of what things
are made, chance 16.7), *depth* the share of pixels off by less than a quarter, *flow* that of pixels within one pixel
of the true flow, after 10 epochs of its decoder, and *audio* the balanced accuracy in telling materials from sounds
(chance 16.7). Depth is scored of encoders of images, and not of methods that learn from the order of frames or from
sounds; flow of those that learn from it. *views / step* is the time that decoding and views of a batch take, beside
forward, backward and optimizer, by `--profile`.
"""
    scored_on = ("world-actions", "world")
    budget = SMALLEST | {"profile": True}
    columns: ClassVar = {
        "action": "action",
        "tuned": "tuned",
        "material": "material",
        "depth": "depth",
        "flow": "flow",
        "audio": "audio",
    }
    notes: ClassVar = {
        "cubic_puzzles": "Of 48 classes it tells one in thirteen in clips it has not seen. Trained on as *tuned* is "
        "(seed 0), it tells 27.1 % of actions, and from scratch 43.6 %.",
        "depth_and_egomotion": "Its loss hardly falls and no depth comes of it. It would be 0.044 with the renderer's "
        "depth and motion, so the training does not find these; with turns at random it is 0.092, as pixels that fit "
        "better where nothing moves count as they are: no fall to that is learned.",
        "learning_by_moving": "It tells hardly more than the most frequent class of each axis, the middle one.",
        "opn": "Its recipe has thirteen times as many steps. After these (seeds 0 and 1) it tells 18 and 20 % of "
        "held-out orders, and action 18.2 and 21.4 % with the encoder frozen, 24.6 and 27.5 % tuned.",
        "shuffle_and_learn": "It tells two tuples in three, where chance tells one in two, and nothing of that shows "
        "in what is scored here. More steps do not help: after the 60 epochs of its recipe (seed 0) it tells 73 % of "
        "tuples, and of actions 9.3 % with the encoder frozen, 13.9 % tuned.",
        "unflow": "From the middle of the training on its loss has what covered pixels cost, and the border, which is "
        "covered as in the authors' code: 0.25. Its flow is 0.46 pixels off in the end, none at all 0.51.",
        "video_colorization": "It gives 86 % of places their colour, and so would the same place of the earlier frame.",
        "video_gan": "In these steps the generator comes to draw patterns, and no scenes yet.",
        "video_prediction": "What it draws is blurred: further from the next frames (a squared error of 0.017) than if "
        "nothing moved (0.013).",
        "video_rotation": "It tells three rotations in four of clips it has not seen, and hardly anything of that "
        "shows in what is scored here. Trained on as *tuned* is (seed 0), it tells 33.6 % of actions, and from scratch "
        "43.6 %.",
    }
    held_out: ClassVar = {"pairs:world+cliparts": "pairs:world[test]+cliparts[test]"}

    def covers(self, modalities: tuple[str, ...]) -> bool:
        return "clip" in modalities

    def recipe(self, name: str) -> tuple[PretrainConfig, Any]:
        config, own = super().recipe(name)
        validation = self.held_out.get(config.dataset, f"{config.dataset}[test]")
        if hasattr(own, "sound_encoder"):
            own = replace(own, sound_encoder=self.budget["encoder"])
        epochs = round(SHOWN / len(self.open(config.dataset)))
        return replace(config, validation=validation, epochs=epochs), own

    def data(self) -> list[str]:
        """Fingerprints: a rendering may come out otherwise in another version."""
        return [self.open(f"{dataset}[train]").fingerprint for dataset in self.scored_on]

    def untrained(self, architecture: str, args: list[str], seed: int) -> tuple[nn.Module, nn.Module | None]:
        encoder, _ = super().untrained(architecture, args, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return encoder, create_sound_encoder(self.budget["encoder"])

    def scores(self, name: str, encoder: nn.Module, sounds: nn.Module | None) -> dict[str, float]:
        windows = 4 if takes_clips(encoder) else 0
        found = {
            "action": self.score("action", encoder, "world-actions", windows=windows)["balanced_accuracy"],
            "material": self.score("action", encoder, "world", windows=windows)["balanced_accuracy"],
        }
        of_images = set() if takes_clips(encoder) else self.of_images(name)
        if "tuned" in of_images:
            tuned = self.score("action", encoder, "world-actions", finetune=True, lrs=(1e-3,))
            found["tuned"] = tuned["balanced_accuracy"]
        if "depth" in of_images:
            found["depth"] = self.score("depth", encoder, "world")["delta_1"]
        if "flow" in of_images:
            found["flow"] = self.score("flow", encoder, "world", epochs=10)["within_1px"]
        if sounds is not None:
            found["audio"] = self.score("audio", sounds, "world")["balanced_accuracy"]
        return found

    def of_images(self, name: str) -> set[str]:
        """Scores that only an encoder of images has: of an untrained one all, else those near to what it learned."""
        if name.startswith(UNTRAINED):
            return {"tuned", "depth", "flow"}
        info = methods.load(name).info
        near = {
            "tuned": info.category == "context",
            "depth": info.category != "context" and "audio" not in info.modalities,
            "flow": "flow" in info.family,
        }
        return {score for score, is_near in near.items() if is_near}


TRACKS = (Images(), Clips())


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
def decoded(name: str) -> Decoded:
    """A data set of pictures by name."""
    return Decoded(open_dataset(name))
