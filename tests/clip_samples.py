"""Clips for the tests of methods, and what must hold for each method of clips."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from view_samples import draw_of

from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.method import Batch, PretextMethod, Sample, Views
from sslzoo.views.clips import cut, window_for

FRAMES = 4
"""Of the clips that video encoders take here."""


def counting_clip(frames: int, size: int = 16) -> Tensor:
    """A clip (T, 3, size, size) whose every frame is of one grey: 5 for the first, and 5 more for each next one."""
    grey = 5 * torch.arange(1, frames + 1)
    return grey.to(torch.uint8)[:, None, None, None].expand(-1, 3, size, size).clone()


def noisy_clip(frames: int, height: int, width: int, channels: int = 3, seed: int = 0) -> Tensor:
    """A coarse picture that fades into another, with noise of its own in each frame."""
    generator = torch.Generator().manual_seed(seed)
    first, last = F.interpolate(torch.rand(2, channels, 5, 5, generator=generator), (height, width)).unbind(0)
    share = torch.linspace(0, 1, frames)[:, None, None, None]
    noise = torch.rand(frames, channels, height, width, generator=generator)
    return ((first + share * (last - first)) * 200 + 55 * noise).to(torch.uint8)


def samples_of(count: int, channels: int = 3, frames: int = 16) -> list[Sample]:
    keys = draw_of(count).key.tolist()
    return [
        {"clip": noisy_clip(frames, 40 + i, 50, channels, seed=i), "index": i, "key": key} for i, key in enumerate(keys)
    ]


def spec_for(encoder: str, size: int = 32, channels: int = 3) -> InputSpec:
    return create_encoder(encoder, size, channels, frames=FRAMES).spec.input  # type: ignore[union-attr,return-value]


def batch_of(method: type[PretextMethod], config: Any, encoder: str = "test_resnet", count: int = 4) -> Batch:
    views = method.views(config, spec_for(encoder))
    return views(windows(views, samples_of(count)))


def windows(views: Views, samples: list[Sample]) -> list[Sample]:
    """The samples with the frames that the views ask for, as the data layer gives them."""
    assert views.sampling is not None
    return [cut(sample, window_for(views.sampling, sample["key"], len(sample["clip"]))) for sample in samples]


def built(method: type[PretextMethod], config: Any, encoder: str = "test_resnet") -> PretextMethod:
    """The method with fixed weights, in ``train()``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return method(create_encoder(encoder, 32, frames=FRAMES), config)


def without_gradient(method_type: type[PretextMethod], config: Any, encoder: str) -> list[str]:
    """Names of parameters that the loss does not move."""
    method = built(method_type, config, encoder)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):  # timm closes residual branches at first
            nn.init.ones_(module.weight)
    method(batch_of(method_type, config, encoder))["loss"].backward()
    return [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum()]


def changed_by_held_out_scores(
    method_type: type[PretextMethod], config: Any, encoder: str = "test_resnet"
) -> list[str]:
    """Names of the state that ``forward`` in ``eval()`` changes."""
    method = built(method_type, config, encoder).eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method(batch_of(method_type, config, encoder))
    return [name for name, value in method.state_dict().items() if not torch.equal(value, before[name])]


def check_views_depend_on_clip_and_key_alone(
    method: type[PretextMethod], config: Any, encoder: str = "test_resnet"
) -> None:
    """Not on index, batch-mates or global random numbers, which they leave alone."""
    views = method.views(config, spec_for(encoder))
    samples = windows(views, samples_of(4))
    state = torch.get_rng_state()
    together = views([dict(sample) for sample in samples])
    assert torch.equal(torch.get_rng_state(), state)
    alone = [views([sample | {"index": 9}]) for sample in reversed(samples)]
    for name in together.keys() - {"index"}:
        parts = [_tensor(batch[name]) for batch in reversed(alone)]
        torch.testing.assert_close(_tensor(together[name]), torch.cat(parts), msg=name)
    other = views([samples[0] | {"key": 5}])
    assert not torch.equal(_tensor(other["views"]), _tensor(together["views"])[:1])


def check_any_number_of_channels(method: type[PretextMethod], config: Any, encoder: str = "test_resnet") -> None:
    """Grey clips, and such with alpha, give a loss and pictures too."""
    for channels in (1, 4):
        views = method.views(config, spec_for(encoder, 32, channels))
        batch = views(windows(views, samples_of(3, channels)))
        made = method(create_encoder(encoder, 32, channels, frames=FRAMES), config).eval()
        with torch.no_grad():
            assert made(batch)["loss"].isfinite()
            assert all(shown.isfinite().all() for shown in made.illustrate(batch).values())


def _tensor(value: Tensor | list[Tensor]) -> Tensor:
    """Views with the batch first."""
    return torch.stack(value, dim=1) if isinstance(value, list) else value
