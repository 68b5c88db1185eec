"""Two data sets side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import sslzoo
from sslzoo.api import open_dataset
from sslzoo.config import PretrainConfig, UsageError
from sslzoo.data.pairs import Pairs, paired_names
from sslzoo.data.samples import read_for_views
from sslzoo.data.source import Source
from sslzoo.record import public_name
from sslzoo.views import Sample
from sslzoo.views.clips import ClipSampling


class Numbers(Source):
    """Clips of one grey, or pictures of one."""

    def __init__(self, field: str, length: int, license: str | None = None) -> None:
        self.field, self.length, self.name, self.license = field, length, f"{field}s[train]", license

    def __len__(self) -> int:
        return self.length

    def read(self, index: int) -> Sample:
        if self.field == "image":
            return {"image": Image.new("RGB", (4, 4), (index, index, index))}
        return {"clip": torch.full((3, 3, 4, 4), index, dtype=torch.uint8), "depth": torch.full((3, 1, 4, 4), 1.0)}

    @property
    def fingerprint(self) -> str:
        return f"{self.field} {self.length}"


def test_an_epoch_sees_all_of_both_and_the_shorter_begins_again() -> None:
    pairs = Pairs(Numbers("clip", 2), Numbers("image", 5))
    assert len(pairs) == 5
    read = [pairs.read(index) for index in range(5)]
    assert [int(sample["clip"][0, 0, 0, 0]) for sample in read] == [0, 1, 0, 1, 0]
    assert [sample["image"].getpixel((0, 0))[0] for sample in read] == [0, 1, 2, 3, 4]


def test_views_get_the_fields_of_both_as_they_would_of_each() -> None:
    pairs = Pairs(Numbers("clip", 2), Numbers("image", 5))
    sample = read_for_views(pairs, 1, 7, 1, ClipSampling(length=1, fields=("depth",)))
    assert {name: value.shape for name, value in sample.items() if isinstance(value, torch.Tensor)} == {
        "clip": (1, 1, 4, 4),
        "depth": (1, 1, 4, 4),
        "image": (1, 4, 4),
    }
    assert type(sample) is dict and (sample["index"], sample["key"]) == (1, 7)


def test_fields_that_nobody_looks_at_are_not_decoded() -> None:
    class Lazy(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            assert name != "depth"
            return super().__getitem__(name)

    class Clips(Numbers):
        def read(self, index: int) -> Sample:
            return Lazy(super().read(index))

    pairs = Pairs(Clips("clip", 2), Numbers("image", 5))
    assert read_for_views(pairs, 0, 7, 3, ClipSampling(length=1)).keys() == {"image", "clip", "index", "key"}


def test_two_of_a_kind_cannot_be_paired() -> None:
    with pytest.raises(UsageError, match="both have 'image'"):
        Pairs(Numbers("image", 2), Numbers("image", 5)).read(0)


def test_names_licenses_and_fingerprints_are_of_both() -> None:
    pairs = Pairs(Numbers("clip", 2, "Zlib"), Numbers("image", 5, "MIT"))
    assert (pairs.name, pairs.license) == ("pairs:clips[train]+images[train]", "Zlib AND MIT")
    assert Pairs(Numbers("clip", 2), Numbers("image", 5, "MIT")).license is None
    others = [Pairs(Numbers("clip", 3), pairs.other), Pairs(pairs.one, Numbers("image", 6))]
    assert len({source.fingerprint for source in (pairs, *others)}) == 3
    assert pairs.fingerprint == Pairs(Numbers("clip", 2), Numbers("image", 5)).fingerprint


def test_a_name_is_taken_apart_outside_of_its_brackets() -> None:
    assert paired_names("pairs:world+cliparts") == ("world", "cliparts")
    assert paired_names("pairs:a[train[:10%]+test]+folder:/b[x]") == ("a[train[:10%]+test]", "folder:/b[x]")
    assert paired_names("folder:/a+b") is None
    for wrong in ("pairs:world", "pairs:a+b+c", "pairs:+a"):
        with pytest.raises(UsageError, match="does not name two data sets"):
            paired_names(wrong)


def test_pairs_are_opened_by_name_each_with_its_own_split() -> None:
    pairs = open_dataset("pairs:moving-shapes[test[:2]]+cliparts[train[:3]]")
    assert pairs.name == "pairs:moving-shapes[test[:2]]+cliparts[train[:3]]" and len(pairs) == 3
    with pytest.raises(UsageError, match="no labels"):
        pairs.labels()


def test_names_lose_the_folders_of_this_machine() -> None:
    assert public_name("pairs:world[train]+folder:/home/me/flowers[x]") == "pairs:world[train]+folder:flowers[x]"


def test_pairs_are_for_pretraining_and_not_streamed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no evaluation takes"):
        sslzoo.evaluate("knn", "random:test_resnet", "pairs:world+cliparts")
    with pytest.raises(UsageError, match="cannot be streamed"):
        sslzoo.pretrain("rotation", config=PretrainConfig(dataset="pairs:a+b", streaming=True), out=tmp_path / "run")
