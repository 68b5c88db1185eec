"""Clips: the sources they come from, and the frames of them that training and evaluation get."""

from __future__ import annotations

import pickle
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from videos import HEIGHT, WIDTH, frame, numbers, write_frames, write_video

from sslzoo.api import evaluate
from sslzoo.config import UsageError
from sslzoo.data.clips import clip_with_channels
from sslzoo.data.columns import Columns
from sslzoo.data.images import with_channels
from sslzoo.data.loader import VIEWS, eval_loader, train_loader
from sslzoo.data.open import open_source, open_stream, split_names
from sslzoo.data.order import KeyedOrder
from sslzoo.data.samples import StreamedSamples
from sslzoo.data.source import Source
from sslzoo.data.splits import default_test_split
from sslzoo.data.tally import UnreadableTally
from sslzoo.datasets.moving_shapes import MovingShapes
from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.features import cached_features, extract
from sslzoo.views import Batch, Sample, Views
from sslzoo.views.clips import ClipSampling
from sslzoo.views.spectrograms import SOUND_RATE

FRAMES = 30
"""Of every video here; the frames of the next one spell the next numbers."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets cache")
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)


def write_videos(root: Path, paths: list[str], codec: str = "mpeg4") -> Path:
    for number, path in enumerate(paths):
        write_video(root / path, FRAMES, codec, first=number * FRAMES, b_frames=0)
    return root


def which(source: Source) -> list[int]:
    """The places of a source's videos among those written."""
    return [numbers(source.read(index)["clip"].frames(torch.tensor([0])))[0] // FRAMES for index in range(len(source))]


# Sources


def test_folders_of_videos_are_read_as_folders_of_images_are(tmp_path: Path) -> None:
    root = write_videos(tmp_path / "a", ["test/run/x.mp4", "train/run/x.avi", "train/run/y.MP4", "train/wave/z.mkv"])
    (root / "train" / "run" / "thumbnail.png").write_bytes(b"")
    source = open_source(f"folder:{root}")
    assert (source.name, which(source), source.class_names) == ("folder:a[train]", [1, 2, 3], ("run", "wave"))
    assert source.labels().tolist() == [0, 0, 1]
    assert which(open_source(f"folder:{root}[test]")) == [0]
    assert split_names(f"folder:{root}") == ["test", "train"]
    assert which(pickle.loads(pickle.dumps(source))) == [1, 2, 3]


def test_images_beside_fewer_videos_are_a_folder_of_images(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    write_videos(tmp_path, ["x.mp4", "y.mp4"])
    assert len(open_source(f"folder:{tmp_path}")) == 3
    assert set(open_source(f"folder:{tmp_path}").read(0)) == {"image"}


def test_folders_of_frames_are_clips_if_they_are_asked_for_as_such(tmp_path: Path) -> None:
    for number, path in enumerate(["train/run/a", "train/run/b", "train/wave/c", "test/run/d"]):
        write_frames(tmp_path / "v" / path, 11, first=number * FRAMES)
    source = open_source(f"frames:{tmp_path / 'v'}")
    assert (source.name, which(source), source.labels().tolist()) == ("frames:v[train]", [0, 1, 2], [0, 0, 1])
    assert which(open_source(f"frames:{tmp_path / 'v'}[test]")) == [3]
    assert len(open_source(f"folder:{tmp_path / 'v'}[train]")) == 33
    with pytest.raises(UsageError, match="holds pictures, not folders of frames: write folder:"):
        open_source(f"frames:{tmp_path / 'v' / 'test' / 'run' / 'd'}")
    other = source.fingerprint
    write_frames(tmp_path / "v" / "train/run/b", 12)
    assert open_source(f"frames:{tmp_path / 'v'}").fingerprint != other


def test_ucf101_has_its_three_official_splits(tmp_path: Path) -> None:
    root = write_videos(
        tmp_path / "UCF101", [f"UCF-101/{name}" for name in ("Archery/a.avi", "Archery/b.avi", "Punch/c.avi")]
    )
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\n2 Punch\n")
    for number, (train, test) in enumerate([("ac", "b"), ("bc", "a"), ("ab", "c")], 1):
        path = {"a": "Archery/a.avi", "b": "Archery/b.avi", "c": "Punch/c.avi"}
        (lists / f"trainlist0{number}.txt").write_text("".join(f"{path[name]} 1\n" for name in train))
        (lists / f"testlist0{number}.txt").write_text("".join(f"{path[name]}\r\n" for name in test))
    assert split_names(f"folder:{root}") == ["test", "test2", "test3", "train", "train2", "train3"]
    train = open_source(f"folder:{root}")
    assert (train.name, which(train), train.labels().tolist()) == ("folder:UCF101[train]", [0, 2], [0, 1])
    assert train.class_names == ("Archery", "Punch")
    assert which(open_source(f"folder:{root}[test]")) == [1]
    assert [default_test_split(split_names(f"folder:{root}"), "D", train) for train in ("train", "train3[:9]")] == [
        "test",
        "test3",
    ]
    test = open_source(f"folder:{root}[test3]")
    assert (which(test), test.labels().tolist()) == ([2], [1])
    for train_split, test_split in (("train", "test3"), ("train2[:1]", "test"), ("train2", "test2+test3")):
        with pytest.raises(UsageError, match="drawn from all of its samples"):
            evaluate("action", "random:test_resnet", f"folder:{root}", train_split=train_split, test_split=test_split)
    unfitted = evaluate(
        "retrieval", "random:test_resnet", f"folder:{root}", test_split="train+test3", baseline=False, k=(1,)
    )
    assert unfitted.test["name"] == "folder:UCF101[train+test3]"  # where nothing is trained, nothing overlaps


def test_hmdb51_has_its_three_official_splits(tmp_path: Path) -> None:
    root = write_videos(tmp_path / "hmdb51", ["jump/a.avi", "jump/b.avi", "wave/c.avi", "wave/d.avi"])
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir()
    for number in (1, 2, 3):
        (lists / f"jump_test_split{number}.txt").write_text(f"a.avi {1 if number == 1 else 2} \nb.avi 2 \n")
        (lists / f"wave_test_split{number}.txt").write_text("c.avi 1 \nd.avi 0 \n")
    train, test = open_source(f"folder:{root}[train]"), open_source(f"folder:{root}[test2]")
    assert (which(train), train.labels().tolist(), train.class_names) == ([0, 2], [0, 1], ("jump", "wave"))
    assert (which(test), test.labels().tolist(), test.class_names) == ([0, 1], [0, 0], ("jump", "wave"))


def test_lists_without_their_videos_say_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "ucfTrainTestlist").mkdir()
    with pytest.raises(UsageError, match="has no lists of what is trained and tested on"):
        open_source(f"folder:{tmp_path}")
    for part in ("train", "test"):
        (tmp_path / "ucfTrainTestlist" / f"{part}list01.txt").write_text("Archery/a.avi 1\n")
    with pytest.raises(UsageError, match="has no folder Archery of videos"):
        open_source(f"folder:{tmp_path}")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A folder with one parquet file of three videos, with a label each."""
    root = write_videos(tmp_path / "files", ["run/a.mp4", "run/b.mp4", "wave/c.mp4"])
    cells = [{"bytes": file.read_bytes(), "path": file.name} for file in sorted(root.rglob("*.mp4"))]
    labels = datasets.ClassLabel(names=["run", "wave"])
    features = datasets.Features({"video": datasets.Video(decode=False), "label": labels})
    (tmp_path / "table").mkdir()
    rows = {"video": cells, "label": [0, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "table" / "train-0.parquet")
    return tmp_path / "table"


def test_a_table_with_a_column_of_videos_is_a_source_and_a_stream(table: Path) -> None:
    source = open_source(str(table))
    assert (which(source), source.labels().tolist(), source.class_names) == ([0, 1, 2], [0, 0, 1], ("run", "wave"))
    assert source.fingerprint == open_source(f"folder:{table.parent / 'files'}").fingerprint
    stream = open_stream(str(table))
    assert stream.kind == "video"
    cells = stream.cells(0, 0, 0, 1)
    references = [(next(cells), index, 7 * index) for index in range(3)]
    read = StreamedSamples(stream.name, 3, ClipSampling(4), stream.kind).__getitems__(references)
    assert {numbers(sample["clip"])[0] // FRAMES for sample in read} == {0, 1, 2}


def test_an_image_column_is_taken_before_one_of_videos() -> None:
    features = datasets.Features(
        {"video": datasets.Video(), "image": datasets.Image(), "label": datasets.Value("int64")}
    )
    assert Columns.of(features, "D") == Columns("image", "label", "image")
    assert Columns.of(features, "D", "video") == Columns("video", "label", "video")
    assert Columns.of({"mp4": datasets.Value("binary")}, "D") == Columns("mp4", None, "video")


# Training


class Windows(Views):
    """The windows as they are."""

    def __init__(self, sampling: ClipSampling | None) -> None:
        self.sampling = sampling

    def crop(self, samples: list[Sample]) -> Batch:
        fps = torch.tensor([sample.get("fps", 0.0) for sample in samples])
        return {"clip": torch.stack([sample["clip"] for sample in samples]), "fps": fps}


def batches(source: Source, sampling: ClipSampling | None, workers: int = 0, **order: int) -> list[Batch]:
    order = {"batch_size": 4, "seed": 1, **order}
    sampler = KeyedOrder(len(source), **order)
    views = Windows(sampling)
    return list(train_loader(source, views, channels=3, sampler=sampler, workers=workers, augment_in_workers=True))


def test_training_gets_windows_that_are_a_function_of_the_samples_keys(tmp_path: Path) -> None:
    source = open_source(f"folder:{write_videos(tmp_path, [f'{number}.mp4' for number in range(8)])}")
    sampling = ClipSampling(4, 2, short_side=24)
    here = batches(source, sampling)
    starts = set()
    for batch in here:
        assert (batch["clip"].shape, batch["fps"].tolist()) == ((4, 4, 3, 24, 32), [12.5] * 4)
        for clip, index in zip(batch["clip"], batch["index"].tolist(), strict=True):
            first, *rest = (number - index * FRAMES for number in numbers(clip))
            assert rest == [first + 2, first + 4, first + 6]
            starts.add(first)
    assert len(starts) > 3
    for batch, other in zip(here, batches(source, sampling, workers=2), strict=True):
        assert all(torch.equal(batch[name], other[name]) for name in batch)
    parts = [batches(source, sampling, accumulate=2, rank=rank, world=2)[0]["clip"] for rank in range(2)]
    assert torch.equal(torch.cat(parts), here[0]["clip"][:2])


def test_without_a_sampling_a_video_gives_16_frames_and_a_ready_clip_all(tmp_path: Path) -> None:
    source = open_source(f"folder:{write_videos(tmp_path, ['a.mp4'])}")
    assert batches(source, None, batch_size=1)[0]["clip"].shape == (1, 16, 3, HEIGHT, WIDTH)
    drawn = MovingShapes().open("train[:4]")
    for batch in batches(drawn, None):
        assert torch.equal(batch["clip"], torch.stack([drawn.read(index)["clip"] for index in batch["index"].tolist()]))
    for batch in batches(drawn, ClipSampling(5, 3)):
        whole = torch.stack([drawn.read(index)["clip"] for index in batch["index"].tolist()])
        assert any(torch.equal(batch["clip"][0], whole[0, first : first + 13 : 3]) for first in range(4))


def test_a_video_that_cannot_be_read_is_named_and_the_next_stands_in(tmp_path: Path) -> None:
    root = write_videos(tmp_path, [f"{number}.mp4" for number in range(8)])
    raw = (root / "3.mp4").read_bytes()
    (root / "3.mp4").write_bytes(raw[: len(raw) // 2])
    source = open_source(f"folder:{root}")
    (bad,) = [batch for batch in batches(source, ClipSampling(2)) if "unreadable" in batch]
    assert [text.split(": ")[0] for text in bad["unreadable"]] == ["3.mp4"]
    assert len(bad["clip"]) == 4
    tally = UnreadableTally(source.name, 1000)
    tally.add(bad["unreadable"], 4)
    assert len(tally) == 1


def test_sound_is_decoded_if_it_is_asked_for(tmp_path: Path) -> None:
    class Sounds(Windows):
        def crop(self, samples: list[Sample]) -> Batch:
            return {"sound": torch.stack([sample["sound"] for sample in samples])}

    write_video(tmp_path / "a.mp4", 60, sound="aac")
    source = open_source(f"folder:{tmp_path}")
    for sampling, length in (
        (ClipSampling(5, 4, fields=("sound",)), 0.8),
        (ClipSampling(8, rate=10, fields=("sound",)), 0.8),
    ):
        order = KeyedOrder(1, 1)
        views = Sounds(sampling)
        (batch,) = train_loader(source, views, channels=3, sampler=order, workers=0, augment_in_workers=True)
        assert batch["sound"].shape == (1, length * SOUND_RATE)
    write_video(tmp_path / "silent.mp4", 60)
    both, sampling = open_source(f"folder:{tmp_path}"), ClipSampling(5, fields=("sound",))
    (batch,) = train_loader(
        both, Sounds(sampling), channels=3, sampler=KeyedOrder(2, 2), workers=0, augment_in_workers=True
    )
    assert batch["unreadable"] == ["silent.mp4: no sound track"] and len(batch["sound"]) == 2
    with pytest.raises(UsageError, match="the data has no sound, which this method works on, only clip, fps"):
        batches_of = train_loader(
            source, Sounds(ClipSampling(5)), channels=3, sampler=KeyedOrder(1, 1), workers=0, augment_in_workers=True
        )
        list(batches_of)


def test_clips_get_the_channels_that_images_would() -> None:
    rgb = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for channels in (1, 3, 4):
        found = clip_with_channels(rgb, channels)
        for picture, array in zip(found, rgb.permute(0, 2, 3, 1).numpy(), strict=True):
            wanted = np.asarray(with_channels(Image.fromarray(array), channels)).reshape(8, 8, channels)
            assert np.array_equal(picture.permute(1, 2, 0).numpy(), wanted)


# Evaluation


def test_an_encoder_of_images_sees_frames_from_all_over_a_clip(tmp_path: Path) -> None:
    source = open_source(f"folder:{write_videos(tmp_path, ['a.mp4', 'b.mp4', 'c.mp4'])}")
    spec = InputSpec(size=(3, 24, 32), mean=(0.0,) * 3, std=(1.0,) * 3)
    first, second = eval_loader(source, spec, 2, 0)
    assert (first["image"].shape, first["index"].tolist()) == ((2 * VIEWS, 3, 24, 32), [0, 1])
    assert numbers(first["image"] * 255) == [3, 11, 18, 26, 33, 41, 48, 56]
    assert (second["image"].shape, second["index"].tolist()) == ((VIEWS, 3, 24, 32), [2])


def test_an_encoder_of_clips_sees_windows_from_all_over_a_clip(tmp_path: Path) -> None:
    write_videos(tmp_path, ["a.mp4"])
    spec = InputSpec(size=(3, 24, 32), mean=(0.0,) * 3, std=(1.0,) * 3, frames=8)
    (batch,) = eval_loader(open_source(f"folder:{tmp_path}"), spec, 2, 0, views=2)
    assert batch["image"].shape == (2, *spec.shape)
    for clip, start in zip(batch["image"].transpose(1, 2), (5, 17), strict=True):
        assert numbers(clip * 255) == list(range(start, start + 8))


def test_the_features_of_a_clip_are_the_mean_over_its_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "cache"))
    source = open_source(f"folder:{write_videos(tmp_path / 'v', ['a.mp4', 'b.mp4', 'c.mp4'])}")
    for encoder in (create_encoder("test_resnet", 32, seed=0), create_encoder("test_r3d", 32, seed=0, frames=8)):
        encoder.eval()
        found = extract(encoder, source, batch_size=2, layers=True)
        with torch.no_grad():
            for row, batch in zip(found.final, eval_loader(source, encoder.spec.input, 1, 0), strict=True):
                assert torch.allclose(row, encoder(batch["image"]).mean(0), atol=1e-5)
        assert torch.equal(cached_features(encoder, source, layers=True, batch_size=2).final, found.final)
        assert all(len(layer) == 3 for layer in found.layers.values()) and found.layers


def test_an_encoder_of_clips_on_images_is_refused(tmp_path: Path) -> None:
    Image.fromarray(frame(1)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"\[train\] has no clips, which the encoder takes"):
        extract(create_encoder("test_r3d", 32, frames=8), open_source(f"folder:{tmp_path}"))
