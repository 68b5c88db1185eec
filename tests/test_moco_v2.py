"""MoCo v2 is the paper's: keys of a slow teacher, negatives from a queue, and no way to tell a key by its batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sslzoo_plugins.context.moco_v2 import MoCoV2, info_nce
from torch import Tensor, nn
from two_view_methods import SMALL, check_gradients_and_eval, end_step, small, some_batch

from sslzoo.nn.queue import Queue


def unit(count: int, dim: int = 5, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def numbered(*numbers: int) -> Tensor:
    """A row per number, of that number."""
    return torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, 2)


def contents(queue: Queue) -> list[int]:
    return sorted(queue.rows[:, 0].int().tolist())


def test_the_loss_is_infonce_over_the_own_key_and_the_negatives() -> None:
    queries, keys, negatives = unit(4, seed=0), unit(4, seed=1), unit(7, seed=2)
    by_hand, right = 0.0, 0
    for q, k in zip(queries.numpy().astype(float), keys.numpy().astype(float), strict=True):
        positive, others = np.exp(q @ k / 0.2), np.exp(negatives.numpy().astype(float) @ q / 0.2)
        by_hand -= np.log(positive / (positive + others.sum())) / 4
        right += positive > others.max()
    loss, accuracy = info_nce(queries, keys, negatives, 0.2)
    assert float(loss) == pytest.approx(by_hand, rel=1e-5)
    assert float(accuracy) == right / 4


def test_the_loss_is_lightlys() -> None:
    loss = pytest.importorskip("lightly.loss", reason="lightly is not installed")
    queries, keys = unit(4, seed=0), unit(4, seed=1)
    theirs = loss.NTXentLoss(temperature=0.2, memory_bank_size=(7, 5))
    expected = theirs(queries, keys)  # queries that take no gradient leave the bank as it was at first
    ours, _ = info_nce(queries, keys, theirs.memory_bank.bank, 0.2)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_a_queue_begins_with_random_directions_and_forgets_its_oldest_rows_first() -> None:
    queue = Queue(4, 2)
    torch.testing.assert_close(queue.rows.norm(dim=1), torch.ones(4))
    queue.put(numbered(1, 2, 3, 4))
    queue.put(numbered(5, 6, 7))
    assert contents(queue) == [4, 5, 6, 7]
    queue.put(numbered(8, 9))  # over the end
    assert contents(queue) == [6, 7, 8, 9]
    queue.put(numbered(*range(10, 17)))  # more than it holds
    assert contents(queue) == [13, 14, 15, 16]
    queue.put(numbered(17))
    assert contents(queue) == [14, 15, 16, 17]


def test_a_queue_goes_on_from_its_saved_state() -> None:
    one, other = Queue(4, 2), Queue(4, 2)
    one.put(numbered(1, 2, 3, 4, 5, 6))
    other.load_state_dict(one.state_dict())
    for queue in (one, other):
        queue.put(numbered(7))
    assert torch.equal(one.rows, other.rows)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_negatives_are_older_than_the_step_and_its_keys_join_when_it_ends(encoder: str) -> None:
    method, batch = small(MoCoV2, encoder), some_batch(MoCoV2)
    at_first = method.queue.rows.clone()
    for _ in range(2):  # two micro-batches
        method(batch)["loss"].backward()
        assert torch.equal(method.queue.rows, at_first)
    expected = torch.cat(method.newest)
    assert len(expected) == 16
    end_step(method)
    assert torch.equal(method.queue.rows[:16], expected) and torch.equal(method.queue.rows[16:], at_first[16:])
    torch.testing.assert_close(expected.norm(dim=1), torch.ones(16))
    end_step(method)
    assert method.queue.oldest == 16


def test_the_teacher_starts_as_the_student_and_follows_it_slowly() -> None:
    method = small(MoCoV2)
    before = [p.clone() for p in method.teacher.parameters()]
    student = [*method.encoder.parameters(), *method.projector.parameters()]
    assert all(torch.equal(p, q) for p, q in zip(before, student, strict=True))
    with torch.no_grad():
        for parameter in student:
            parameter.add_(1.0)
    end_step(method)
    for now, then in zip(method.teacher.parameters(), before, strict=True):
        torch.testing.assert_close(now, then + 0.1)


class BatchMean(nn.Module):
    """An encoder whose feature is the mean of the group it was computed in, as batch norm's would tell of it."""

    num_features = 1

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)  # makes it an encoder with batch norm
        self.seen: list[list[int]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(sorted(images[:, 0, 0, 0].int().tolist()))
        return images[:, 0, 0, :1]


def test_keys_are_normalised_in_other_groups_than_queries_and_come_back_in_their_order() -> None:
    torch.manual_seed(0)
    method = MoCoV2(BatchMean(), replace(SMALL[MoCoV2], group_size=4))
    method.projector, method.teacher = nn.Identity(), BatchMean()
    images = torch.arange(16.0)[:, None, None, None].expand(16, 3, 2, 2)
    query = method.in_groups(method.encoder, images)
    keys = method.keys(images, torch.arange(16))
    assert torch.equal(query[:, 0], torch.arange(16.0))
    assert method.encoder.seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
    groups = method.teacher.seen
    assert sorted(sum(groups, [])) == list(range(16)) and all(len(group) == 4 for group in groups)
    assert all(group not in method.encoder.seen for group in groups)
    assert torch.equal(keys, F.normalize(images[:, 0, 0, :1], dim=1))  # in the order of the images
    method.keys(images, torch.arange(16) + 100)
    assert method.teacher.seen[4:] != groups  # another batch, another order


def test_shuffled_groups_give_each_image_its_own_key() -> None:
    method, batch = small(MoCoV2, "test_resnet"), some_batch(MoCoV2)
    for module in method.teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # without batch statistics, groups and order must make no difference
    keys = method.keys(batch["views"][1], batch["key"])
    with torch.no_grad():
        expected = F.normalize(method.teacher(batch["views"][1]), dim=1)
    torch.testing.assert_close(keys, expected)


def test_gradients_and_eval() -> None:
    check_gradients_and_eval(MoCoV2)
    assert not small(MoCoV2).eval().newest


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = MoCoV2.defaults, MoCoV2.Config()
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("momentum", 0.03, 0.9, 1e-4)
    assert (recipe.batch_size, recipe.epochs, recipe.schedule, recipe.warmup_epochs) == (256, 200, "cosine", 0)
    assert not recipe.sync_batch_norm
    assert (config.temperature, config.queue_length, config.teacher_momentum) == (0.2, 65536, 0.999)
    assert recipe.batch_size / config.group_size == 8  # the authors' GPUs
