"""The methods that keep clusters, targets or teachers of a data set: small ones, and a batch and run for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from method_samples import batch_of, built
from sslzoo_plugins.context.deepcluster import DeepCluster, DeepClusterConfig
from sslzoo_plugins.context.dino import DINO, DINOConfig
from sslzoo_plugins.context.instance_discrimination import InstanceDiscrimination, InstanceDiscriminationConfig
from sslzoo_plugins.context.predict_noise import PredictNoise, PredictNoiseConfig
from sslzoo_plugins.context.swav import SwAV, SwAVConfig
from torch import Tensor, nn

from sslzoo.method import Batch, PretextMethod
from sslzoo.run import Progress

SMALL: dict[type[PretextMethod], Any] = {
    DeepCluster: DeepClusterConfig(clusters=3, pca_dim=4),
    PredictNoise: PredictNoiseConfig(target_dim=8),
    InstanceDiscrimination: InstanceDiscriminationConfig(projection_dim=8, noise_samples=6),
    SwAV: SwAVConfig(prototypes=5, projection_dim=8, queue_length=12, queue_start_epoch=1, local_crops=2),
    DINO: DINOConfig(outputs=12, hidden_dim=16, bottleneck_dim=8, local_crops=2),
}
SAMPLES = 20
STEPS_PER_EPOCH = 2


class FakeRun:
    """What hooks see of a run of two steps an epoch, over ``SAMPLES`` samples."""

    def __init__(self, step: int = 0) -> None:
        self.progress = Progress(step=step, steps_per_epoch=STEPS_PER_EPOCH, total_steps=8)
        self.num_samples = SAMPLES
        self.accelerator = SimpleNamespace(device=torch.device("cpu"), num_processes=1)
        self.forgotten: list[nn.Module] = []

    def features(self, encoder: nn.Module) -> Tensor:
        """Of pictures of noise, each of its own colour."""
        generator = torch.Generator().manual_seed(0)
        colors = 4 * torch.randn(SAMPLES, 3, 1, 1, generator=generator)
        encoder.eval()
        with torch.no_grad():
            features = encoder(colors + torch.randn(SAMPLES, 3, 32, 32, generator=generator))
        encoder.train()
        return features

    def forget(self, module: nn.Module) -> None:
        self.forgotten.append(module)


def started(method_type: type[PretextMethod], config: Any = None, encoder: str = "test_vit", step: int = 0) -> Any:
    """The method with fixed weights, at the start of the epoch of ``step``."""
    method = built(method_type, config or SMALL[method_type], encoder)
    run: Any = FakeRun(step)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method.on_start(run)
        method.on_epoch_start(run)
    return method.train()


def some_batch(method_type: type[PretextMethod], config: Any = None, count: int = 8) -> Batch:
    return batch_of(method_type, config or SMALL[method_type], count=count)


def end_step(method: PretextMethod, step: int = 3) -> FakeRun:
    """The hook after optimizer step ``step``, counted from 1: the fourth is in the second epoch."""
    run: Any = FakeRun(step)
    method.on_step_end(run)
    return run


def check_gradients_and_eval(method_type: type[PretextMethod]) -> None:
    """Every parameter that is trained gets a gradient, teachers get none, and ``eval()`` changes no state."""
    batch = some_batch(method_type)
    method = started(method_type)
    method(dict(batch))["loss"].backward()
    for name, parameter in method.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum())
        assert reached == parameter.requires_grad, name

    method = started(method_type, encoder="test_resnet").eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    one = {name: [view[:1] for view in value] if name == "views" else value[:1] for name, value in batch.items()}
    elsewhere = batch | {"index": batch["index"] + 10 * SAMPLES}  # held-out samples are another data set's
    with torch.no_grad():
        first, again, alone, far = (method(dict(some)) for some in (batch, batch, one, elsewhere))
    assert first.keys() == again.keys() and all(torch.equal(first[name], again[name]) for name in first)
    assert all(score.isfinite() and score.ndim == 0 for score in [*first.values(), *alone.values(), *far.values()])
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert not getattr(method, "newest", [])
