"""Clips with what is known of each pixel, made up: of a relief that a moving camera sees, on which a square moves."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from clip_samples import noisy_clip
from torch import Tensor, nn
from view_samples import draw_of, picture

from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.method import Batch, PretextMethod, Sample

SIDE, SQUARE = 48, (slice(10, 26), slice(20, 34))
"""Of frames, and the rows and columns of what moves."""
TURN = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.02, 0.03], [0.02, 0.0, -0.01], [-0.03, 0.01, 0.0]]))
SHIFT = torch.tensor([0.08, -0.05, 0.1])


def relief(seed: int = 0) -> Tensor:
    """(H, W): depths from 2 to 5."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, 6, 6, generator=generator)
    return 2 + 3 * F.interpolate(coarse, (SIDE, SIDE), mode="bicubic")[0, 0].clamp(0, 1)


def camera_flow(depth: Tensor, turn: Tensor = TURN, shift: Tensor = SHIFT) -> Tensor:
    """(2, H, W): how a camera with a focal length of SIDE moves the picture of what stands still."""
    middle = torch.arange(SIDE) + 0.5
    x, y = torch.meshgrid(middle, middle, indexing="xy")
    rays = torch.stack([(x - SIDE / 2) / SIDE, (y - SIDE / 2) / SIDE, torch.ones_like(x)])
    after = torch.einsum("ij,jhw->ihw", turn, rays * depth) + shift[:, None, None]
    return SIDE * after[:2] / after[2] + SIDE / 2 - torch.stack([x, y])


def dense_sample(index: int, key: int, channels: int = 3, image: bool = False) -> Sample:
    depth = relief(index)
    flow = camera_flow(depth)
    flow[:, *SQUARE] += torch.tensor([2.0, 1.5])[:, None, None]
    contours = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    contours[:, 10:26, 20] = contours[:, 10, 20:34] = True
    depth[:5] = torch.inf
    normals = F.normalize(torch.stack([depth.sin(), depth.cos(), -torch.ones_like(depth)]), dim=0).nan_to_num(0)
    normals[:, :5] = 0
    sample: Sample = {
        "clip": noisy_clip(2, SIDE, SIDE, channels, seed=index),
        "depth": depth.expand(2, 1, -1, -1).clone(),
        "normals": normals.expand(2, -1, -1, -1).clone(),
        "contours": contours.expand(2, -1, -1, -1).clone(),
        "flow": torch.stack([flow, torch.full_like(flow, torch.nan)]),
        "index": index,
        "key": key,
    }
    if image:
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        sample["image"] = picture(40 + index, 50, mode, seed=index)
    return sample


def dense_samples(count: int, channels: int = 3, image: bool = False) -> list[Sample]:
    keys = draw_of(count).key.tolist()
    return [dense_sample(index, key, channels, image) for index, key in enumerate(keys)]


def batch_of(method: type[PretextMethod], config: Any, image: bool = False, channels: int = 3) -> Batch:
    return method.views(config, InputSpec.square(32, channels))(dense_samples(4, channels, image))


def built(method: type[PretextMethod], config: Any, encoder: str = "test_resnet", channels: int = 3) -> PretextMethod:
    """The method with fixed weights, in ``train()``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return method(create_encoder(encoder, 32, channels), config)


def check_views_depend_on_sample_and_key_alone(method: type[PretextMethod], config: Any, image: bool = False) -> None:
    """Not on index, batch-mates or global random numbers, which they leave alone."""
    views, samples = method.views(config, InputSpec.square(32)), dense_samples(3, image=image)
    state = torch.get_rng_state()
    together = views(samples)
    assert torch.equal(torch.get_rng_state(), state)
    alone = [views([sample | {"index": 9}]) for sample in samples]
    for name in together.keys() - {"index", "views"}:
        assert torch.equal(together[name], torch.cat([batch[name] for batch in alone])), name
    for number, view in enumerate(together["views"]):
        assert torch.equal(view, torch.cat([batch["views"][number] for batch in alone]))
    other = views([samples[0] | {"key": 5}])
    assert not torch.equal(other["views"][0], together["views"][0][:1])


def without_gradient(method: PretextMethod, batch: Batch) -> list[str]:
    """Names of parameters that the loss does not move."""
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm closes residual branches at first, by a weight of zero
            nn.init.ones_(module.weight)
    method(batch)["loss"].backward()
    return [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum()]


def changed_by_held_out_scores(method: PretextMethod, batch: Batch) -> list[str]:
    """Names of the state that ``forward`` in ``eval()`` changes."""
    before = {name: value.clone() for name, value in method.eval().state_dict().items()}
    method(batch)
    return [name for name, value in method.state_dict().items() if not torch.equal(value, before[name])]
