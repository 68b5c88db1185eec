"""Data sets by name: folders, tables on disk and their splits, columns, labels and fingerprints."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from pictures import number_of, picture, table, write_folder, write_shards

from sslzoo.config import UsageError, UserError
from sslzoo.data.labels import labels_as
from sslzoo.data.open import open_source, open_stream, split_names
from sslzoo.data.rows import Rows
from sslzoo.data.source import Source, Unreadable
from sslzoo.data.splits import default_split, default_test_split, parse_name


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets cache")


def numbers(source: Source) -> list[int]:
    return [number_of(source.read(index)["image"]) for index in range(len(source))]


# Names and splits


def test_a_name_may_carry_a_split_or_a_slice_of_one() -> None:
    assert parse_name("cliparts") == ("cliparts", None)
    assert parse_name("cliparts[train]") == ("cliparts", "train")
    assert parse_name("org/name:config[train[:10%]+test]") == ("org/name:config", "train[:10%]+test")
    assert parse_name("folder:/old [2019]/images[train[5:]]") == ("folder:/old [2019]/images", "train[5:]")


@pytest.mark.parametrize("name", ["", "[train]", "cliparts[]", "cliparts]", "cliparts[train]]"])
def test_brackets_that_mean_nothing_say_how_to_write_them(name: str) -> None:
    with pytest.raises(UsageError, match=r"write D"):
        parse_name(name)


def test_the_default_split_is_unlabeled_then_train_then_the_only_one() -> None:
    assert default_split(["test", "train", "unlabeled"], "D") == "unlabeled"
    assert default_split(["test", "train"], "D") == "train"
    assert default_split(["holdout"], "D") == "holdout"
    with pytest.raises(UsageError, match=r"D has the splits a, b: choose one as D\[a\]"):
        default_split(["a", "b"], "D")


def test_the_default_test_split_is_test_then_validation() -> None:
    assert default_test_split(["train", "validation", "test"], "D") == "test"
    assert default_test_split(["train", "val"], "D") == "val"
    with pytest.raises(UsageError, match="D has no test split, only train"):
        default_test_split(["train"], "D")


# Folders


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Two splits; lily is in train only."""
    train = [f"train/{name}/{number:03}.png" for name in ("lily", "rose", "tulip") for number in range(4)]
    test = [f"test/{name}/{number:03}.png" for name in ("rose", "tulip") for number in range(3)]
    return write_folder(tmp_path / "flowers", train + test)


def test_split_folders_are_splits_and_the_folders_in_them_labels(flowers: Path) -> None:
    source = open_source(f"folder:{flowers}")
    assert (source.name, len(source), numbers(source)) == ("folder:flowers[train]", 12, list(range(12)))
    assert source.class_names == ("lily", "rose", "tulip")
    assert source.labels().tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert split_names(f"folder:{flowers}") == ["test", "train"]


def test_labels_mean_the_same_in_every_split(flowers: Path) -> None:
    test = open_source(f"folder:{flowers}[test]")
    assert test.class_names == ("lily", "rose", "tulip")
    assert test.labels().tolist() == [1] * 3 + [2] * 3


def test_class_folders_without_splits_are_one_split(tmp_path: Path) -> None:
    source = open_source(f"folder:{write_folder(tmp_path / 'pets', ['cat/2019/a.png', 'cat/b.png', 'dog/c.PNG'])}")
    assert (source.name, len(source), source.class_names) == ("folder:pets[train]", 3, ("cat", "dog"))
    assert source.labels().tolist() == [0, 0, 1]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "vehicles", ["car/a.png", "train/b.png"])
    assert open_source(f"folder:{root}").class_names == ("car", "train")


def test_flat_and_partly_nested_folders_have_no_labels(tmp_path: Path) -> None:
    for paths in (["b.png", "a.png"], ["x/a.png", "y/b.png", "c.png"], ["only/a.png", "only/b.png"]):
        source = open_source(f"folder:{write_folder(tmp_path / paths[0].replace('/', '-'), paths)}")
        assert len(source) == len(paths)
        with pytest.raises(UsageError, match="has no labels"):
            source.labels()


def test_files_come_in_sorted_order_without_hidden_ones_and_other_kinds(tmp_path: Path) -> None:
    paths = ["b.png", "a/z.jpg", "a/c.webp", ".hidden.png", ".git/x.png", "notes.txt", "figure.eps", "a.png.part"]
    root = write_folder(tmp_path / "mixed", paths)
    assert numbers(open_source(f"folder:{root}")) == [2, 1, 0]


def test_a_link_to_a_folder_above_does_not_go_on_for_ever(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "linked", ["x/a.png"])
    (root / "x" / "up").symlink_to(root)
    outside = write_folder(tmp_path / "outside", ["b.png"])
    (root / "y").symlink_to(outside)
    assert len(open_source(f"folder:{root}")) == 2


def test_slices_take_rows_of_a_split(flowers: Path) -> None:
    assert numbers(open_source(f"folder:{flowers}[train[:25%]]")) == [0, 1, 2]
    assert numbers(open_source(f"folder:{flowers}[train[-2:]+test[:2]]")) == [10, 11, 12, 13]
    sliced = open_source(f"folder:{flowers}[train[6:10]]")
    assert sliced.labels().tolist() == [1, 1, 2, 2]
    assert sliced.name == "folder:flowers[train[6:10]]"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("folder:{}/missing", "there is no folder .*/missing"),
        ("folder:{}/flowers/train/rose/000.png", "is a file, not a folder"),
        ("folder:{}/empty", "folder .*/empty holds no images"),
        ("folder:{}/flowers[tset]", "folder:flowers has no split 'tset': did you mean 'test'[?] it has test, train"),
        ("folder:{}/flowers[train[:x]]", "split 'train\\[:x\\]' of folder:flowers.*write train"),
        ("folder:{}/flowers[train[:200%]]", "split .*100"),
        ("folder:{}/flowers[train[5:5]]", "folder:flowers\\[train\\[5:5\\]\\] has no samples"),
        ("{}/flowers", "holds image files: write folder:"),
        ("{}/empty", "cannot be opened: .*any data files"),
        ("{}/gone.parquet", "is no parquet or arrow file"),
        ("./nothing", "is no parquet or arrow file"),
    ],
)
def test_what_is_not_there_is_one_line_about_what_is(name: str, says: str, flowers: Path) -> None:
    (flowers.parent / "empty").mkdir()
    with pytest.raises(UserError, match=says) as caught:
        open_source(name.format(flowers.parent))
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str) -> Iterator[None]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(UserError, match="cannot be read: .*: Permission denied"):
        open_source(f"folder:{tmp_path}")


# Tables


def test_parquet_files_are_read_one_by_one_or_as_a_folder(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", shards=2, rows=5)
    write_shards(shards, shards=1, rows=3, split="test")
    whole = open_source(str(shards))
    assert (whole.name, numbers(whole)) == ("shards[train]", list(range(10)))
    assert whole.labels().tolist() == [number % 3 for number in range(10)]
    assert numbers(open_source(f"{shards}[train[50%:]]")) == list(range(5, 10))
    assert len(open_source(f"{shards}[test]")) == 3
    assert split_names(str(shards)) == ["train", "test"]
    assert numbers(open_source(str(shards / "train-00001-of-00002.parquet"))) == list(range(5, 10))


def test_arrow_files_and_saved_tables_are_read(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    datasets.DatasetDict(train=table([0, 1, 2]), test=table([3, 4])).save_to_disk(saved)
    assert numbers(open_source(str(saved))) == [0, 1, 2]
    assert numbers(open_source(f"{saved}[test+train[:1]]")) == [3, 4, 0]
    assert split_names(str(saved)) == ["train", "test"]
    alone = tmp_path / "alone"
    table([5, 6]).save_to_disk(alone)
    assert numbers(open_source(str(alone))) == [5, 6]
    assert numbers(open_source(str(next(alone.glob("*.arrow"))))) == [5, 6]


def test_a_broken_table_is_one_line(tmp_path: Path) -> None:
    broken = write_shards(tmp_path / "shards", shards=1, rows=3) / "train-00000-of-00001.parquet"
    broken.write_bytes(b"garbage" * 100)
    with pytest.raises(UserError, match="shards.* cannot be opened: .*not a parquet file"):
        open_source(str(tmp_path / "shards"))


def test_what_is_on_this_disk_is_no_stream(tmp_path: Path) -> None:
    table([5, 6]).save_to_disk(tmp_path / "saved")
    for name in (str(tmp_path / "saved"), f"folder:{tmp_path}"):
        with pytest.raises(UsageError, match="leave out --streaming"):
            open_stream(name)


# Columns


def test_columns_are_recognised_by_name_whatever_their_case() -> None:
    source = Rows(table([7, 8], Label=[1, 0], text=["a", "b"]).rename_column("image", "IMG"), "D")
    assert numbers(source) == [7, 8]
    assert source.labels().tolist() == [1, 0]


def test_columns_are_recognised_by_type() -> None:
    named = table([7, 8], kind=[1, 0], other=[5, 5]).rename_column("image", "scan")
    source = Rows(named.cast_column("kind", datasets.ClassLabel(names=["a", "b"])), "D")
    assert numbers(source) == [7, 8]
    assert (source.class_names, source.labels().tolist()) == (("a", "b"), [1, 0])


def test_given_columns_win_over_recognised_ones() -> None:
    both = table([1, 2], label=[0, 1], size=[3, 4])
    both = both.add_column("depth", both.with_format("arrow")["image"]).cast_column("depth", datasets.Image())
    assert Rows(both, "D", label_column="size").labels().tolist() == [3, 4]
    assert numbers(Rows(both, "D", image_column="depth")) == [1, 2]


def test_images_may_be_plain_bytes_in_parquet() -> None:
    plain = datasets.Dataset.from_dict({"jpg": [picture(1), picture(2)], "cls": [0, 1]})
    assert numbers(Rows(plain, "D")) == [1, 2]


def test_arrays_of_any_number_of_channels_are_samples() -> None:
    features = datasets.Features({"image": datasets.Array3D((4, 3, 5), "uint8")})
    arrays = np.arange(2 * 60, dtype=np.uint8).reshape(2, 4, 3, 5)
    source = Rows(datasets.Dataset.from_dict({"image": list(arrays)}, features=features), "D")
    assert np.array_equal(source.read(1)["image"], arrays[1])
    assert len(source.fingerprint) == 64


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"image_column": "imgae"}, "D has no column 'imgae': did you mean 'image'[?] it has image, label"),
        ({"label_column": "kind"}, "D has no column 'kind': it has image, label"),
        ({"image_column": "label"}, "column 'label' of D holds .*int64.*, not images"),
    ],
)
def test_an_unknown_column_says_what_exists(given: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Rows(table([1], label=[0]), "D", **given)


def test_columns_that_cannot_be_told_apart_must_be_chosen() -> None:
    two = table([1]).rename_column("image", "left")
    two = two.add_column("right", two.with_format("arrow")["left"]).cast_column("right", datasets.Image())
    with pytest.raises(UsageError, match=r"several image columns \(left, right\): choose a column with --image-column"):
        Rows(two, "D")
    with pytest.raises(UsageError, match="D has no images, videos or sounds among label: choose"):
        Rows(table([1], label=[0]).remove_columns("image"), "D")


# Labels


def test_a_sample_holds_its_image_and_nothing_else(flowers: Path) -> None:
    for source in (open_source(f"folder:{flowers}"), Rows(table([1], label=[2], fine_label=[3], text=["x"]), "D")):
        assert set(source.read(0)) == {"image"}


def test_text_labels_are_numbered_in_sorted_order() -> None:
    source = Rows(table([1, 2, 3], label=["dog", "cat", "dog"]), "D")
    assert (source.class_names, source.labels().tolist()) == (("cat", "dog"), [1, 0, 1])


def test_labels_can_be_numbered_as_another_split_numbers_them() -> None:
    train = Rows(table([1, 2, 3], label=["ant", "cat", "dog"]), "D[train]")
    test = Rows(table([4, 5], label=["dog", "cat"]), "D[test]")
    assert test.labels().tolist() == [1, 0]
    assert labels_as(test, train.class_names).tolist() == [2, 1]
    with pytest.raises(UsageError, match=r"D\[train\] has classes that the training labels lack: ant"):
        labels_as(train, test.class_names)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0.5, 1.0], "column 'label' of D holds double: labels are one whole number or one text per sample"),
        ([[0, 1], [1]], "column 'label' of D holds list<.*: labels are one whole number"),
        ([0, -1], "1 of 2 labels of D are missing or negative"),
        ([None, 1], "1 of 2 labels of D are missing or negative"),
        (["cat", None], "1 of 2 labels of D are missing or negative"),
    ],
)
def test_labels_that_cannot_be_used_say_why(labels: list, says: str) -> None:
    source = Rows(table([1, 2], label=labels), "D")
    assert numbers(source) == [1, 2]
    with pytest.raises(UsageError, match=says):
        source.labels()


def test_a_label_beyond_its_classes_is_broken() -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    mended = table([1, 2], label=[0, 7])
    source = Rows(datasets.Dataset(mended.data, info=datasets.DatasetInfo(features=features)), "D")
    with pytest.raises(UsageError, match="D has 2 classes, but a label 7"):
        source.labels()


# Fingerprints and names


def test_the_fingerprint_is_the_contents_wherever_they_lie(flowers: Path, tmp_path: Path) -> None:
    source = open_source(f"folder:{flowers}")
    (tmp_path / "elsewhere").mkdir()
    moved = open_source(f"folder:{flowers.rename(tmp_path / 'elsewhere' / 'blooms')}")
    packed = table(list(range(12)), label=[0] * 4 + [1] * 4 + [2] * 4)
    packed = packed.cast_column("label", datasets.ClassLabel(names=["lily", "rose", "tulip"]))
    packed.save_to_disk(tmp_path / "packed")
    assert moved.fingerprint == Rows(packed, "D").fingerprint == open_source(str(tmp_path / "packed")).fingerprint
    with pytest.raises(Unreadable):
        source.read(0)  # it is gone from there


def test_the_fingerprint_tells_bytes_labels_order_and_number_apart() -> None:
    seen = {
        Rows(table(order, label=labels), "D").fingerprint
        for order, labels in [([1, 2], [0, 1]), ([1, 3], [0, 1]), ([2, 1], [0, 1]), ([1, 2], [1, 0]), ([1], [0])]
    }
    seen.add(Rows(table([1, 2]), "D").fingerprint)
    assert len(seen) == 6


def test_a_file_that_grows_changes_the_fingerprint_even_among_many(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "many", [f"{number:04}.png" for number in range(600)])
    before = open_source(f"folder:{root}").fingerprint
    (root / "0001.png").write_bytes(picture(1) + b"\0")  # not among the 256 that are read whole
    assert open_source(f"folder:{root}").fingerprint != before


def test_a_fingerprint_survives_missing_files(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "some", ["a.png", "b.png"])
    source = open_source(f"folder:{root}")
    (root / "a.png").unlink()
    assert len(source.fingerprint) == 64


def test_no_name_tells_where_on_this_machine_the_data_lies(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (flowers / "train/rose/001.png").write_bytes(b"garbage")
    monkeypatch.chdir(flowers)
    for name in (f"folder:{flowers}", "folder:.", "folder:../flowers"):
        source = open_source(name)
        assert source.name == "folder:flowers[train]"
        with pytest.raises(Unreadable, match="^train/rose/001.png: not a picture"):
            source.read(5)


def test_samples_of_a_table_are_named_by_their_row_and_file() -> None:
    cells = [{"bytes": b"garbage", "path": None}, {"bytes": b"garbage", "path": "/home/me/cats/1.png"}, None]
    source = Rows(datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image()), "D")
    for index, says in enumerate(["^row 0: not a", r"^row 1 \(1.png\): not a", "^row 2: the cell is empty"]):
        with pytest.raises(Unreadable, match=says):
            source.read(index)


def test_a_table_on_disk_travels_to_workers_as_its_path(tmp_path: Path) -> None:
    saved = table(list(range(500)), label=[0] * 500)
    saved.save_to_disk(tmp_path / "saved")
    source = open_source(str(tmp_path / "saved[train[100:]]"))
    sent = pickle.dumps(source)
    assert len(sent) < 10_000
    assert number_of(pickle.loads(sent).read(7)["image"]) == 107
    assert torch.equal(pickle.loads(sent).labels(), source.labels())
