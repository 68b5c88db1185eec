"""Streams: shared out among processes, repeatable, resumable, and the same with any number of workers."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import datasets
import pytest
import torch
from pictures import Noisy, number_of, picture, table, write_shards

from sslzoo.config import UsageError, UserError
from sslzoo.data.images import decode_image
from sslzoo.data.loader import train_loader
from sslzoo.data.open import open_source, open_stream
from sslzoo.data.samples import StreamedSamples
from sslzoo.data.stream import Stream, StreamedOrder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets cache")


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    """Four shards of ten pictures each, numbered through."""
    return open_stream(str(write_shards(tmp_path / "shards", shards=4, rows=10)))


def numbers(order: StreamedOrder) -> list[int]:
    return [number_of(decode_image(cell["bytes"], "x")) for batch in order for cell, _, _ in batch]


def order_of(stream: Stream, batch_size: int = 8, **settings: int) -> StreamedOrder:
    return StreamedOrder(stream, batch_size, **{"samples_per_epoch": 40, "seed": 1, **settings})


def test_a_stream_gives_every_sample_once_an_epoch_in_an_order_of_its_own(stream: Stream) -> None:
    order = order_of(stream)
    first = numbers(order)
    order.set_epoch(1)
    second = numbers(order)
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second != list(range(40))
    assert numbers(order_of(stream)) == first
    assert numbers(order_of(stream, seed=2)) != first


@pytest.mark.parametrize("shards", [4, 3])  # dealt out by shards, and by rows
def test_processes_see_different_samples_and_together_all(shards: int, tmp_path: Path) -> None:
    stream = open_stream(str(write_shards(tmp_path / "some", shards=shards, rows=12)))
    parts = [order_of(stream, batch_size=4, samples_per_epoch=shards * 12, rank=rank, world=2) for rank in range(2)]
    seen = [numbers(part) for part in parts]
    assert sorted(sum(seen, [])) == list(range(shards * 12))
    indices = [[index for batch in part for _, index, _ in batch] for part in parts]
    assert sorted(sum(indices, [])) == list(range(shards * 12))
    assert all(index % 2 == rank for rank in range(2) for index in indices[rank])


def test_a_stream_goes_on_from_any_step(stream: Stream) -> None:
    order = order_of(stream, accumulate=2)
    order.set_epoch(3)
    whole = list(order)
    order.set_epoch(3, start_step=2)
    assert list(order) == whole[4:]
    assert len(order) == 6


def test_a_process_whose_part_is_short_begins_it_again(tmp_path: Path) -> None:
    stream = open_stream(str(write_shards(tmp_path / "some", shards=2, rows=6)))
    table(list(range(100, 102))).to_parquet(tmp_path / "some" / "train-00001-of-00002.parquet")
    stream = open_stream(str(tmp_path / "some"))
    for rank in range(2):
        seen = numbers(order_of(stream, samples_per_epoch=8, rank=rank, world=2))
        assert len(seen) == 4


def test_any_number_of_workers_gives_the_same_batches(stream: Stream) -> None:
    def batches(workers: int) -> list:
        order = order_of(stream)
        return list(train_loader(stream, Noisy(), channels=3, sampler=order, workers=workers, augment_in_workers=True))

    alone = batches(0)
    assert len(alone) == 5
    for workers in (1, 2):
        for one, other in zip(alone, batches(workers), strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_stream_carries_no_label_to_the_workers(stream: Stream) -> None:
    (first, *_), *_ = order_of(stream)
    assert set(first[0]) == {"bytes", "path"}


def test_a_stream_without_a_length_asks_for_one(stream: Stream) -> None:
    with pytest.raises(UsageError, match=r"shards\[train\] does not say how many .*: set --samples-per-epoch"):
        StreamedOrder(stream, 8)


def test_a_stream_that_knows_its_length_has_it(tmp_path: Path) -> None:
    shards = str(write_shards(tmp_path / "shards", shards=2, rows=10))
    open_source(shards)  # from now on it is known
    assert StreamedOrder(open_stream(shards), 8).num_samples == 20
    assert StreamedOrder(open_stream(shards), 8, samples_per_epoch=16).num_samples == 16


def test_a_batch_size_that_does_not_fit_is_refused_as_for_any_data_set(stream: Stream) -> None:
    with pytest.raises(UsageError, match="use --batch-size 8"):
        order_of(stream, batch_size=9, world=2)


def test_a_stream_is_a_whole_split(stream: Stream, tmp_path: Path) -> None:
    assert stream.name == "shards[train]"
    with pytest.raises(UsageError, match=r"cannot be sliced: name a whole split of shards \(train\), not train\[:5\]"):
        open_stream(f"{tmp_path / 'shards'}[train[:5]]")
    with pytest.raises(UsageError, match="shards has no split 'test': it has train"):
        open_stream(f"{tmp_path / 'shards'}[test]")
    with pytest.raises(UsageError, match="no column 'imgae': did you mean 'image'"):
        open_stream(str(tmp_path / "shards"), image_column="imgae")


def test_the_fingerprint_of_a_stream_is_its_files_names_and_sizes(stream: Stream, tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    moved = (tmp_path / "shards").rename(tmp_path / "else" / "shards")
    again = open_stream(str(moved))
    assert again.fingerprint == stream.fingerprint
    table([1]).to_parquet(moved / "train-00003-of-00004.parquet")
    assert open_stream(str(moved)).fingerprint != stream.fingerprint


def test_an_unreadable_sample_gives_its_place_and_key_to_the_nearest() -> None:
    good = [{"bytes": picture(number), "path": None} for number in (1, 2)]
    broken = {"bytes": b"garbage", "path": "cats/1.png"}
    read = StreamedSamples("D", 3).__getitems__([(good[0], 0, 10), (broken, 2, 20), (broken, 4, 30), (good[1], 6, 40)])
    samples = [(number_of(s["image"]), s["index"], s["key"]) for s in read if isinstance(s, dict)]
    assert samples == [(1, 0, 10), (1, 0, 20), (2, 6, 30), (2, 6, 40)]
    assert [str(s) for s in read if not isinstance(s, dict)] == ["cats/1.png: not a picture of a known format"] * 2


def test_a_batch_without_readable_samples_is_one_line() -> None:
    error = StreamedSamples("D", 3).__getitems__([({"bytes": b"garbage", "path": None}, 5, 1)])
    assert isinstance(error, UserError)
    assert str(error) == (
        "a whole batch of D cannot be read: streamed sample 5: not a picture of a known format; repair the data set"
    )


def test_a_stream_that_breaks_off_is_one_line(stream: Stream, tmp_path: Path) -> None:
    for shard in (tmp_path / "shards").iterdir():
        shard.write_bytes(b"garbage" * 100)
    with pytest.raises(UserError, match=r"^shards\[train\] broke off after 0 rows: .*") as caught:
        list(islice(order_of(stream), 1))
    assert "\n" not in str(caught.value)
