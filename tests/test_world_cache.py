"""Rendered clips are kept: in whole files, rendered once, by whoever asks first."""

from __future__ import annotations

import os
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch

from sslzoo.config import UsageError, UserError
from sslzoo.data.clips import sampled
from sslzoo.datasets.world import actions, cache
from sslzoo.datasets.world.cache import SHARD, Shard, ensure, write
from sslzoo.datasets.world.fields import decode, encode
from sslzoo.datasets.world.named import RENDERINGS, World, WorldActions
from sslzoo.views import Sample
from sslzoo.views.clips import PER_FRAME, ClipSampling


def shard(number: int) -> Shard:
    return Shard("nothing", 1, "train", number)


def rows(number: int) -> list[dict[str, bytes]]:
    return [{"clip": bytes([number, row])} for row in range(SHARD)]


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of shards in the order in which a renderer that takes its time was asked for them."""
    asked: list[int] = []

    def render(missing: list[Shard], processes: int) -> None:
        for one in missing:
            asked.append(one.number)
            time.sleep(0.05)
            write(one, rows(one.number))

    monkeypatch.setattr(cache, "_render", render)
    return asked


def test_what_is_kept_of_a_field_comes_back_within_the_error_that_is_stated() -> None:
    fields = actions.clip("train", 5)
    for name, values in fields.items():
        stored = encode(name, values)
        again = decode(name, pa.py_buffer(stored), values.shape)
        assert again.dtype == values.dtype and again.shape == values.shape and again.flags.writeable
        if name in PER_FRAME:
            some = decode(name, pa.py_buffer(stored), values.shape, np.array([3, 4, 4]))
            assert np.array_equal(some, again[[3, 4, 4]], equal_nan=values.dtype.kind == "f"), name
        if name == "depth":
            assert np.array_equal(np.isinf(again), np.isinf(values))
            known = np.isfinite(values)
            assert np.abs(again[known] / values[known] - 1).max() < 5e-5
        elif name == "flow":
            assert np.array_equal(np.isnan(again), np.isnan(values))
            assert np.nanmax(np.abs(again - values)) <= 1 / 128
        elif name == "normals":
            cosine = (again.astype(float) * values).sum(1)[(values != 0).any(1)]
            assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < 0.4
        else:
            assert np.array_equal(again, values), name


def test_of_a_window_no_other_frames_are_read() -> None:
    flow = np.random.default_rng(0).normal(0, 3, (5, 2, 8, 8)).astype(np.float32)
    stored = encode("flow", flow)
    ends = np.frombuffer(stored, np.int32, len(flow))
    begin, end = 4 * len(flow) + ends[1], 4 * len(flow) + ends[2]
    only_the_third = bytearray(len(stored))
    for part in (slice(0, 4 * len(flow)), slice(begin, end)):
        only_the_third[part] = stored[part]
    found = decode("flow", pa.py_buffer(bytes(only_the_third)), flow.shape, np.array([2]))
    assert np.abs(found - flow[2]).max() <= 1 / 128


def test_the_first_reading_renders_what_a_source_has_and_no_more() -> None:
    source = WorldActions().open("train[1:3]+test[:1]")
    folder = Shard("world-actions", RENDERINGS["world-actions"].version, "train", 0).path.parent
    assert not folder.exists()
    sample = dict(source.read(0))
    assert sorted(path.name for path in folder.glob("*.*")) == ["test-0000.arrow", "train-0000.arrow"]
    assert sample.pop("fps") == 15.0
    assert torch.equal(sample["clip"], torch.from_numpy(actions.clip("train", 1)["clip"]))
    assert torch.equal(source.read(2)["camera"], torch.from_numpy(actions.clip("test", 0)["camera"]))
    path = folder / "train-0000.arrow"
    written = path.stat().st_mtime_ns
    again = pickle.loads(pickle.dumps(source)).read(0)
    assert all(torch.equal(values.nan_to_num(7), again[name].nan_to_num(7)) for name, values in sample.items())
    sample["clip"].zero_()
    assert source.read(0)["clip"].any() and path.stat().st_mtime_ns == written
    table = datasets.Dataset.from_file(str(path))
    assert len(table) == SHARD and set(table.column_names) == set(sample)


def test_a_window_is_decoded_alone_and_is_what_it_is_of_the_whole() -> None:
    source = WorldActions().open("train[:1]")
    sampling = ClipSampling(length=3, stride=2, fields=("flow", "visible", "camera", "contours", "intrinsics"))
    kept = source.read(0)
    alone, cut_out = (sampled(cast(Sample, sample), sampling, key=5) for sample in (kept, dict(kept)))
    assert set(alone) == {"clip", "fps", *sampling.fields} == set(cut_out)
    assert alone["fps"] == cut_out["fps"] == 7.5
    for name in set(alone) - {"fps"}:
        torch.testing.assert_close(alone[name], cut_out[name], rtol=0, atol=0, equal_nan=True)


def test_labels_are_known_without_rendering_and_all_are_equally_frequent() -> None:
    for kind in (World, WorldActions):
        for split, length in RENDERINGS[kind.info.name].lengths.items():
            source = kind().open(split)
            assert len(source) == length and length % SHARD == 0
            counts = source.labels().bincount(minlength=len(source.class_names))
            assert counts.min() == counts.max()
    assert torch.equal(World().open("train[10:20]+test[:3]").labels()[:10], World().open("train").labels()[10:20])
    assert not Shard("world", 1, "train", 0).path.parent.exists()


def test_the_fingerprint_tells_which_clips_these_are_and_not_what_they_are_called() -> None:
    one, same, other = (World().open(name).fingerprint for name in ("train[:4]", "train[:2]+train[2:4]", "test[:4]"))
    assert one == same != other


def test_what_is_there_is_not_rendered_again(rendered: list[int]) -> None:
    ensure([shard(1)])
    ensure([shard(0), shard(1), shard(2), shard(1)])
    ensure([shard(0), shard(1), shard(2)])
    assert rendered == [1, 0, 2]
    assert cache.row(shard(2), 2 * SHARD + 1)["clip"].to_pybytes() == bytes([2, 1])


def test_two_who_ask_at_once_have_it_rendered_once(rendered: list[int]) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(ensure, [[shard(0), shard(1)], [shard(1), shard(0)], [shard(1)]]))
    assert sorted(rendered) == [0, 1]


def test_a_file_appears_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    shard(0).path.parent.mkdir(parents=True)
    killed = pytest.MonkeyPatch()
    killed.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(shard(0), rows(0))
    killed.undo()
    assert not shard(0).path.exists()
    assert len(list(shard(0).path.parent.glob("*.partial"))) == 1
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="nothing cannot be rendered: exit 1"):
        ensure([shard(0)])
    assert not list(shard(0).path.parent.glob("*.partial"))


def test_where_nothing_can_be_kept_another_folder_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"no clips can be kept in .* \(Not a directory\): name a folder by"):
        ensure([shard(0)])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    shard(0).path.parent.mkdir(parents=True)
    shard(0).path.write_bytes(b"no arrow")
    with pytest.raises(UserError, match=r"train-0000.arrow is damaged .* delete it"):
        cache.row(shard(0), 0)


def test_without_the_renderer_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(UsageError, match=r"world needs pybullet, .* pip install 'sslzoo\[world\]'"):
        World().open("train")
    with pytest.raises(UsageError, match="no split 'unlabeled': it has train, test"):
        World().open("unlabeled")
