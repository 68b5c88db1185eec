"""DINO is the paper's: a centred and sharpened teacher of the large views."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from clustering_methods import SMALL, FakeRun, check_gradients_and_eval, end_step, some_batch, started
from sslzoo_plugins.context.dino import DINO, Head, sharpened, warmed_up
from timm.layers import DropPath
from torch import nn

from sslzoo.encoders import create_encoder
from sslzoo.nn.multi_crop import encode_crops


def test_the_loss_is_algorithm_1_over_all_pairs_of_different_views() -> None:
    method, batch = started(DINO).eval(), some_batch(DINO)
    with torch.no_grad():
        method.center.copy_(torch.linspace(-1, 1, 12))
        for parameter in method.teacher.parameters():
            parameter.mul_(1.1)
        teacher = [method.teacher(view) for view in batch["views"][:2]]
        student = [method.head(encode_crops(method.encoder, [view])[:, 0]) for view in batch["views"]]
        by_hand = []
        for target, outputs in enumerate(teacher):
            t = torch.softmax((outputs - method.center) / 0.04, dim=1)
            for view, s in enumerate(student):
                if view != target:
                    by_hand.append(-(t * F.log_softmax(s / 0.1, dim=1)).sum(1).mean())
        assert len(by_hand) == 6
        torch.testing.assert_close(method(dict(batch))["loss"], torch.stack(by_hand).mean())


def test_centring_and_sharpening_a_case_solved_by_hand() -> None:
    outputs, center = torch.tensor([[0.3, 0.1]]), torch.tensor([0.2, 0.1])
    odds = math.exp(0.1 / 0.05)
    expected = torch.tensor([[odds, 1.0]]) / (odds + 1)
    torch.testing.assert_close(sharpened(outputs, center, torch.tensor(0.05)), expected)


def test_the_teacher_sees_large_views_only() -> None:
    method, batch = started(DINO, encoder="test_resnet"), some_batch(DINO)
    seen: list[tuple[int, ...]] = []
    method.teacher[0].register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    method(batch)
    assert seen == [(16, 3, 32, 32)]


def test_the_centre_follows_the_mean_output_of_the_teacher() -> None:
    method, batch = started(DINO), some_batch(DINO)
    with torch.no_grad():
        mean = torch.cat([method.teacher(view) for view in batch["views"][:2]]).mean(0)
    method.center.fill_(1.0)
    for _ in range(2):  # two micro-batches
        method(dict(batch))
    assert (method.center == 1).all()
    end_step(method)
    torch.testing.assert_close(method.center, 0.9 + 0.1 * mean)
    assert not method.newest


@pytest.mark.parametrize("step", [3, 5, 8])
def test_the_teachers_momentum_rises_from_0_996_to_1(step: int) -> None:
    method = started(DINO)
    method(some_batch(DINO))
    before = [p.clone() for p in method.teacher.parameters()]
    student = [*method.encoder.parameters(), *method.head.parameters()]
    assert all(torch.equal(p, q) for p, q in zip(before, student, strict=True))
    with torch.no_grad():
        for parameter in student:
            parameter.add_(1.0)
    end_step(method, step)
    moved = (1 - 0.996) * (math.cos(math.pi * step / 8) + 1) / 2
    for now, then in zip(method.teacher.parameters(), before, strict=True):
        torch.testing.assert_close(now, then + moved, rtol=0, atol=1e-6)


def test_the_last_layer_stands_still_in_the_first_epoch() -> None:
    method, batch = started(DINO), some_batch(DINO)
    at_first = method.head.last.weight.detach().clone()
    for step in (1, 2, 3):
        method(dict(batch))
        with torch.no_grad():
            for parameter in method.head.parameters():
                parameter.add_(1.0)  # the optimizer
        run = end_step(method, step)
        assert torch.equal(method.head.last.weight, at_first) == (step < 3)
        assert (run.forgotten == [method.head.last]) == (step < 3)


def test_the_teachers_temperature_warms_up_by_epoch() -> None:
    temperatures = [warmed_up(0.04, 0.07, 4, epoch) for epoch in range(6)]
    assert temperatures == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07, 0.07])
    assert warmed_up(0.04, 0.07, 0, 0) == warmed_up(0.04, 0.07, 1, 0) == 0.07
    method = started(DINO, replace(SMALL[DINO], teacher_warmup_epochs=4))
    assert float(method.teacher_temperature) == pytest.approx(0.04)
    method.on_epoch_start(FakeRun(step=4))
    assert float(method.teacher_temperature) == pytest.approx(0.06)


def test_outputs_are_cosines_with_directions() -> None:
    head = Head(6, SMALL[DINO])
    features = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    expected = F.cosine_similarity(head.layers(features)[:, None], head.last.weight[None], dim=-1)
    torch.testing.assert_close(head(features), expected)


def test_the_teacher_drops_nothing_and_normalises_by_batch_statistics() -> None:
    vit = DINO(create_encoder("test_vit", 32, args=["drop_path_rate=0.5", "proj_drop_rate=0.5"]), SMALL[DINO]).train()
    drops = (DropPath, nn.Dropout)
    assert {m.training for m in vit.encoder.modules() if isinstance(m, drops)} == {True}
    assert {m.training for m in vit.teacher.modules()} == {False}
    resnet = started(DINO, encoder="test_resnet")
    assert {m.training for m in resnet.teacher.modules() if isinstance(m, nn.BatchNorm2d)} == {True}
    assert not any(m.training for m in resnet.eval().modules())


def test_the_teachers_encoder_is_published() -> None:
    method = started(DINO)
    assert method.trained_encoder() is method.teacher[0]
    assert not any(parameter.requires_grad for parameter in method.trained_encoder().parameters())


def test_gradients_and_eval() -> None:
    check_gradients_and_eval(DINO)


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = DINO.defaults, DINO.Config()
    assert (recipe.optimizer, recipe.lr, recipe.base_batch_size, recipe.schedule) == ("adamw", 5e-4, 256, "cosine")
    assert (recipe.batch_size, recipe.epochs, recipe.warmup_epochs) == (1024, 800, 10)
    assert (config.outputs, config.hidden_dim, config.bottleneck_dim, config.local_crops) == (65536, 2048, 256, 10)
    assert (config.student_temperature, config.first_teacher_temperature, config.teacher_temperature) == (
        0.1,
        0.04,
        0.07,
    )
    assert (config.teacher_warmup_epochs, config.teacher_momentum, config.center_momentum) == (30, 0.996, 0.9)
    create_encoder(recipe.encoder, 32, args=recipe.encoder_args)


def test_constant_weight_decay_takes_as_much_as_the_papers() -> None:
    steps = [(step + 0.5) / 1000 for step in range(1000)]
    rates = [(1 + math.cos(math.pi * share)) / 2 for share in steps]
    decays = [0.4 + (0.04 - 0.4) * (1 + math.cos(math.pi * share)) / 2 for share in steps]
    theirs = sum(rate * decay for rate, decay in zip(rates, decays, strict=True))
    assert DINO.defaults.weight_decay * sum(rates) == pytest.approx(theirs, rel=1e-3)
