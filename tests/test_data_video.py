"""Videos: the frames and the sound that are asked for, wherever they are in whatever file."""

from __future__ import annotations

import io
import pickle
import sys
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from videos import HEIGHT, TONE, WIDTH, numbers, write_frames, write_video

from sslzoo.config import UsageError
from sslzoo.data.frames import Frames
from sslzoo.data.source import Unreadable
from sslzoo.data.video import Video
from sslzoo.views.spectrograms import SOUND_RATE


def video(path: Path) -> Video:
    return Video(path, path.name)


# Frames


@pytest.mark.parametrize(
    ("file", "codec", "b_frames"),
    [
        ("a.mp4", "libx264", 2),
        ("a.mkv", "libx264", 2),
        ("a.webm", "libvpx-vp9", 0),
        ("a.avi", "mpeg4", 2),
        ("b.avi", "libx264", 2),
        ("a.mov", "mpeg4", 0),
    ],
)
def test_any_frames_are_those_of_decoding_the_whole_file(tmp_path: Path, file: str, codec: str, b_frames: int) -> None:
    write_video(tmp_path / file, 60, codec, b_frames=b_frames)
    with av.open(tmp_path / file) as whole:
        frames = [picture.to_ndarray(format="rgb24") for picture in whole.decode(video=0)]
    read = video(tmp_path / file)
    assert (read.num_frames, read.fps) == (60, 25)
    for index in ([30, 31, 32], [0, 1], [11, 12, 13], [58, 59], [3, 29, 59], [7, 7, 5]):
        clip = read.frames(torch.tensor(index))
        assert numbers(clip) == index
        assert np.array_equal(clip.permute(0, 2, 3, 1).numpy(), np.stack([frames[number] for number in index]))


def test_at_a_varying_rate_a_frame_is_what_is_shown_at_its_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum([0, *rng.choice([20, 40, 120], 59)]).tolist()
    write_video(tmp_path / "a.mp4", milliseconds=times, gop=10)
    read = video(tmp_path / "a.mp4")
    ends = [*times[1:], times[-1] + 1000]
    for index in ([25, 26, 27, 28], [0, 10, 50], [read.num_frames - 1]):
        shown = [next(n for n, end in enumerate(ends) if end > (i + 0.5) * 1000 / read.fps) for i in index]
        assert numbers(read.frames(torch.tensor(index))) == shown
    assert read.num_frames / read.fps == pytest.approx(times[-1] / 1000, abs=0.2)


def test_frames_are_scaled_down_to_a_shorter_side_and_never_up(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 20)
    read = video(tmp_path / "a.mp4")
    small = read.frames(torch.tensor([9, 10]), short_side=24)
    assert (small.shape, small.dtype, numbers(small)) == ((2, 3, 24, 32), torch.uint8, [9, 10])
    assert small.permute(0, 2, 3, 1).is_contiguous()
    assert read.frames(torch.tensor([9]), short_side=500).shape == (1, 3, HEIGHT, WIDTH)


TURNED = {  # where x and y go, and how the picture then looks
    "mirrored": ([-1, 0, 0, 1], lambda clip: clip.flip(3)),
    "upside down": ([1, 0, 0, -1], lambda clip: clip.flip(2)),
    "turned by 180 degrees": ([-1, 0, 0, -1], lambda clip: clip.flip((2, 3))),
    "transposed": ([0, 1, 1, 0], lambda clip: clip.mT),
    "transposed the other way": ([0, -1, -1, 0], lambda clip: clip.mT.flip((2, 3))),
    "clockwise": ([0, 1, -1, 0], lambda clip: clip.rot90(-1, (2, 3))),
    "anticlockwise": ([0, -1, 1, 0], lambda clip: clip.rot90(1, (2, 3))),
}


@pytest.mark.parametrize("how", TURNED)
def test_frames_are_turned_and_mirrored_as_the_file_says(tmp_path: Path, how: str) -> None:
    raw = bytearray(write_video(tmp_path / "a.mp4", 4).read_bytes())
    (a, b, c, d), expected = TURNED[how]
    matrix, one, quarter = raw.index(b"tkhd") + 44, 0x10000, 0x40000000
    values = np.array([a * one, b * one, 0, c * one, d * one, 0, 0, 0, quarter], ">i4")
    raw[matrix : matrix + 36] = values.tobytes()
    index = torch.tensor([2, 3])
    upright = video(tmp_path / "a.mp4").frames(index)
    assert torch.equal(Video(bytes(raw), how).frames(index), expected(upright))


def test_of_a_very_long_file_little_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", 4000, "mpeg4", gop=50, b_frames=0)
    read = video(tmp_path / "a.mp4")
    decoded = []
    timed = type(read._file)._timed
    monkeypatch.setattr(
        type(read._file), "_timed", lambda self, *where: (decoded.append(1) or one for one in timed(self, *where))
    )
    assert numbers(read.frames(torch.tensor([3777, 3778]))) == [3777, 3778]
    assert len(decoded) < 60


class Pipe(io.BytesIO):
    """What is written is not gone back to, so a file's head does not say how long it is."""

    def seekable(self) -> bool:
        return False

    seek = None  # type: ignore[assignment]


@pytest.mark.parametrize("file", ["a.mkv", "a.webm", "a.flv", "a.mp4"])
@pytest.mark.parametrize("offset", [800, 4000])
def test_a_file_that_does_not_begin_at_0_has_no_more_frames_for_that(tmp_path: Path, file: str, offset: int) -> None:
    codec = "libvpx-vp9" if file.endswith("webm") else "libx264"
    write_video(tmp_path / file, codec=codec, b_frames=0, milliseconds=[offset + 40 * number for number in range(60)])
    read = video(tmp_path / file)
    assert read.num_frames == pytest.approx(60, abs=1) and read.fps == pytest.approx(25, rel=0.02)
    last = numbers(read.frames(torch.arange(50, read.num_frames)))
    assert last[:9] == list(range(50, 59))


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
@pytest.mark.parametrize("count", [60, 250])
def test_of_a_program_stream_all_frames_are_seen(tmp_path: Path, codec: str, count: int) -> None:
    read = video(write_video(tmp_path / "a.mpg", count, codec, b_frames=0))
    assert read.num_frames == count
    assert numbers(read.frames(torch.arange(count - 5, count))) == list(range(count - 5, count))


def test_a_file_that_does_not_say_its_length_is_counted() -> None:
    pipe = Pipe()
    write_video(pipe, 30, "mpeg4", format="matroska", b_frames=0)
    read = Video(pipe.getvalue(), "a")
    assert (read.num_frames, read.fps) == (30, pytest.approx(25, rel=0.01))
    assert numbers(read.frames(torch.tensor([28, 29]))) == [28, 29]


def test_a_video_travels_to_a_worker_before_and_after_it_is_read(tmp_path: Path) -> None:
    read = video(write_video(tmp_path / "a.mp4", 5))
    for _ in range(2):
        sent = pickle.loads(pickle.dumps(read))
        assert numbers(sent.frames(torch.tensor([3]))) == numbers(read.frames(torch.tensor([3]))) == [3]


# Sound


@pytest.mark.parametrize(("file", "codec", "within"), [("a.mp4", "aac", 2e-3), ("a.mkv", "libopus", 2e-3)])
def test_the_sound_of_a_window_is_that_of_its_time(tmp_path: Path, file: str, codec: str, within: float) -> None:
    read = video(write_video(tmp_path / file, 60, sound=codec))
    for first, last in ((0, 60), (20, 40), (26, 50)):
        sound = read.sound(first, last)
        assert (sound.dtype, len(sound)) == (torch.float32, (last - first) / 25 * SOUND_RATE)
        loud = (sound.abs() > 0.2).nonzero().flatten() / SOUND_RATE + first / 25
        assert float(loud.min()) == pytest.approx(max(TONE[0], first / 25), abs=within)
        assert float(loud.max()) == pytest.approx(min(TONE[1], last / 25), abs=within)
        assert 0.75 < float(sound.abs().max()) <= 1


@pytest.mark.parametrize("file", ["a.mp4", "a.mkv"])
def test_a_hole_in_the_sound_track_is_silence(tmp_path: Path, file: str) -> None:
    write_video(tmp_path / "whole.mp4", 60, sound="aac")
    with av.open(tmp_path / "whole.mp4") as whole, av.open(tmp_path / file, "w") as cut:
        copies = {stream.index: cut.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            if packet.dts is not None and (
                packet.stream.type == "video" or not 0.4 < packet.pts * packet.time_base < 0.9
            ):
                packet.stream = copies[packet.stream.index]
                cut.mux(packet)
    for first, last in ((0, 50), (20, 40), (24, 30)):  # the tone begins at 1 s: before, in and after the hole
        loud = (video(tmp_path / file).sound(first, last).abs() > 0.2).nonzero().flatten() / SOUND_RATE + first / 25
        assert [float(loud[0]), float(loud[-1])] == pytest.approx(TONE, abs=0.03)


def test_after_the_sound_track_there_is_silence_and_without_one_nothing(tmp_path: Path) -> None:
    heard = video(write_video(tmp_path / "a.mp4", 60, sound="aac"))
    assert not heard.sound(100, 110).any() and len(heard.sound(100, 110)) == 10 / 25 * SOUND_RATE
    assert video(write_video(tmp_path / "b.mp4", 5)).sound(0, 5) is None


@pytest.mark.parametrize("file", ["a.mp4", "a.mkv"])
def test_a_sound_track_that_goes_on_does_not_make_the_video_longer(tmp_path: Path, file: str) -> None:
    read = video(write_video(tmp_path / file, 25, sound="aac", seconds=4))
    assert read.num_frames == 25
    assert numbers(read.frames(torch.tensor([24]))) == [24]


# What cannot be read


def broken(tmp_path: Path) -> dict[str, tuple[bytes, str]]:
    """By kind: the bytes of a file, and what is said of it."""
    mp4, mkv = (write_video(tmp_path / name, 60).read_bytes() for name in ("a.mp4", "a.mkv"))
    only_sound, no_frames, list_of_files = io.BytesIO(), io.BytesIO(), f"#EXTM3U\n#EXTINF:9,\nfile://{tmp_path}/a.mp4\n"
    with av.open(only_sound, "w", format="mp4") as file:
        audio = file.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        file.mux([*audio.encode(silence), *audio.encode(None)])
    write_video(no_frames, 0, "mpeg4", format="matroska", b_frames=0)
    holes = bytearray(mp4)
    holes[len(mp4) // 4 : len(mp4) // 2] = bytes(len(mp4) // 2 - len(mp4) // 4)
    return {
        "empty": (b"", "invalid data"),
        "no video": (b"garbage" * 100, "invalid"),
        "cut off": (mp4[: len(mp4) // 2], "invalid data"),
        "cut off, without an index": (mkv[: len(mkv) // 2], r"ends at 0.\d s, before 2.4 s as it should"),
        "damaged": (bytes(holes), "invalid data|damaged"),
        "only sound": (only_sound.getvalue(), "no video track"),
        "no frames": (no_frames.getvalue(), "no frames|ends too early"),
        "a list of other files": (list_of_files.encode(), "invalid"),
    }


@pytest.mark.parametrize("kind", [
    "empty", "no video", "cut off", "cut off, without an index", "damaged", "only sound", "no frames",
    "a list of other files",
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, kind: str) -> None:
    raw, says = broken(tmp_path)[kind]
    with pytest.raises(Unreadable, match=f"^cats/1.mp4: .*({says})"):
        read = Video(raw, "cats/1.mp4")
        read.frames(torch.arange(0, read.num_frames))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="^a.mp4: no such file or directory$"):
        video(tmp_path / "a.mp4").frames(torch.tensor([0]))


def test_without_pyav_the_way_to_install_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install 'sslzoo\[video\]'"):
        video(tmp_path / "a.mp4")


# Folders of frames


def test_frames_in_a_folder_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    clip = Frames(write_frames(tmp_path / "a", 12), "a")
    assert (clip.num_frames, clip.fps, clip.sound(0, 5)) == (12, 0.0, None)
    assert numbers(clip.frames(torch.tensor([1, 2, 9, 10, 10]))) == [1, 2, 9, 10, 10]
    assert clip.frames(torch.tensor([5]), short_side=24).shape == (1, 3, 24, 32)
    names = [file.name for file in clip.files]
    assert all(int(one[6:-4]) < int(next_[6:-4]) for one, next_ in pairwise(names))


def test_frames_that_do_not_make_a_clip_are_named(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "a", 3)
    (folder / "frame_1.png").write_bytes(b"garbage")
    Image.new("RGB", (9, 9)).save(folder / "frame_2.png")
    with pytest.raises(Unreadable, match="a/frame_1.png: not a picture"):
        Frames(folder, "a").frames(torch.tensor([0, 1]))
    with pytest.raises(Unreadable, match="a: its frames are of several sizes"):
        Frames(folder, "a").frames(torch.tensor([0, 2]))
    with pytest.raises(Unreadable, match="b: No such file"):
        Frames(tmp_path / "b", "b").frames(torch.tensor([0]))
