"""Loaders: the same batches for any number of workers and processes, from any step; and what cannot be read."""

from __future__ import annotations

import logging
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import Noisy, encoded, number_of, picture, write_folder
from PIL import Image

from sslzoo.config import UsageError, UserError
from sslzoo.data.loader import Loader, eval_loader, train_loader
from sslzoo.data.open import open_source
from sslzoo.data.order import KeyedOrder
from sslzoo.data.samples import Samples
from sslzoo.data.source import Source
from sslzoo.data.tally import UnreadableTally
from sslzoo.encoders import InputSpec
from sslzoo.views import Batch, Draw, Sample, Views


def folder(root: Path, count: int, broken: tuple[int, ...] = ()) -> Source:
    write_folder(root, [f"{number:04}.png" for number in range(count)])
    for number in broken:
        (root / f"{number:04}.png").write_bytes(b"garbage")
    return open_source(f"folder:{root}")


def loader_of(source: Source, workers: int = 0, views: Views | None = None, **order: int) -> Loader:
    order = {"batch_size": 8, "seed": 3, **order}
    return train_loader(
        source,
        views or Noisy(),
        channels=3,
        sampler=KeyedOrder(len(source), **order),
        workers=workers,
        augment_in_workers=True,
    )


def equal(batches: list[Batch], others: list[Batch]) -> bool:
    return len(batches) == len(others) and all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(batches, others, strict=True)
    )


# The order


def references(**settings: int) -> list[tuple[int, int]]:
    return [reference for batch in KeyedOrder(100, 20, **settings) for reference in batch]


def test_an_epoch_is_every_sample_once_in_an_order_of_its_own() -> None:
    order = KeyedOrder(100, 20, seed=1)
    first = [index for batch in order for index, _ in batch]
    order.set_epoch(1)
    second = [index for batch in order for index, _ in batch]
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert references(seed=1) == references(seed=1) != references(seed=2)


def test_keys_belong_to_seed_epoch_and_sample() -> None:
    root = Draw.root(5).at("sample", 0)
    assert all(key == int(root.of(torch.tensor([index])).key) for index, key in references(seed=5))
    keys = {key for epoch in range(3) for _, key in _epoch(epoch)}
    assert len(keys) == 300


def _epoch(epoch: int) -> list[tuple[int, int]]:
    order = KeyedOrder(100, 20)
    order.set_epoch(epoch)
    return [reference for batch in order for reference in batch]


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 4), (2, 2), (5, 2)])
def test_processes_and_micro_batches_share_out_the_same_steps(world: int, accumulate: int) -> None:
    whole = list(KeyedOrder(107, 20, seed=1))
    ranks = [list(KeyedOrder(107, 20, seed=1, accumulate=accumulate, rank=r, world=world)) for r in range(world)]
    assert {len(batches) for batches in ranks} == {5 * accumulate}
    for step in range(5):
        parts = [ranks[rank][step * accumulate + part] for part in range(accumulate) for rank in range(world)]
        assert sum(parts, []) == whole[step]


def test_what_does_not_fill_a_batch_waits_for_another_epoch() -> None:
    order = KeyedOrder(107, 20)
    assert (order.steps_per_epoch, len(order), len(list(order))) == (5, 5, 5)


def test_an_epoch_goes_on_from_any_step() -> None:
    order = KeyedOrder(100, 20, accumulate=2, seed=1)
    order.set_epoch(4)
    whole = list(order)
    order.set_epoch(4, start_step=3)
    assert (list(order), len(order)) == (whole[6:], 4)


@pytest.mark.parametrize(
    ("samples", "batch", "parts", "says"),
    [
        (100, 10, {"world": 4}, "batch size 10 does not divide by 4 processes .*: use --batch-size 8"),
        (100, 3, {"world": 2, "accumulate": 4}, "3 does not divide by 2 processes times 4 .*: use --batch-size 8"),
        (100, 0, {}, "batch size 0 .*: use --batch-size 1"),
        (50, 64, {"world": 4}, "50 samples, fewer than one batch of 64: use --batch-size 48, or more data"),
        (3, 64, {"world": 4}, "3 samples, fewer than one batch of 64: use at least 4 samples"),
    ],
)
def test_a_batch_size_that_does_not_fit_names_the_nearest_that_does(
    samples: int, batch: int, parts: dict[str, int], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        KeyedOrder(samples, batch, **parts)


# Workers and processes


def test_any_number_of_workers_gives_the_same_batches(tmp_path: Path) -> None:
    source = folder(tmp_path / "some", 40, broken=(7,))
    alone, one, two = ([_without_names(batch) for batch in loader_of(source, workers)] for workers in (0, 1, 2))
    assert equal(alone, one)
    assert equal(alone, two)


def _without_names(batch: Batch) -> Batch:
    return {name: value for name, value in batch.items() if name != "unreadable"}


def test_all_that_a_worker_needs_can_be_sent_to_it(tmp_path: Path) -> None:
    loader = loader_of(folder(tmp_path / "some", 16))
    dataset, collate = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))
    assert equal([collate(dataset.__getitems__(batch)) for batch in loader.batch_sampler], list(loader))


@pytest.mark.slow
def test_workers_that_are_started_afresh_give_the_same_batches(tmp_path: Path) -> None:
    source = folder(tmp_path / "some", 16)
    loader = loader_of(source, workers=1)
    loader.multiprocessing_context = "spawn"
    assert equal(list(loader), list(loader_of(source)))


def test_two_processes_see_the_batches_of_one(tmp_path: Path) -> None:
    source = folder(tmp_path / "some", 40)
    whole = list(loader_of(source))
    halves = [list(loader_of(source, rank=rank, world=2)) for rank in range(2)]
    for step, batch in enumerate(whole):
        for name, value in batch.items():
            assert torch.equal(torch.cat([half[step][name] for half in halves]), value)


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_follow_each_other_and_resume_at_any_step(workers: int, tmp_path: Path) -> None:
    source = folder(tmp_path / "some", 40)
    loader = loader_of(source, workers)
    first = list(loader)
    loader.batch_sampler.set_epoch(1)
    second = list(loader)
    assert not equal(first, second)
    loader.batch_sampler.set_epoch(1, start_step=2)
    assert equal(list(loader), second[2:])
    loader.batch_sampler.set_epoch(0)
    assert equal(list(islice(loader, 2)), first[:2])  # left in the middle
    loader.batch_sampler.set_epoch(1)
    assert equal(list(loader), second)


def test_no_global_generator_is_touched(tmp_path: Path) -> None:
    source = folder(tmp_path / "some", 16)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for workers in (0, 1):
        list(loader_of(source, workers))
    list(eval_loader(source, InputSpec.square(8), 8, 0))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


class Threads(Views):
    def crop(self, samples: list[Sample]) -> Batch:
        return {"threads": torch.tensor(torch.get_num_threads())}


def test_a_worker_computes_in_one_thread(tmp_path: Path) -> None:
    batches = list(loader_of(folder(tmp_path / "some", 8), workers=1, views=Threads()))
    assert [int(batch["threads"]) for batch in batches] == [1]


def test_the_second_half_of_the_views_can_be_left_to_the_device(tmp_path: Path) -> None:
    source, views = folder(tmp_path / "some", 16), Noisy()
    settings = {"channels": 3, "sampler": KeyedOrder(16, 8), "workers": 0}
    whole = list(train_loader(source, views, augment_in_workers=True, **settings))
    halved = list(train_loader(source, views, augment_in_workers=False, **settings))
    assert "more" not in halved[0]
    assert equal([views.augment(batch) for batch in halved], whole)


# What cannot be read


def test_an_unreadable_sample_gives_its_place_and_key_to_the_next(tmp_path: Path) -> None:
    source = folder(tmp_path / "some", 10, broken=(4, 9))
    read = Samples(source, 3).__getitems__([(3, 30), (4, 40), (9, 90)])
    samples = [sample for sample in read if isinstance(sample, dict)]
    assert [(number_of(s["image"]), s["index"], s["key"]) for s in samples] == [(3, 3, 30), (5, 5, 40), (0, 0, 90)]
    names = [str(sample) for sample in read if not isinstance(sample, dict)]
    assert names == [f"{name}.png: not a picture of a known format" for name in ("0004", "0009")]


@pytest.mark.parametrize("workers", [0, 2])
def test_one_in_two_hundred_unreadable_is_passed_over_logged_and_counted(
    workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = folder(tmp_path / "some", 200, broken=(17,))
    tally = UnreadableTally(source.name, len(source))
    loader = loader_of(source, workers, batch_size=20)
    with caplog.at_level(logging.WARNING):
        for epoch in range(2):
            loader.batch_sampler.set_epoch(epoch)
            for batch in loader:
                assert len(batch["index"]) == 20
                tally.add(batch.pop("unreadable", []), seen=20)
    assert len(tally) == 1
    logged = "skipped an unreadable sample of folder:some[train]: 0017.png: not a picture of a known format"
    assert [record.getMessage() for record in caplog.records] == [logged]


def test_five_in_a_hundred_unreadable_is_one_error(tmp_path: Path) -> None:
    source = folder(tmp_path / "some", 200, broken=tuple(range(0, 200, 20)))
    (tmp_path / "some" / "0040.png").write_bytes(b"")
    tally = UnreadableTally(source.name, len(source))
    says = r"^[34] of 200 samples of folder:some\[train\] cannot be read, more than 1%: "
    with pytest.raises(UserError, match=says) as caught:
        for batch in loader_of(source, batch_size=20):
            tally.add(sorted(batch.pop("unreadable", [])), seen=20)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(".png: ") == 3


def test_a_stream_is_judged_once_two_hundred_samples_were_seen() -> None:
    tally = UnreadableTally("D")
    tally.add(["a: broken", "b: broken", "c: broken"], seen=199)
    with pytest.raises(UserError, match="3 of 200 samples of D"):
        tally.add([], seen=1)


def test_a_tally_goes_on_from_a_checkpoint_without_logging_again(caplog: pytest.LogCaptureFixture) -> None:
    tally, again = UnreadableTally("D", 1000), UnreadableTally("D", 1000)
    tally.add(["a: broken"], seen=10)
    again.load_state_dict(tally.state_dict())
    caplog.clear()
    again.add(["a: broken"], seen=10)
    assert (len(again), again.seen, caplog.records) == (1, 20, [])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_without_readable_samples_is_one_line(workers: int, tmp_path: Path) -> None:
    source = folder(tmp_path / "some", 8, broken=tuple(range(8)))
    says = r"^8 samples of folder:some\[train\] in a row cannot be read: .*; repair the data set$"
    with pytest.raises(UserError, match=says):
        list(loader_of(source, workers))


class Refusing(Views):
    def crop(self, samples: list[Sample]) -> Batch:
        raise UserError("these pictures are too small: use a smaller --image-size")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_the_user_can_mend_arrives_from_a_worker_as_it_was_said(workers: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^these pictures are too small: use a smaller --image-size$"):
        list(loader_of(folder(tmp_path / "some", 8), workers, views=Refusing()))


# Evaluation


def test_evaluation_sees_every_sample_in_order_as_the_encoder_takes_it(tmp_path: Path) -> None:
    source = folder(tmp_path / "some", 10)
    spec = InputSpec.square(8)
    batches = list(eval_loader(source, spec, 4, 0))
    assert [len(batch["index"]) for batch in batches] == [4, 4, 2]
    images = torch.cat([batch["image"] for batch in batches])
    assert images.dtype == torch.float32
    expected = [(np.array([0, number, 128]) / 255 - spec.mean) / spec.std for number in range(10)]
    assert torch.allclose(images, torch.tensor(np.array(expected)).float()[:, :, None, None].expand(-1, -1, 8, 8))
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(10))
    assert equal(batches, list(eval_loader(source, spec, 4, 2)))


def test_evaluation_leaves_out_and_names_what_cannot_be_read(tmp_path: Path) -> None:
    source = folder(tmp_path / "some", 8, broken=(1, 4, 5, 6, 7))
    batches = list(eval_loader(source, InputSpec.square(8), 4, 0))
    assert [batch["index"].tolist() for batch in batches] == [[0, 2, 3], []]
    assert [batch["image"].shape for batch in batches] == [(3, 3, 8, 8), (0, 3, 8, 8)]
    assert [len(batch["unreadable"]) for batch in batches] == [1, 4]


def test_evaluation_has_the_channels_of_the_encoder(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "some", ["a.png"])
    (root / "b.png").write_bytes(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0))))
    (batch,) = eval_loader(open_source(f"folder:{root}"), InputSpec.square(8, channels=1), 4, 0)
    assert batch["image"].shape == (2, 1, 8, 8)
    assert batch["image"][1].unique().tolist() == [1.0]  # transparent is white
    assert picture(0) == (root / "a.png").read_bytes()
