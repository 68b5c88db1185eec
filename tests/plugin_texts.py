"""Plugins of other packages, as text: a sound one of each kind, to install as it is or broken.

They are declared, listed and imported, and never run: what would do their work raises, lest a test rely on it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

Install = Callable[..., Path]

METHOD = """
from dataclasses import dataclass
from sslzoo.config import PretrainConfig
from sslzoo.method import MethodInfo, Paper, PretextMethod

@dataclass(frozen=True)
class Settings:
    sides: int = 4

class Acme(PretextMethod):
    info = MethodInfo(name='acme', category='context', family='jigsaw', modalities=('image',), summary='S',
                      paper=Paper(authors='A', title='T', venue='V', year=2020, url='u'))
    Config = Settings
    defaults = PretrainConfig()

    @staticmethod
    def views(config, spec):
        raise NotImplementedError

    def forward(self, batch):
        raise NotImplementedError
"""

EVALUATION = """
from dataclasses import dataclass
from sslzoo.evaluation import Evaluation, EvaluationInfo

@dataclass(frozen=True)
class Settings:
    k: int = 4

class Acme(Evaluation):
    info = EvaluationInfo(name='acme', version=3, metric='purity', modalities=('image',), summary='S')
    Config = Settings

    def run(self, encoder, train, test):
        raise NotImplementedError
"""

DATASET = """
from sslzoo.data.source import DatasetInfo, NamedDataset

class Acme(NamedDataset):
    info = DatasetInfo(name='acme', splits=('left', 'right'), modalities=('image',), license='CC0-1.0', homepage='h',
                       summary='S')

    def open(self, split):
        raise NotImplementedError
"""

SOUND = {"methods": METHOD, "evaluations": EVALUATION, "datasets": DATASET}
"""By kind. Each is called acme, and its class Acme."""


def install_plugin(install: Install, kind: str, name: str, text: str, *, requires: str = "", extras: str = "") -> None:
    """Install ``text`` as the module NAME_ssl of the package NAME-ssl, which declares its class Acme as ``name``."""
    module = f"{name.replace('-', '_')}_ssl"
    folder = install(f"{name}-ssl", {f"sslzoo.{kind}": {name: f"{module}:Acme {extras}".strip()}})
    (folder / f"{module}.py").write_text(text)
    if requires:
        with next(folder.glob("*.dist-info/METADATA")).open("a") as metadata:
            metadata.write(f"Requires-Dist: {requires}\n")
    sys.modules.pop(module, None)  # of an earlier test
    importlib.invalidate_caches()
