"""Two processes follow the gradient of one, for every loss that compares samples: real processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from sslzoo_plugins.context.moco_v2 import MoCoV2
from torch import Tensor, nn
from two_processes import average_gradients, on_two_processes, world
from two_view_methods import SMALL, end_step, small, some_batch

from sslzoo.method import Batch, PretextMethod
from sslzoo.nn.gather import gather, own_part


def own_share(batch: Batch) -> Batch:
    """This process's part of a batch."""
    return {
        name: [own_part(view) for view in value] if name == "views" else own_part(value)
        for name, value in batch.items()
    }


def one_step(method: PretextMethod, batch: Batch) -> dict[str, Any]:
    """The loss and its gradient, averaged over the processes, and what the method keeps after the step."""
    scores = method(own_share(batch))
    scores["loss"].backward()
    loss = gather(scores["loss"].detach()[None]).mean()
    end_step(method)
    kept = {name: buffer.clone() for name, buffer in method.named_buffers() if name.startswith("queue.")}
    return {"loss": loss, "gradients": average_gradients(method), "buffers": kept}


def steps() -> dict[str, Any]:
    """A step of each method, batch norm of its heads out of the way; of MoCo v2 also one with batch norm at work."""
    found: dict[str, Any] = {}
    for method_type in SMALL:
        method = small(method_type)
        for module in method.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        found[method_type.info.name] = one_step(method, some_batch(method_type))
    found["moco_v2 with batch norm"] = one_step(small(MoCoV2, "test_resnet"), some_batch(MoCoV2))
    return found | {"gather": rows_of_all()}


def rows_of_all() -> dict[str, Tensor]:
    """What gather gives, and the gradients that DDP would average for the two kinds of loss it is made for."""
    everyones = torch.arange(12.0).reshape(4, 3).cos()
    found = {"rows": gather(own_part(everyones)), "half": gather(own_part(everyones).bfloat16())}
    for kind in ("one loss of all rows", "a loss of its own rows against all"):
        weight = torch.tensor(1.5, requires_grad=True)
        own = (own_part(everyones) * weight).tanh()
        compared = gather(own) if kind == "one loss of all rows" else own
        (compared @ gather(own).T).exp().sum(1).log().mean().backward()
        assert weight.grad is not None
        total = weight.grad.clone()
        if world() > 1:
            dist.all_reduce(total)
        found[kind] = total / world()
    return found


@pytest.fixture(scope="module")
def one_and_two() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return steps(), on_two_processes(steps)


@pytest.mark.parametrize("name", [*(method.info.name for method in SMALL), "moco_v2 with batch norm"])
def test_two_processes_have_the_loss_the_gradient_and_the_queue_of_one(one_and_two: Any, name: str) -> None:
    alone, both = one_and_two
    assert alone[name]["gradients"] and max(float(g.abs().max()) for g in alone[name]["gradients"].values()) > 1e-4
    assert bool(alone[name]["buffers"]) == name.startswith("moco_v2")
    for process in both:
        torch.testing.assert_close(process[name], alone[name], rtol=1e-4, atol=1e-5)


def test_rows_come_in_the_order_of_the_processes(one_and_two: Any) -> None:
    alone, both = one_and_two
    expected = torch.arange(12.0).reshape(4, 3).cos()
    assert torch.equal(alone["gather"]["rows"], expected)
    for process in both:
        assert torch.equal(process["gather"]["rows"], expected)
        assert torch.equal(process["gather"]["half"], expected.bfloat16().float())


@pytest.mark.parametrize("kind", ["one loss of all rows", "a loss of its own rows against all"])
def test_the_averaged_gradient_is_that_of_one_process(one_and_two: Any, kind: str) -> None:
    alone, both = one_and_two
    assert abs(alone["gather"][kind]) > 0.01
    for process in both:
        torch.testing.assert_close(process["gather"][kind], alone["gather"][kind])
