"""Parameter groups and learning rates."""

from __future__ import annotations

import pytest
import torch
from sslzoo_plugins.context.rotation import Rotation, RotationConfig

from sslzoo.config import PretrainConfig, UsageError
from sslzoo.encoders import create_encoder
from sslzoo.optimizers import build_optimizer, parameter_groups, peak_rate, set_rate


def rotation(encoder: str = "test_vit") -> Rotation:
    return Rotation(create_encoder(encoder, 32), RotationConfig())


def test_norms_biases_and_what_timm_names_are_spared_from_decay() -> None:
    method = rotation()
    groups = parameter_groups(method, 0.05, {})
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in method.named_parameters():
        spared = parameter.ndim == 1 or name in ("encoder.cls_token", "encoder.pos_embed")
        assert (id(parameter) not in decayed) == spared, name
    assert sum(len(group["params"]) for group in groups) == len(list(method.parameters()))


def test_learning_rates_are_scaled_by_the_prefix_of_a_name() -> None:
    method = rotation()
    optimizer = torch.optim.SGD(parameter_groups(method, 0.05, {"head.": 10.0}), lr=1.0)
    set_rate(optimizer, 0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in method.named_parameters():
        assert rates[id(parameter)] == (5.0 if name.startswith("head.") else 0.5), name


def test_the_peak_rate_is_as_given_or_scaled_with_the_batch() -> None:
    assert peak_rate(PretrainConfig(lr=0.3, batch_size=512)) == 0.3
    assert peak_rate(PretrainConfig(lr=0.3, batch_size=512, base_batch_size=256)) == pytest.approx(0.6)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars", "lamb"])
def test_timm_optimizers_take_the_groups(name: str) -> None:
    method = rotation("test_resnet")
    optimizer = build_optimizer(method, PretrainConfig(optimizer=name, lr=0.1, weight_decay=0.01))
    before = [parameter.clone() for parameter in method.parameters()]
    method({"views": [torch.randn(2, 3, 32, 32) for _ in range(4)]})["loss"].backward()
    optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, method.parameters(), strict=True))
    assert sorted({group["weight_decay"] for group in optimizer.param_groups}) == [0.0, 0.01]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("adam", (0.5, 0.999)), ("adamw", (0.5, 0.999)), ("lion", (0.5, 0.99)), ("lamb", (0.5, 0.999))],
)
def test_momentum_is_the_first_beta_of_optimizers_that_have_betas(name: str, expected: tuple[float, float]) -> None:
    optimizer = build_optimizer(rotation("test_resnet"), PretrainConfig(optimizer=name, momentum=0.5))
    assert [group["betas"] for group in optimizer.param_groups] == [expected] * len(optimizer.param_groups)


def test_the_first_step_of_adam_moves_its_mean_by_what_momentum_leaves() -> None:
    method = rotation("test_resnet")
    optimizer = build_optimizer(method, PretrainConfig(optimizer="adam", momentum=0.25, weight_decay=0.0))
    method({"views": [torch.randn(2, 3, 32, 32) for _ in range(4)]})["loss"].backward()
    optimizer.step()
    for parameter in method.head.parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(optimizer.state[parameter]["exp_avg"], 0.75 * parameter.grad)


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "muon"])
def test_momentum_is_itself_where_an_optimizer_has_it(name: str) -> None:
    optimizer = build_optimizer(rotation("test_resnet"), PretrainConfig(optimizer=name, momentum=0.5))
    assert {group["momentum"] for group in optimizer.param_groups} == {0.5}


def test_an_unknown_optimizer_says_what_there_is() -> None:
    with pytest.raises(UsageError, match="timm has no optimizer 'adamq'; .*adamw"):
        build_optimizer(rotation(), PretrainConfig(optimizer="adamq"))
