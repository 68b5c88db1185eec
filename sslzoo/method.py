"""The contract of a pretext method.

A method wraps an encoder, turns a batch of views into a loss, and gives the encoder back. Devices, precision,
optimizer, schedule and checkpoints belong to ``pretraining.py``, which never asks which method it runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from sslzoo.config import PretrainConfig
from sslzoo.encoders import InputSpec, feature_dim
from sslzoo.taxonomy import MethodInfo, Paper
from sslzoo.views import Batch, Sample, Views

if TYPE_CHECKING:
    from sslzoo.run import Run

__all__ = ["Batch", "MethodInfo", "Paper", "PretextMethod", "Sample", "Views"]


class PretextMethod(nn.Module, ABC):
    """One pretext method. Every subclass is final: what two methods share lives in ``nn/`` and ``views/``.

    A whole plugin::

        class Rotation(PretextMethod):
            info = MethodInfo(name="rotation", category="context", ...)
            Config = RotationConfig                       # frozen dataclass; its fields become flags
            defaults = PretrainConfig(lr=0.1, epochs=50)  # the paper's recipe

            @staticmethod
            def views(config, spec):
                return FourRotations(config, spec)

            def __init__(self, encoder, config):
                super().__init__(encoder, config)
                self.head = nn.Linear(self.feature_dim, 4)

            def forward(self, batch):
                ...
                return {"loss": loss, "accuracy": accuracy}

    State that must survive a restart (queues, memories, teachers) is a parameter, a persistent buffer or a submodule.
    In a run on several processes every buffer must come out equal on all of them (fill it from gathered tensors);
    only batch-norm statistics may differ, and there the first process counts.
    """

    info: ClassVar[MethodInfo]
    Config: ClassVar[type]
    defaults: ClassVar[PretrainConfig]
    """The paper's recipe; the command line may override any field."""
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Other recipes by name: what each sets of ``Config`` and of ``PretrainConfig``. ``small`` is for a few thousand
    small images and small batches, where the paper's settings may collapse."""

    def __init__(self, encoder: nn.Module, config: Any) -> None:
        """Build the heads around ``encoder``, which is given."""
        super().__init__()
        self.encoder = encoder
        self.feature_dim = feature_dim(encoder)
        self.config = config

    @staticmethod
    @abstractmethod
    def views(config: Any, spec: InputSpec) -> Views:
        """The data side. It takes no ``self``, so that workers never pickle the model."""

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``, a scalar to minimise, and any other scalars to log.

        In training it is called through DDP and under autocast. In ``eval()`` it gives the pretext task's held-out
        scores and must change no state.
        """

    def lr_scales(self) -> dict[str, float]:
        """Learning-rate multiplier by prefix of parameter names, such as ``{"discriminator.": 2.0}``."""
        return {}

    def on_start(self, run: Run) -> None:
        """Before the first step, and before a checkpoint is read: size per-sample memories."""

    def on_epoch_start(self, run: Run) -> None:
        """Before each epoch: cluster, reassign pseudo-labels."""

    def on_step_end(self, run: Run) -> None:
        """After each optimizer step: move the teacher, normalise prototypes."""

    def trained_encoder(self) -> nn.Module:
        """The encoder to evaluate and publish: the teacher's, where the paper says so."""
        return self.encoder

    def trained_sound_encoder(self) -> nn.Module | None:
        """The second encoder of a method that sees and hears, made by ``create_sound_encoder``; None if there is none.

        It is handed over as the first one is, in ``sound_encoder/``.
        """
        return None

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures only the method can draw: title to (N, 3, H, W) in [0, 1]. Empty if there are none."""
        return {}
