"""Samples for the tests of methods, and what must hold for each of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from view_samples import picture

from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.method import Batch, PretextMethod, Sample


def samples_of(count: int) -> list[Sample]:
    return [{"image": picture(40 + i, 50, seed=i), "index": i, "key": 1000 + 7 * i} for i in range(count)]


def batch_of(method: type[PretextMethod], config: Any, size: int = 32, count: int = 4) -> Batch:
    return method.views(config, InputSpec.square(size))(samples_of(count))


def built(method: type[PretextMethod], config: Any, encoder: str = "test_resnet", size: int = 32) -> PretextMethod:
    """The method with fixed weights, in ``train()``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return method(create_encoder(encoder, size), config)


def without_gradient(method_type: type[PretextMethod], config: Any, encoder: str) -> list[str]:
    """Names of parameters that the loss does not move."""
    method = built(method_type, config, encoder)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm closes residual branches at first, by a weight of zero
            nn.init.ones_(module.weight)
    method(batch_of(method_type, config))["loss"].backward()
    return [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum()]


def changed_by_held_out_scores(method_type: type[PretextMethod], config: Any) -> list[str]:
    """Names of the state that ``forward`` in ``eval()`` changes."""
    method = built(method_type, config).eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method(batch_of(method_type, config))
    return [name for name, value in method.state_dict().items() if not torch.equal(value, before[name])]


def check_views_depend_on_picture_and_key_alone(method: type[PretextMethod], config: Any, size: int = 32) -> None:
    """Not on index, batch-mates or global random numbers, which they leave alone."""
    views, samples = method.views(config, InputSpec.square(size)), samples_of(6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        together = views(samples)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        alone = [views([sample | {"index": 9}]) for sample in reversed(samples)]
    for name in together.keys() - {"index"}:
        parts = [_tensor(batch[name]) for batch in reversed(alone)]
        assert torch.equal(_tensor(together[name]), torch.cat(parts)), name
    other = views([samples[0] | {"key": 5}])
    assert not torch.equal(_tensor(other["views"]), _tensor(together["views"])[:1])


def check_any_number_of_channels(method: type[PretextMethod], config: Any) -> None:
    """Grey pictures, and such with alpha, give a loss and pictures too."""
    for mode, channels in (("L", 1), ("RGBA", 4)):
        samples = [{"image": picture(40, 50, mode, seed=i), "index": i, "key": i} for i in range(3)]
        batch = method.views(config, InputSpec.square(32, channels))(samples)
        made = method(create_encoder("test_resnet", 32, channels), config).eval()
        with torch.no_grad():
            assert made(batch)["loss"].isfinite()
            assert all(shown.isfinite().all() for shown in made.illustrate(batch).values())


def _tensor(value: Tensor | list[Tensor]) -> Tensor:
    """Views with the batch first."""
    return torch.stack(value, dim=1) if isinstance(value, list) else value
