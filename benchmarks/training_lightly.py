"""Lightly's sides of ``training.py``: the loops of its examples for PyTorch.

Its transform, head, loss and momentum update, ``LightlyDataset``, and a ``DataLoader`` with two workers, in fp32 as in
its examples, or with bf16 autocast and channels last, which they do not have. Its transforms cut views with a bilinear
filter for SimCLR, where sslzoo's are bicubic, which costs more. Its MAE counts the class token among those of which a
quarter is seen: 15 patches of 64 instead of our 16.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightly.data import LightlyDataset
from lightly.loss import DINOLoss, NTXentLoss
from lightly.models import utils
from lightly.models.modules import DINOProjectionHead
from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
from lightly.models.modules.masked_vision_transformer_timm import MaskedVisionTransformerTIMM
from lightly.transforms import DINOTransform, MAETransform, SimCLRTransform
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.utils.data import ConcatDataset, DataLoader
from training_bare import projector
from training_cases import BATCH, DECODER, DINO_HEAD, LOCAL_CROPS, LOCAL_SIZE, MASKED, SIZE, Turn

from sslzoo.machine import best_precision


def lightly(turn: Turn, fast: bool = False) -> dict[str, float]:
    """Samples per second; ``fast`` is in sslzoo's precision and memory layout."""
    transform, net_type = METHODS[turn.case.method]
    net = net_type(turn.case.build_encoder())
    if fast:
        net.to(memory_format=torch.channels_last)
    dataset = LightlyDataset(str(turn.photographs), transform=transform())
    # One long epoch, with some to spare: the workers neither start anew nor run out of work while time counts.
    repeated = ConcatDataset([dataset] * (turn.case.epochs + 1))
    loader = DataLoader(repeated, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=2)
    return {"samples_per_second": turn.timed(_steps(net, loader, fast))}


def lightly_bf16(turn: Turn) -> dict[str, float]:
    """The same at sslzoo's precision."""
    return lightly(turn, fast=True)


def _steps(net: Net, loader: Any, fast: bool) -> Iterator[None]:
    optimizer = net.optimizer()
    autocast = fast and best_precision(torch.device("cpu")) == "bf16"
    for views, *_ in loader:
        if fast:
            views = [view.to(memory_format=torch.channels_last) for view in views]
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = net(views)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        net.after_step()
        yield


class Net(nn.Module):
    """A method of lightly's, from its views to its loss."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def optimizer(self) -> Optimizer:
        return SGD(self.parameters(), lr=0.06)

    def after_step(self) -> None:
        pass


class SimCLR(Net):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        self.head, self.criterion = projector(encoder.num_features), NTXentLoss()

    def forward(self, views: list[Tensor]) -> Tensor:
        first, second = (self.head(self.encoder(view)).float() for view in views)
        return self.criterion(first, second)


class MAE(Net):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        dim, depth, heads = DECODER.values()
        self.patch = encoder.patch_embed.patch_size[0]
        self.backbone = MaskedVisionTransformerTIMM(vit=encoder)
        self.embed = nn.Linear(encoder.num_features, dim)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            num_patches=encoder.patch_embed.num_patches, embed_dim=dim, depth=depth, num_heads=heads
        )
        self.predict = nn.Linear(dim, 3 * self.patch**2)
        self.criterion = nn.MSELoss()

    def forward(self, views: list[Tensor]) -> Tensor:
        images, length = views[0], self.backbone.sequence_length
        keep, mask = utils.random_token_mask(size=(len(images), length), mask_ratio=MASKED, device=images.device)
        seen = self.embed(self.backbone.encode(images=images, idx_keep=keep))
        tokens = utils.repeat_token(self.decoder.mask_token, (len(images), length))
        tokens = utils.set_at_index(tokens, keep, seen.type_as(tokens))
        predicted = self.predict(utils.get_at_index(self.decoder(tokens), mask))
        pixels = utils.get_at_index(utils.patchify(images, self.patch), mask - 1)
        return self.criterion(predicted.float(), pixels)

    def optimizer(self) -> Optimizer:
        return AdamW(self.parameters(), lr=1.5e-4)


class DINO(Net):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        self.head = DINOProjectionHead(encoder.num_features, **DINO_HEAD)
        self.teacher = copy.deepcopy(encoder)
        self.teacher_head = DINOProjectionHead(encoder.num_features, **DINO_HEAD)
        utils.deactivate_requires_grad(self.teacher)
        utils.deactivate_requires_grad(self.teacher_head)
        self.criterion = DINOLoss(output_dim=DINO_HEAD["output_dim"])

    def forward(self, views: list[Tensor]) -> Tensor:
        with torch.no_grad():
            targets = [self.teacher_head(self.teacher(view)).float() for view in views[:2]]
        return self.criterion(targets, [self.head(self.encoder(view)).float() for view in views], epoch=0)

    def optimizer(self) -> Optimizer:
        return Adam(self.parameters(), lr=1e-3)

    def after_step(self) -> None:
        utils.update_momentum(self.encoder, self.teacher, m=0.99)
        utils.update_momentum(self.head, self.teacher_head, m=0.99)


def _crops() -> DINOTransform:
    return DINOTransform(global_crop_size=SIZE, local_crop_size=LOCAL_SIZE, n_local_views=LOCAL_CROPS)


METHODS: dict[str, tuple[Callable[[], Any], type[Net]]] = {
    "simclr": (lambda: SimCLRTransform(input_size=SIZE), SimCLR),
    "mae": (lambda: MAETransform(input_size=SIZE), MAE),
    "dino": (_crops, DINO),
}
