"""Decoded pictures on disk: the same pictures, decoded once, in bounded space."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import pytest
import torch
from pictures import encoded, write_folder
from PIL import Image
from view_samples import picture

import sslzoo
from sslzoo.config import PretrainConfig
from sslzoo.data import decoded
from sslzoo.data.decoded import Decoded, decoded_folder, keep_decoded
from sslzoo.data.images import with_channels
from sslzoo.data.open import open_source
from sslzoo.data.source import Source, Unreadable
from sslzoo.views import Sample

SIZES = [(8, 12), (30, 20), (5, 5), (16, 40)]


class Counted(Source):
    """Pictures of several sizes and modes, and how often each was decoded."""

    name, class_names = "counted", ("a", "b")

    def __init__(self, count: int = 12, broken: tuple[int, ...] = (), extra: bool = False) -> None:
        self.count, self.broken, self.extra, self.reads = count, broken, extra, [0] * count

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Sample:
        self.reads[index] += 1
        if index in self.broken:
            raise Unreadable(f"{index}: broken")
        image = picture(*SIZES[index % len(SIZES)], mode=("RGB", "L", "RGBA")[index % 3], seed=index)
        return {"image": image, "depth": 1} if self.extra else {"image": image}

    @property
    def fingerprint(self) -> str:
        return f"counted {self.count}"

    def labels(self) -> torch.Tensor:
        return torch.arange(self.count) % 2


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and one.size == other.size and one.tobytes() == other.tobytes()


def used() -> int:
    return sum(file.stat().st_size for file in decoded_folder().rglob("pixels"))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_each_picture_is_decoded_once_and_is_the_same_ever_after(channels: int) -> None:
    source = Counted()
    kept = Decoded(source, channels, 10**6)
    for _ in range(3):
        for index in range(len(kept)):
            expected = with_channels(Counted().read(index)["image"], channels)
            assert same(with_channels(kept.read(index)["image"], channels), expected)
    assert source.reads == [1] * 12


def test_another_process_finds_what_this_one_kept() -> None:
    Decoded(Counted(), 3, 10**6).read(4)
    later = Counted()
    sent = pickle.loads(pickle.dumps(Decoded(later, 3, 10**6)))
    assert same(sent.read(4)["image"], with_channels(Counted().read(4)["image"], 3)) and sent.source.reads[4] == 0
    assert Decoded(later, 1, 10**6).read(4) and later.reads[4] == 1  # with other channels it is another picture


def test_what_a_crash_left_unfinished_is_decoded_again() -> None:
    kept = Decoded(Counted(), 3, 10**6)
    whole = [kept.read(index)["image"] for index in range(12)]
    path = kept.folder / "pixels"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] + bytes(7))
    later = Counted()
    again = Decoded(later, 3, 10**6)
    assert all(same(with_channels(again.read(index)["image"], 3), whole[index].convert("RGB")) for index in range(12))
    assert 0 < sum(later.reads) < 12


def test_no_more_room_is_taken_than_is_given() -> None:
    kept = Decoded(source := Counted(), 3, 1500)
    for _ in range(2):
        for index in range(12):
            kept.read(index)
    assert 0 < used() <= 1500
    assert 12 < sum(source.reads) < 24


def test_data_not_used_for_longest_makes_room() -> None:
    first, second, third = (Decoded(Counted(count), 3, 4500) for count in (2, 3, 4))
    for age, kept in ((100, first), (50, second)):
        kept.read(0)
        os.utime(kept.folder, (1e9 - age, 1e9 - age))
    for index in range(4):
        third.read(index)
    assert not first.folder.exists() and second.folder.exists() and third.folder.exists() and used() <= 4500
    assert same(first.read(0)["image"], Counted().read(0)["image"])  # whoever still reads it goes on


def test_what_cannot_be_decoded_or_is_more_than_a_picture_is_left_to_the_source() -> None:
    kept = Decoded(Counted(broken=(3,)), 3, 10**6)
    for _ in range(2):
        with pytest.raises(Unreadable, match="3: broken"):
            kept.read(3)
    richer = Decoded(Counted(extra=True), 3, 10**6)
    assert [richer.read(0)["depth"] for _ in range(2)] == [1, 1] and used() == 0


def test_a_folder_that_cannot_be_written_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    kept = Decoded(source := Counted(), 3, 10**6)
    with caplog.at_level(logging.WARNING):
        assert all(kept.read(0) for _ in range(3))
    assert source.reads[0] == 3 and len(caplog.records) == 1 and "decoded pictures are not kept" in caplog.text


def test_all_else_is_the_sources() -> None:
    source = Counted()
    kept = Decoded(source, 3, 10**6)
    assert (kept.name, kept.fingerprint, kept.class_names) == (source.name, source.fingerprint, source.class_names)
    assert torch.equal(kept.labels(), source.labels())


def test_pictures_are_kept_if_there_is_another_epoch_or_someone_asks() -> None:
    source = Counted()
    for config, wanted in (
        (PretrainConfig(epochs=2), True),
        (PretrainConfig(epochs=1), False),
        (PretrainConfig(epochs=1, cache=0.5), True),
        (PretrainConfig(epochs=2, cache=0), False),
    ):
        assert isinstance(keep_decoded(source, config), Decoded) == wanted
    assert 0 < decoded.usual_limit() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 7


def test_a_run_with_kept_pictures_is_the_run_without(tmp_path: Path) -> None:
    write_folder(tmp_path / "pictures", [f"{number}.png" for number in range(24)])
    for number in range(24):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(encoded(picture(20, 24, seed=number)))
    settings = {"encoder": "test_resnet", "image_size": 32, "epochs": 3, "batch_size": 8, "lr": 0.01}
    settings["dataset"] = f"folder:{tmp_path / 'pictures'}"
    runs = {}
    for name, cache, workers in (("without", 0.0, 0), ("with", 0.1, 2), ("again", 0.1, 0)):
        run = sslzoo.pretrain("rotation", out=tmp_path / name, cache=cache, workers=workers, **settings)
        runs[name] = (run / "encoder" / "model.safetensors").read_bytes()
    assert runs["with"] == runs["without"] == runs["again"]
    assert len(open_source(f"folder:{tmp_path / 'pictures'}")) * 20 * 24 * 3 == used()
