"""The methods that compare two views, small, with a batch for them and what all of them must keep."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from sslzoo_plugins.context.barlow_twins import BarlowTwins, BarlowTwinsConfig
from sslzoo_plugins.context.byol import BYOL, BYOLConfig
from sslzoo_plugins.context.moco_v2 import MoCoV2, MoCoV2Config
from sslzoo_plugins.context.simclr import SimCLR, SimCLRConfig
from sslzoo_plugins.context.simsiam import SimSiam, SimSiamConfig
from sslzoo_plugins.context.vicreg import VICReg, VICRegConfig

from sslzoo.encoders import create_encoder
from sslzoo.method import Batch, PretextMethod

SMALL: dict[type[PretextMethod], Any] = {
    SimCLR: SimCLRConfig(projection_dim=8),
    MoCoV2: MoCoV2Config(projection_dim=8, queue_length=20, group_size=2, teacher_momentum=0.9),
    BYOL: BYOLConfig(hidden_dim=16, projection_dim=8),
    SimSiam: SimSiamConfig(projection_dim=16, predictor_dim=4),
    BarlowTwins: BarlowTwinsConfig(projection_dim=16),
    VICReg: VICRegConfig(projection_dim=16),
}


def small(method_type: type[PretextMethod], encoder: str = "test_vit", config: Any = None) -> PretextMethod:
    """The method with fixed weights, in ``train()``."""
    torch.manual_seed(0)
    return method_type(create_encoder(encoder, 32), config or SMALL[method_type])


def some_batch(method_type: type[PretextMethod] = SimCLR, count: int = 8, size: int = 32) -> Batch:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)) for i in range(count)]
    samples = [{"image": picture, "index": i, "key": 1000 + i} for i, picture in enumerate(pictures)]
    spec = create_encoder("test_resnet", size).spec.input
    return method_type.views(SMALL[method_type], spec)(samples)


def end_step(method: PretextMethod, fraction: float = 0.25) -> None:
    """The hook after an optimizer's step, for methods that look at nothing but the share of training that is done."""
    run: Any = SimpleNamespace(progress=SimpleNamespace(fraction=fraction))
    method.on_step_end(run)


def check_gradients_and_eval(method_type: type[PretextMethod]) -> None:
    """Every parameter that is trained gets a gradient, teachers get none, and ``eval()`` changes no state."""
    batch = some_batch(method_type)
    method = small(method_type, "test_vit")
    method(batch)["loss"].backward()
    for name, parameter in method.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum())
        assert reached == parameter.requires_grad, name

    method = small(method_type, "test_resnet").eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    one = {name: [view[:1] for view in value] if name == "views" else value[:1] for name, value in batch.items()}
    with torch.no_grad():
        first, again, alone = method(batch), method(batch), method(one)
    assert first.keys() == again.keys() and all(torch.equal(first[name], again[name]) for name in first)
    assert all(score.isfinite() and score.ndim == 0 for score in [*first.values(), *alone.values()])
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
