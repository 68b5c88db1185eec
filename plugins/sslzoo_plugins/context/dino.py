"""DINO: give a picture's views the distribution that a teacher gives to its large views.

Caron, Touvron, Misra, Jégou, Mairal, Bojanowski & Joulin, "Emerging Properties in Self-Supervised Vision Transformers",
ICCV 2021, https://arxiv.org/abs/2104.14294. The teacher, an average of the student whose momentum rises to 1, sees the
two large views of multi-crop; the student sees all. The teacher's outputs are centred by an average over the batches of
all processes, against one output taking all, and sharpened, against all being equal. Its encoder is what is published.

Works with convolutional encoders too; the paper trains ResNet-50 with the same heads. The teacher drops nothing, and
normalises by batch statistics where there is batch norm. The student's last layer, of weights with length one, stands
still during the first epoch. Vision transformers take small views as they are if built with ``dynamic_img_size=True``,
as in the default recipe; else they are enlarged, which costs as much as large views.

Deviations. Weight decay is constant. The paper's rises from 0.04 to 0.4 along a cosine while the rate falls; 0.13 takes
as much from the weights over a run. The rate falls to 0, the authors' to 1e-5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Views
from sslzoo.nn.ema import ema_update, frozen_copy
from sslzoo.nn.gather import gather
from sslzoo.nn.multi_crop import cross_view_entropy, encode_crops
from sslzoo.nn.precision import in_float32
from sslzoo.nn.schedules import cosine
from sslzoo.views.multi_crop import MultiCrop, global_and_local, shown_crops
from sslzoo.views.two_views import BYOL_TABLE

if TYPE_CHECKING:
    from sslzoo.run import Run


@dataclass(frozen=True)
class DINOConfig:
    outputs: int = 65536
    """Outputs over which teacher and student give distributions."""
    hidden_dim: int = 2048
    """Width of the head's hidden layers."""
    bottleneck_dim: int = 256
    """Dimensions before the last layer."""
    student_temperature: float = 0.1
    """Divides the student's outputs."""
    teacher_temperature: float = 0.07
    """Divides the teacher's outputs, after warm-up."""
    first_teacher_temperature: float = 0.04
    """Divides them in the first epoch."""
    teacher_warmup_epochs: int = 30
    """Epochs over which the teacher's temperature rises."""
    teacher_momentum: float = 0.996
    """How much of the teacher stays at the first step; it rises to 1. Higher for small batches of long runs."""
    center_momentum: float = 0.9
    """How much of the centre stays at each step."""
    freeze_epochs: int = 1
    """Epochs in which the last layer stands still."""
    local_crops: int = 10
    """Small views."""
    local_size: int = 0
    """Height and width of the small views in pixels; 0 takes the paper's, 96 for an image size of 224."""
    min_scale: float = 0.05
    """Smallest small crop, as a share of the picture's area."""
    global_scale: float = 0.25
    """Smallest large crop, and largest small one."""
    color_strength: float = 1.0
    """Multiplies the paper's strengths of the colour jitter."""


class Head(nn.Module):
    """Three layers to a bottleneck of length one, and its cosines with ``outputs`` directions."""

    def __init__(self, width: int, config: DINOConfig) -> None:
        super().__init__()
        hidden, bottleneck = config.hidden_dim, config.bottleneck_dim
        layers = [nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, bottleneck))
        self.last = nn.Linear(bottleneck, config.outputs, bias=False)
        for module in self.layers:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(F.normalize(self.layers(features), dim=-1), F.normalize(self.last.weight, dim=-1))


@in_float32
def sharpened(outputs: Tensor, center: Tensor, temperature: Tensor) -> Tensor:
    """The teacher's distributions (..., K): outputs less the centre (K,), by softmax at a temperature."""
    return F.softmax((outputs - center) / temperature, dim=-1)


def warmed_up(first: float, last: float, epochs: int, epoch: int) -> float:
    """From ``first`` in epoch 0 to ``last`` in the last of ``epochs``, in equal steps; then ``last``."""
    return first + (last - first) * epoch / (epochs - 1) if epoch < epochs - 1 else last


class DINO(PretextMethod):
    info = MethodInfo(
        name="dino",
        category="context",
        family="instance-similarity",
        modalities=("image",),
        paper=Paper(
            authors="Caron, Touvron, Misra, Jégou, Mairal, Bojanowski & Joulin",
            title="Emerging Properties in Self-Supervised Vision Transformers",
            venue="ICCV",
            year=2021,
            url="https://arxiv.org/abs/2104.14294",
        ),
        summary="Give small and large views the distribution that a slow teacher gives to other, large ones.",
    )
    Config = DINOConfig
    # ViT-S/16 of table 2; what the authors' code does unasked is shorter, with 8 small crops.
    defaults = PretrainConfig(
        encoder="vit_small_patch16_224",
        encoder_args=("dynamic_img_size=True", "drop_path_rate=0.1"),
        epochs=800,
        batch_size=1024,
        optimizer="adamw",
        lr=5e-4,
        base_batch_size=256,
        momentum=0.9,
        weight_decay=0.13,
        warmup_epochs=10,
    )
    recipes = {
        "small": {
            **SMALL,
            "encoder_args": (),
            "outputs": 1024,
            "hidden_dim": 512,
            "bottleneck_dim": 128,
            "teacher_temperature": 0.04,
            "teacher_momentum": 0.99,
            "freeze_epochs": 0,
            "local_crops": 4,
            "min_scale": 0.15,
            "global_scale": 0.4,
            "color_strength": 0.5,
        }
    }

    center: Tensor
    teacher_temperature: Tensor

    @staticmethod
    def views(config: DINOConfig, spec: InputSpec) -> Views:
        crops = global_and_local(
            spec,
            BYOL_TABLE,
            replace(BYOL_TABLE[0], blur_p=0.5),
            local_crops=config.local_crops,
            local_size=config.local_size,
            min_scale=config.min_scale,
            global_scale=config.global_scale,
        )
        return MultiCrop(spec, crops, config.color_strength)

    def __init__(self, encoder: nn.Module, config: DINOConfig) -> None:
        super().__init__(encoder, config)
        self.head = Head(self.feature_dim, config)
        self.teacher = frozen_copy(nn.Sequential(encoder, self.head))
        self.register_buffer("center", torch.zeros(config.outputs))
        self.register_buffer("teacher_temperature", torch.tensor(config.first_teacher_temperature))
        self.newest: list[Tensor] = []

    def train(self, mode: bool = True) -> DINO:
        super().train(mode)
        for module in self.teacher.modules():
            module.training = mode and isinstance(module, nn.modules.batchnorm._BatchNorm)
        return self

    def on_epoch_start(self, run: Run) -> None:
        config = self.config
        first, last = config.first_teacher_temperature, config.teacher_temperature
        self.teacher_temperature.fill_(warmed_up(first, last, config.teacher_warmup_epochs, run.progress.epoch))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        targets = self.targets(batch["views"][:2])
        outputs = self.head(encode_crops(self.encoder, batch["views"]))
        loss = cross_view_entropy(targets, outputs / self.config.student_temperature)
        return {"loss": loss, "teacher_entropy": torch.special.entr(targets).sum(-1).mean()}

    @torch.no_grad()
    def targets(self, views: list[Tensor]) -> Tensor:
        """The teacher's distributions (B, 2, K); in training the mean output is put aside for the centre."""
        encoder, head = self.teacher
        outputs = head(encode_crops(encoder, views))
        if self.training:
            self.newest.append(gather(outputs.mean((0, 1), dtype=self.center.dtype)[None]).mean(0))
        return sharpened(outputs, self.center, self.teacher_temperature)

    @torch.no_grad()
    def on_step_end(self, run: Run) -> None:
        progress, held = run.progress, self.teacher[1]
        assert isinstance(held, Head)
        if progress.step <= self.config.freeze_epochs * progress.steps_per_epoch:
            self.head.last.weight.copy_(held.last.weight)  # which is as it was at first
            run.forget(self.head.last)
        student = nn.Sequential(self.encoder, self.head)
        ema_update(self.teacher, student, cosine(self.config.teacher_momentum, 1.0, progress.fraction))
        self.center.lerp_(torch.stack(self.newest).mean(0), 1 - self.config.center_momentum)
        self.newest.clear()

    def trained_encoder(self) -> nn.Module:
        return self.teacher[0]

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        return shown_crops(batch["views"], spec_of(self.encoder).input)
