"""Timm's optimizers over a method's parameters, in groups."""

from __future__ import annotations

from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers
from torch import nn
from torch.optim import Optimizer

from sslzoo.config import PretrainConfig, UsageError
from sslzoo.method import PretextMethod
from sslzoo.nn.schedules import rate_factor


def peak_rate(config: PretrainConfig) -> float:
    """The learning rate at its height: as given, or scaled linearly with the batch (Goyal et al., 2017)."""
    return config.lr * (config.batch_size / config.base_batch_size if config.base_batch_size else 1.0)


def rate_at(config: PretrainConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of ``step`` (from 0): the peak's share by warm-up and schedule."""
    factor = rate_factor(
        step,
        config.epochs * steps_per_epoch,
        warmup_steps=config.warmup_epochs * steps_per_epoch,
        schedule=config.schedule,
        milestones=config.milestones,
    )
    return peak_rate(config) * factor


def build_optimizer(method: PretextMethod, config: PretrainConfig) -> Optimizer:
    """An optimizer whose groups spare norms and biases from decay, and carry the method's ``lr_scales``.

    Raises:
        UsageError: for an optimizer timm does not have.
    """
    known = [str(name) for name in list_optimizers()]
    if config.optimizer not in known:
        raise UsageError(f"timm has no optimizer {config.optimizer!r}; there are: {', '.join(known)}")
    groups = parameter_groups(method, config.weight_decay, method.lr_scales())
    # Timm's "sgd" is Nesterov's, which wants momentum; without any, both are plain gradient descent.
    name = "momentum" if config.optimizer == "sgd" and not config.momentum else config.optimizer
    optimizer = create_optimizer_v2(groups, opt=name, lr=peak_rate(config), momentum=config.momentum)
    if not get_optimizer_info(name).has_momentum:  # timm gives momentum to no other
        for group in optimizer.param_groups:
            if group.get("betas") is not None:
                group["betas"] = (config.momentum, *group["betas"][1:])
    return optimizer


def parameter_groups(module: nn.Module, weight_decay: float, lr_scales: dict[str, float]) -> list[dict]:
    """One group per (decayed or not, learning-rate scale). One-dimensional parameters are norms and biases."""
    spared = _spared_by_timm(module)
    groups: dict[tuple[bool, float], dict] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = parameter.ndim > 1 and name not in spared
        scale = next((scale for prefix, scale in lr_scales.items() if name.startswith(prefix)), 1.0)
        group = groups.setdefault(
            (decayed, scale), {"params": [], "weight_decay": weight_decay if decayed else 0.0, "lr_scale": scale}
        )
        group["params"].append(parameter)
    return list(groups.values())


def _spared_by_timm(module: nn.Module) -> set[str]:
    """Names that timm models ask not to decay: position embeddings, class tokens."""
    spared: set[str] = set()
    for prefix, part in module.named_modules():
        ask = getattr(part, "no_weight_decay", None)
        if callable(ask):
            spared |= {f"{prefix}.{name}" if prefix else name for name in ask()}
    return spared


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set every group's learning rate, scaled as its parameters want it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
