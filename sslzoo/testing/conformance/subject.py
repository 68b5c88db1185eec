"""The method under examination, and the small run in which it is examined."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import torch

from sslzoo.api import open_dataset
from sslzoo.config import PretrainConfig, UsageError
from sslzoo.data.samples import read_for_views
from sslzoo.data.source import Source
from sslzoo.encoders import InputSpec, frames_of
from sslzoo.method import PretextMethod, Sample, Views
from sslzoo.pretraining import Training
from sslzoo.recipes import settle
from sslzoo.views.keyed import Draw

IMAGE_SIZE, FRAMES, SAMPLES, BATCH, EPOCHS = 64, 8, 24, 8, 2


class Few(Source):
    """The first samples of a data set, again and again if it has not so many."""

    def __init__(self, source: Source) -> None:
        self.whole, self.name, self.license = source, source.name, source.license

    def __len__(self) -> int:
        return SAMPLES

    def read(self, index: int) -> Sample:
        return self.whole.read(index % len(self.whole))

    @property
    def fingerprint(self) -> str:
        return self.whole.fingerprint


@dataclass(frozen=True)
class Named:
    """A plugin's class by name, so that another process can be told of it without importing it first."""

    module: str
    attribute: str

    @classmethod
    def of(cls, plugin: type, **more: Any) -> Self:
        """The name of a class that other processes can import.

        Raises:
            UsageError: if they cannot.
        """
        if "<locals>" in plugin.__qualname__ or plugin.__module__ == "__main__":
            raise UsageError(f"{plugin.__qualname__} must stand at the top of an importable module, as a plugin does")
        return cls(plugin.__module__, plugin.__qualname__, **more)

    @property
    def package(self) -> str:
        """The top-level package that the class is in; of the core's own plugins, the module."""
        top = self.module.partition(".")[0]
        return self.module if top == "sslzoo" else top

    def plugin(self) -> Any:
        """The class."""
        return reduce(getattr, self.attribute.split("."), import_module(self.module))


@dataclass(frozen=True)
class Subject(Named):
    """A method and what it is examined with."""

    settings: dict[str, Any]
    """Values of the method's own configuration that are not its defaults."""
    dataset: str
    encoder: str

    def method(self) -> type[PretextMethod]:
        """The plugin's class."""
        return self.plugin()

    def config(self) -> Any:
        """Its configuration with this subject's settings."""
        return self.method().Config(**self.settings)

    @property
    def recipe(self) -> PretrainConfig:
        """A run of six steps in the plainest arithmetic, with a checkpoint after each."""
        return PretrainConfig(
            dataset=self.dataset,
            encoder=self.encoder,
            image_size=IMAGE_SIZE,
            frames=FRAMES,
            epochs=EPOCHS,
            batch_size=BATCH,
            lr=0.01,
            weight_decay=0.0,
            schedule="constant",
            precision="fp32",
            threads=1,
            workers=0,
            save_every=1,
            log_every=1,
        )

    @property
    def spec(self) -> InputSpec:
        """The images, or clips, its encoder takes."""
        return InputSpec.square(IMAGE_SIZE, frames=frames_of(self.encoder, {"frames": FRAMES}))

    def source(self) -> Source:
        """A few samples of the data set."""
        return Few(open_dataset(self.dataset))

    def views(self) -> Views:
        """The data side of the method."""
        return self.method().views(self.config(), self.spec)

    def samples(self, count: int = BATCH, first: int = 0) -> list[Sample]:
        """Some samples, with keys that are a function of their place among these."""
        source, sampling = self.source(), self.views().sampling
        keys = Draw.root(0).of(torch.arange(count)).key.tolist()
        return [read_for_views(source, first + place, key, 3, sampling) for place, key in enumerate(keys)]

    def training(self, folder: Path, **changes: Any) -> Training:
        """A run in ``folder`` that is ready to train, or to go on; ``changes`` are fields of the recipe."""
        recipe, config, source = replace(self.recipe, **changes), self.config(), self.source()
        resolved, record = settle(self.method(), config, recipe, source, folder)
        return Training(self.method(), config, recipe, resolved, source, None, record, folder)
