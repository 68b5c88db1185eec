"""Data sets of the Hub, from a loopback hub: opened, streamed, and one line for each that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import datasets
import pytest
from huggingface_hub import HfApi, HfFileSystem, constants
from pictures import number_of, write_folder, write_shards

from sslzoo.config import UsageError, UserError
from sslzoo.data.cells import image_of
from sslzoo.data.open import open_source, open_stream, split_names
from sslzoo.testing.loopback import LoopbackHub

# huggingface_hub 2.4 sends large files in a way that its HTTP library calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CARD = """---
configs:
- config_name: small
  data_files:
  - {split: train, path: data/train-*}
  - {split: test, path: data/test-*}
- config_name: tests
  data_files: data/test-*
---
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HfApi]:
    """Two repos: ``tester/tables`` of parquet files in two configs, ``tester/files`` of image files."""
    with LoopbackHub() as loopback:
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "ENDPOINT", loopback.endpoint)
        template = f"{loopback.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub cache"))
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", loopback.endpoint)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets cache")
        monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")
        monkeypatch.setenv("HF_TOKEN", loopback.token)
        HfFileSystem.clear_instance_cache()
        api = HfApi(endpoint=loopback.endpoint, token=loopback.token)
        tables = tmp_path / "tables"
        write_shards(tables / "data", shards=2, rows=5)
        write_shards(tables / "data", shards=1, rows=3, split="test")
        (tables / "README.md").write_text(CARD)
        files = write_folder(tmp_path / "files", ["train/cat/a.png", "train/cat/b.png", "train/dog/c.png"])
        for folder in (tables, files):
            api.create_repo(f"tester/{folder.name}", repo_type="dataset")
            api.upload_folder(repo_id=f"tester/{folder.name}", folder_path=folder, repo_type="dataset")
        yield api
        HfFileSystem.clear_instance_cache()


def test_a_data_set_is_opened_by_id_config_and_split(hub: HfApi) -> None:
    source = open_source("tester/tables:small")
    assert (source.name, len(source)) == ("tester/tables:small[train]", 10)
    assert number_of(source.read(7)["image"]) == 7
    assert source.labels().tolist() == [number % 3 for number in range(10)]
    assert len(open_source("tester/tables:small[test[1:]]")) == 2
    assert split_names("tester/tables:small") == ["train", "test"]


def test_image_files_of_a_repo_are_samples_with_their_folders_as_labels(hub: HfApi) -> None:
    source = open_source("tester/files")
    assert [number_of(source.read(index)["image"]) for index in range(3)] == [0, 1, 2]
    assert (source.class_names, source.labels().tolist()) == (("cat", "dog"), [0, 0, 1])


def test_a_data_set_is_streamed_without_being_downloaded(hub: HfApi, tmp_path: Path) -> None:
    stream = open_stream("tester/tables:small[train]")
    seen = [number_of(image_of(cell, "x")) for cell in islice(stream.cells(0, 0, 0, 1), 10)]
    assert sorted(seen) == list(range(10))
    assert not list((tmp_path / "datasets cache").rglob("*.arrow"))


def test_streamed_image_files_are_fetched_by_who_decodes_them(hub: HfApi) -> None:
    cells = list(islice(open_stream("tester/files").cells(0, 0, 0, 1), 3))
    assert all(cell["bytes"] is None and cell["path"].startswith("hf://") for cell in cells)
    assert sorted(number_of(image_of(cell, "x")) for cell in cells) == [0, 1, 2]


def test_a_new_commit_changes_the_fingerprint_of_a_stream(hub: HfApi) -> None:
    before = open_stream("tester/files").fingerprint
    assert open_stream("tester/files").fingerprint == before
    hub.upload_file(path_or_fileobj=b"!", path_in_repo="notes.txt", repo_id="tester/files", repo_type="dataset")
    assert open_stream("tester/files").fingerprint != before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tester/nothing", "the Hub has no data set 'tester/nothing', or it is private or gated"),
        ("tester/tables", "tester/tables has the configs small, tests; write tester/tables:small"),
        (
            "tester/tables:smal",
            "tester/tables has no config 'smal': did you mean 'small'[?] it has small, tests; write",
        ),
        ("tester/tables:small[tets]", "tester/tables:small has no split 'tets': did you mean 'test'[?]"),
    ],
)
def test_what_the_hub_has_not_is_one_line_about_what_it_has(hub: HfApi, name: str, says: str) -> None:
    for open_it in (open_source, open_stream):
        with pytest.raises(UsageError, match=says) as caught:
            open_it(name)
        assert "\n" not in str(caught.value)


def test_without_a_network_only_what_is_cached_can_be_opened(hub: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    open_source("tester/files")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert len(open_source("tester/files")) == 3
    with pytest.raises(UserError, match="the Hub cannot be reached for the data set 'tester/tables:small'"):
        open_source("tester/tables:small")
