"""Two processes follow the gradient of one and keep what it keeps, for methods that cluster: real processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from clustering_methods import SMALL, end_step, some_batch, started
from test_gather import own_share
from torch import nn
from two_processes import average_gradients, on_two_processes

from sslzoo.nn.gather import gather


def steps() -> dict[str, Any]:
    """A step in the second epoch of each method, batch norm of its heads out of the way."""
    found = {}
    for method_type in SMALL:
        method = started(method_type, step=2 if method_type.info.name != "predict_noise" else 0)
        for module in method.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        before = {name: buffer.clone() for name, buffer in method.named_buffers()}
        scores = method(own_share(some_batch(method_type)))
        scores["loss"].backward()
        loss = gather(scores["loss"].detach()[None]).mean()
        end_step(method)
        kept = {name: buffer.clone() for name, buffer in method.named_buffers()}
        changed = {name for name in kept if not torch.equal(kept[name], before[name])}
        gradients = average_gradients(method)
        found[method_type.info.name] = {"loss": loss, "gradients": gradients, "buffers": kept, "changed": changed}
    return found


CHANGED = {
    "deepcluster": set(),
    "predict_noise": {"owned"},
    "instance_discrimination": {"memory.rows", "log_z"},
    "swav": {"queue.rows", "queue.oldest"},
    "dino": {"center"},
}


@pytest.fixture(scope="module")
def one_and_two() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return steps(), on_two_processes(steps)


@pytest.mark.parametrize("name", CHANGED)
def test_two_processes_have_the_loss_the_gradient_and_the_buffers_of_one(one_and_two: Any, name: str) -> None:
    alone, both = one_and_two
    assert max(float(g.abs().max()) for g in alone[name]["gradients"].values()) > 1e-4
    assert alone[name]["changed"] == CHANGED[name]
    for process in both:
        assert process[name].pop("changed") == CHANGED[name]
        expected = {part: value for part, value in alone[name].items() if part != "changed"}
        torch.testing.assert_close(process[name], expected, rtol=1e-3, atol=1e-5)
    first, second = (process[name]["buffers"] for process in both)
    assert all(torch.equal(first[buffer], second[buffer]) for buffer in first)
