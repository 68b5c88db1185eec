"""The bare limit of ``training.py``: forward, backward and step on one batch that is ready in memory.

In the precision that sslzoo chooses on this machine, with channels last and a fused optimizer: nobody can be faster in
that precision. Nothing is loaded, logged, scheduled or saved.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from training_cases import BATCH, DECODER, DINO_HEAD, LOCAL_CROPS, LOCAL_SIZE, MASKED, SIZE, Turn

from sslzoo.machine import best_precision


def bare(turn: Turn) -> dict[str, float]:
    """Samples per second."""
    net = NETS[turn.case.method](turn.case.build_encoder()).to(memory_format=torch.channels_last)
    return {"samples_per_second": turn.timed(_steps(net))}


def _steps(net: Net) -> Iterator[None]:
    views, optimizer = [_ready(size) for size in net.sizes], net.optimizer()
    fast = best_precision(torch.device("cpu")) == "bf16"
    while True:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            loss = net(views)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        net.after_step()
        yield


def _ready(size: int) -> Tensor:
    return torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)


class Net(nn.Module):
    """A method, from its views to its loss."""

    sizes: tuple[int, ...] = (SIZE,)
    """Pixels of each view."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def optimizer(self) -> Optimizer:
        return SGD(self.parameters(), lr=0.06, momentum=0.9, fused=True)

    def after_step(self) -> None:
        pass


class SimCLR(Net):
    sizes = (SIZE, SIZE)

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        self.head = projector(encoder.num_features)

    def forward(self, views: list[Tensor]) -> Tensor:
        projected = F.normalize(self.head(self.encoder(torch.cat(views))).float(), dim=1)
        logits = (projected @ projected.T / 0.5).float().fill_diagonal_(-torch.inf)
        return F.cross_entropy(logits, torch.arange(2 * BATCH).roll(BATCH))


class Rotation(Net):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        self.head = nn.Linear(encoder.num_features, 4)

    def forward(self, views: list[Tensor]) -> Tensor:
        turned = torch.cat([torch.rot90(views[0], turns, (2, 3)) for turns in range(4)])
        return F.cross_entropy(self.head(self.encoder(turned)).float(), torch.arange(4).repeat_interleave(BATCH))


class MAE(Net):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        dim, patches = DECODER["dim"], encoder.patch_embed.num_patches
        self.patch = encoder.patch_embed.patch_size[0]
        self.shown = int(patches * (1 - MASKED))
        self.embed = nn.Linear(encoder.num_features, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_buffer("positions", torch.randn(patches, dim))
        blocks = (Block(dim, DECODER["heads"], qkv_bias=True) for _ in range(DECODER["depth"]))
        self.decoder = nn.Sequential(*blocks, nn.LayerNorm(dim))
        self.predict = nn.Linear(dim, 3 * self.patch**2)

    def forward(self, views: list[Tensor]) -> Tensor:
        vit, images = self.encoder, views[0]
        order = torch.rand(len(images), len(self.positions)).argsort(1)
        tokens = vit._pos_embed(vit.patch_embed(images))
        kept = tokens[:, 1:].take_along_dim(order[:, : self.shown, None], 1)
        seen = self.embed(vit.norm(vit.blocks(torch.cat([tokens[:, :1], kept], 1))))
        masked = self.mask_token.expand(len(images), order.shape[1] - self.shown, -1)
        patches = torch.cat([seen[:, 1:], masked], 1) + self.positions[order]
        decoded = self.decoder(torch.cat([seen[:, :1], patches], 1))[:, 1 + self.shown :]
        pixels = F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)
        return F.mse_loss(self.predict(decoded).float(), pixels.take_along_dim(order[:, self.shown :, None], 1))

    def optimizer(self) -> Optimizer:
        return AdamW(self.parameters(), lr=1.5e-4, fused=True)


class DINO(Net):
    sizes = (SIZE, SIZE, *[LOCAL_SIZE] * LOCAL_CROPS)

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        hidden, narrow, outputs = DINO_HEAD.values()
        layers = [nn.Linear(encoder.num_features, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()]
        self.head = nn.Sequential(*layers, nn.Linear(hidden, narrow))
        self.last = nn.Parameter(torch.randn(outputs, narrow))
        self.teacher = copy.deepcopy(self).requires_grad_(False)
        self.register_buffer("center", torch.zeros(outputs))

    def outputs(self, features: Tensor) -> Tensor:
        return F.linear(F.normalize(self.head(features), dim=-1), F.normalize(self.last, dim=-1)).float()

    def forward(self, views: list[Tensor]) -> Tensor:
        large, small = torch.cat(views[:2]), torch.cat(views[2:])
        with torch.no_grad():
            given = self.teacher.outputs(self.teacher.encoder(large)).unflatten(0, (2, BATCH))
            targets = F.softmax((given - self.center) / 0.04, -1)
            self.center.lerp_(given.mean((0, 1)), 0.1)
        found = self.outputs(torch.cat([self.encoder(large), self.encoder(small)])).unflatten(0, (-1, BATCH))
        entropies = -torch.einsum("tbk,vbk->tv", targets, F.log_softmax(found / 0.1, -1)).float() / BATCH
        return entropies[~torch.eye(*entropies.shape, dtype=torch.bool)].mean()

    def optimizer(self) -> Optimizer:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return Adam(trained, lr=1e-3, fused=True)

    @torch.no_grad()
    def after_step(self) -> None:
        mine = dict(self.named_parameters())
        for name, parameter in self.teacher.named_parameters():
            parameter.lerp_(mine[name], 0.01)


def projector(width: int) -> nn.Sequential:
    """SimCLR's, of the same widths on all sides."""
    return nn.Sequential(
        nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True),
        nn.Linear(width, 128, bias=False), nn.BatchNorm1d(128),
    )  # fmt: skip


NETS: dict[str, type[Net]] = {"simclr": SimCLR, "rotation": Rotation, "mae": MAE, "dino": DINO}
