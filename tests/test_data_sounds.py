"""Sounds: files, folders and tables of them, at one rate whatever they have."""

from __future__ import annotations

from pathlib import Path

import av
import datasets
import numpy as np
import pytest
import torch
from sounding_clips import tone
from videos import write_video

import sslzoo
from sslzoo.api import open_dataset
from sslzoo.config import UsageError
from sslzoo.data.folder import Folder
from sslzoo.data.rows import Rows
from sslzoo.data.sounds import decode_sound, placed
from sslzoo.data.source import Unreadable
from sslzoo.encoders import create_sound_encoder
from sslzoo.evaluations.audio import Audio, AudioConfig, hear
from sslzoo.views.spectrograms import SOUND_RATE

CODECS = {
    "wav": ("pcm_s16le", 44100),
    "flac": ("flac", 44100),
    "mp3": ("libmp3lame", 22050),
    "opus": ("libopus", 48000),
    "m4a": ("aac", 32000),
    "aiff": ("pcm_s16be", 8000),
}


def write_sound(place: Path, hertz: float = 440.0, seconds: float = 1.5, left: float = 1.0, right: float = 1.0) -> Path:
    """A tone, as loud as is said in either channel."""
    codec, rate = CODECS[place.suffix[1:]]
    place.parent.mkdir(parents=True, exist_ok=True)
    wave = np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    with av.open(str(place), "w") as file:
        stream = file.add_stream(codec, rate=rate, layout="stereo")
        file.start_encoding()
        frame = av.AudioFrame.from_ndarray(np.float32([left * wave, right * wave]), "fltp", "stereo")
        frame.sample_rate, frame.pts = rate, 0
        if len(wave):
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return place


@pytest.mark.parametrize("ending", CODECS)
def test_a_file_is_the_mean_of_its_channels_at_one_rate(ending: str, tmp_path: Path) -> None:
    path = write_sound(tmp_path / f"a.{ending}", left=0.8, right=0.2)
    sound = decode_sound(path, "a")
    assert sound.dtype == torch.float32 and abs(len(sound) / SOUND_RATE - 1.5) < 0.02
    expected = tone(1.5, 440.0, 0.5)
    inside = slice(1000, 23000)
    assert (sound[inside] - expected[inside]).abs().mean() < 0.02
    assert decode_sound(path.read_bytes(), "a").equal(sound)


def test_what_is_no_sound_is_one_line(tmp_path: Path) -> None:
    mute = write_video(tmp_path / "mute.mp4", 5)
    files = {
        "empty": (b"", "invalid data"),
        "text": (b"hello", "invalid data"),
        "list of files": (f"#EXTM3U\n#EXTINF:9,\nfile://{tmp_path}/mute.mp4\n".encode(), "invalid"),
        "mute": (mute.read_bytes() if isinstance(mute, Path) else b"", "no sound"),
        "without a moment": (write_sound(tmp_path / "0.wav", seconds=0).read_bytes(), "no sound"),
        "missing": (tmp_path / "none.wav", "no such file"),
        "half": (write_sound(tmp_path / "a.m4a").read_bytes()[:5000], "invalid data"),
    }
    for name, (raw, reason) in files.items():
        with pytest.raises(Unreadable, match=f"^{name}: .*{reason}"):
            decode_sound(raw, name)


def test_frames_of_another_kind_are_resampled_by_themselves() -> None:
    frames = []
    for layout, rate in (("mono", 16000), ("stereo", 16000), ("stereo", 32000)):
        channels = 1 if layout == "mono" else 2
        frame = av.AudioFrame.from_ndarray(np.full((channels, rate // 10), 0.5, np.float32), "fltp", layout)
        frame.sample_rate = rate
        frames.append((len(frames) * 0.1, frame))
    sound = placed(frames, -0.1, 8000)
    assert not sound[:1600].any() and not sound[6400:].any()
    assert (sound[1700:6300] - 0.5).abs().max() < 0.2 and sound[1700:6300].median() == pytest.approx(0.5, abs=1e-3)


def test_a_folder_is_of_what_it_has_most_files_of(tmp_path: Path) -> None:
    for name in ("b.wav", "a.flac"):
        write_sound(tmp_path / name, seconds=0.1)
    (tmp_path / "cover.png").touch()
    sounds = Folder.scan(tmp_path)
    assert (sounds.kind, sounds.splits) == ("audio", {"train": ["a.flac", "b.wav"]})
    write_video(tmp_path / "a.mp4", 2)
    write_video(tmp_path / "b.mp4", 2)
    assert Folder.scan(tmp_path).splits == {"train": ["a.mp4", "b.mp4"]}  # of as many, videos come first
    (tmp_path / "back.png").touch()
    assert Folder.scan(tmp_path).splits == {"train": ["back.png", "cover.png"]}


def test_tables_may_have_a_column_of_sounds(tmp_path: Path) -> None:
    raw = [write_sound(tmp_path / f"{hertz}.wav", hertz, 0.2).read_bytes() for hertz in (300.0, 900.0)]
    cells = [{"bytes": each, "path": None} for each in raw]
    table = datasets.Dataset.from_dict({"audio": cells, "esc": [4, 5], "category": [1, 0]})
    table = table.cast_column("audio", datasets.Audio()).cast_column("category", datasets.ClassLabel(names=["a", "b"]))
    table.to_parquet(tmp_path / "table.parquet")
    source = open_dataset(str(tmp_path / "table.parquet"))
    assert source.labels().tolist() == [1, 0]
    assert [source.read(place)["sound"].equal(decode_sound(each, "")) for place, each in enumerate(raw)] == [True, True]
    plain = Rows(datasets.Dataset.from_dict({"Sound": raw}), "D")
    assert plain.read(1)["sound"].equal(source.read(1)["sound"])
    assert plain.fingerprint != Rows(datasets.Dataset.from_dict({"Sound": raw[::-1]}), "D").fingerprint
    beside = Rows(datasets.Dataset.from_dict({"sound": raw, "video": raw}), "D")
    assert "clip" in beside.read(0)  # a table of videos, of which their sound comes with them


def test_several_columns_of_sounds_must_be_chosen_from() -> None:
    features = datasets.Features({"left": datasets.Audio(), "right": datasets.Audio()})
    table = datasets.Dataset.from_dict({"left": [None], "right": [None]}, features)
    with pytest.raises(UsageError, match=r"D has several audio columns \(left, right\): choose .* --image-column"):
        Rows(table, "D")
    with pytest.raises(Unreadable, match="row 0: the cell is empty"):
        Rows(table, "D", image_column="right").read(0)


def test_classes_of_a_folder_of_sounds_are_told_apart(tmp_path: Path) -> None:
    for split, count in (("train", 8), ("test", 3)):
        for number in range(count):
            for name, hertz in (("low", 300.0), ("high", 2500.0)):
                write_sound(tmp_path / "data" / split / name / f"{number}.wav", hertz + 10 * number, 0.5)
    encoder = create_sound_encoder("test_resnet", 0.5)
    train, test = (open_dataset(f"folder:{tmp_path}/data", split) for split in ("train", "test"))
    assert Audio(AudioConfig(windows=2)).run(encoder, train, test).metrics["accuracy"] == 1.0
    with pytest.raises(UsageError, match="has no images or clips, which the encoder takes"):
        sslzoo.evaluate("knn", "random:test_resnet", f"folder:{tmp_path}/data")
    with pytest.raises(UsageError, match="the data has no image, which this method works on, only sound"):
        sslzoo.pretrain("rotation", dataset=f"folder:{tmp_path}/data", encoder="test_resnet", batch_size=4)


def test_a_sound_that_cannot_be_read_is_named_and_passed_over(tmp_path: Path) -> None:
    for number in range(150):
        write_sound(tmp_path / f"{number:03}.wav", seconds=0.05)
    (tmp_path / "007.wav").write_bytes(b"")
    features, places = hear(create_sound_encoder("test_resnet", 0.5), open_dataset(f"folder:{tmp_path}"), 1)
    assert len(features) == len(places) == 149 and 7 not in places.tolist()
