"""Moving shapes are what they say: the same everywhere, with a direction of time, and sounds that belong to them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sslzoo.config import UsageError
from sslzoo.datasets.moving_shapes import (
    BANDS,
    FRAMES,
    KINDS,
    SEEDS,
    SIDE,
    TICKS,
    TRAIL,
    VERSION,
    MovingShapes,
    Scene,
)
from sslzoo.views.clips import sound_length
from sslzoo.views.spectrograms import log_mel

TRAIN = MovingShapes().open("train")
FILLED = [index for index in range(180) if KINDS[index % 6] != "ring"]


def scene(index: int) -> Scene:
    """What a sample of the training split was drawn from."""
    return Scene.draw(np.random.default_rng((SEEDS["train"], index)), KINDS[index % 6])


def color_at(frame: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """The pixel of a frame (3, H, W) at a place, counted from the middle in units of its shorter side."""
    _, height, width = frame.shape
    row, column = round(y * min(height, width) + (height - 1) / 2), round(x * min(height, width) + (width - 1) / 2)
    return frame[:, row, column].float()


def test_a_sample_holds_a_picture_a_clip_and_a_sound() -> None:
    samples = [TRAIN.read(index) for index in range(40)]
    for sample in samples:
        assert sample.keys() == {"image", "clip", "audio", "sound", "fps"}
        assert isinstance(sample["image"], Image.Image) and sample["image"].mode == "RGB"
        assert all(40 <= side <= 72 for side in sample["image"].size)
        assert sample["clip"].shape == (FRAMES, 3, SIDE, SIDE) and sample["clip"].dtype == torch.uint8
        assert sample["audio"].shape == (1, BANDS, TICKS) and sample["audio"].dtype == torch.float32
        assert sample["audio"].isfinite().all()
        assert sample["sound"].shape == (sound_length(FRAMES, sample["fps"]),)
        assert sample["sound"].dtype == torch.float32 and sample["sound"].abs().max() < 1
    assert len({sample["image"].size for sample in samples}) > 30


def test_a_sample_is_the_same_whenever_and_wherever_it_is_read() -> None:
    source = pickle.loads(pickle.dumps(TRAIN))
    for index in (7, 3, 7):
        one, again = TRAIN.read(index), source.read(index)
        assert one["image"].tobytes() == again["image"].tobytes()
        assert torch.equal(one["clip"], again["clip"]) and torch.equal(one["audio"], again["audio"])


def test_a_field_is_the_same_whatever_was_looked_at_before() -> None:
    one, other = TRAIN.read(3), TRAIN.read(3)
    names = list(one)
    drawn = {name: one[name] for name in names} | {f"{name} again": one[name] for name in names}
    for name in reversed(names):
        assert np.array_equal(other[name], drawn[name]) and np.array_equal(other[name], drawn[f"{name} again"])


def test_no_two_samples_are_equal_and_none_is_in_both_splits() -> None:
    splits = [TRAIN, MovingShapes().open("test")]
    assert [len(split) for split in splits] == [384, 192]
    clips = {split.read(index)["clip"].numpy().tobytes() for split in splits for index in range(len(split))}
    assert len(clips) == 384 + 192


def test_slices_are_those_of_every_data_set() -> None:
    part = MovingShapes().open("train[10:38]+test[:2]")
    assert len(part) == 38 - 10 + 2
    assert torch.equal(part.read(0)["clip"], TRAIN.read(10)["clip"])
    assert torch.equal(part.labels()[:28], TRAIN.labels()[10:38])
    assert torch.equal(part.read(29)["clip"], MovingShapes().open("test").read(1)["clip"])
    with pytest.raises(UsageError, match="no split 'trian': did you mean 'train'"):
        MovingShapes().open("trian")
    with pytest.raises(UsageError, match="has no samples"):
        MovingShapes().open("train[:0]")


def test_the_label_is_the_kind_and_all_kinds_are_equally_frequent() -> None:
    for split in MovingShapes.info.splits:
        source = MovingShapes().open(split)
        assert source.class_names == KINDS
        assert source.labels().bincount().tolist() == [len(source) // 6] * 6


def test_the_fingerprint_tells_which_samples_these_are_and_not_what_they_are_called() -> None:
    names = ["train", "train[:38]", "train[:10%]", "train[:20]+train[20:38]", "test[:38]"]
    whole, first, same, joined, test = (MovingShapes().open(name).fingerprint for name in names)
    assert first == same == joined
    assert len({whole, first, test}) == 3


@pytest.mark.parametrize("index", FILLED[:10])
def test_the_shape_is_where_its_path_says_in_the_clip_and_at_the_middle_of_it_in_the_picture(index: int) -> None:
    drawn, sample = scene(index), TRAIN.read(index)
    color = torch.from_numpy(drawn.color)
    for frame, x, y in zip(sample["clip"], drawn.x[TRAIL:], drawn.y[TRAIL:], strict=True):
        assert (color_at(frame, x, y) - color).abs().max() < 18  # what the noise adds
    middle = TRAIL + FRAMES // 2
    image = torch.from_numpy(np.array(sample["image"])).permute(2, 0, 1)
    assert (color_at(image, drawn.x[middle], drawn.y[middle]) - color).abs().max() < 18


def test_a_shape_leaves_its_color_where_it_was_and_not_where_it_will_be() -> None:
    nearer = []
    for index in FILLED:
        drawn, clip = scene(index), TRAIN.read(index)["clip"]
        path = torch.from_numpy(np.stack([drawn.x, drawn.y], 1))[TRAIL:]
        for time in range(2, FRAMES - 2):
            places = path[[time - 2, time, time + 2]]
            if F.pdist(places).min() > 1.1 * drawn.radius:
                (x, y), _, (next_x, next_y) = places.tolist()
                was, will_be = color_at(clip[time], x, y), color_at(clip[time], next_x, next_y)
                color = torch.from_numpy(drawn.color)
                nearer.append(bool((was - color).norm() < (will_be - color).norm()))
    assert len(nearer) > 25 and np.mean(nearer) > 0.9


def test_a_bounce_takes_speed_away() -> None:
    before, after = [], []
    for index in range(60):
        speed = np.diff(scene(index).y)
        for time in range(1, len(speed) - 2):
            if speed[time] > 0 > speed[time + 1]:
                before.append(speed[time - 1])
                after.append(-speed[time + 2])
    assert len(before) > 40
    assert np.mean(after) < 0.95 * np.mean(before)


def test_the_pitch_follows_the_height() -> None:
    for index in range(0, 60, 6):  # circles, which sound without overtones
        pitch = TRAIN.read(index)["audio"][0].argmax(0).numpy()
        height = -scene(index).y[TRAIL:].repeat(TICKS // FRAMES)
        assert np.corrcoef(pitch, height)[0, 1] > 0.9
        assert pitch.max() - pitch.min() >= 2


def test_the_sound_is_the_tone_that_its_picture_shows() -> None:
    for index in range(0, 60, 6):
        sample = TRAIN.read(index)
        band = log_mel(sample["sound"][None], bands=200)[0, 0].argmax(0).float()
        pitch = sample["audio"][0].argmax(0).float()
        moments = torch.linspace(0, len(band) - 1, TICKS).long()
        assert np.corrcoef(band[moments].numpy(), pitch.numpy())[0, 1] > 0.9


def test_the_overtones_are_those_of_the_kind() -> None:
    audible = {kind: TRAIN.read(index)["audio"].gt(-2).sum(1).float().mean() for index, kind in enumerate(KINDS)}
    assert min(audible, key=lambda kind: audible[kind]) == "circle"
    assert max(audible, key=lambda kind: audible[kind]) == "star"


def test_the_drawing_is_of_its_version() -> None:
    """Where these numbers change, the data do: give ``VERSION`` its next number with them."""
    samples = [TRAIN.read(index) for index in (0, 5, 100)]
    clips = [round(float(sample["clip"].float().mean())) for sample in samples]
    sounds = [round(float(sample["audio"].mean()), 1) for sample in samples]
    assert (VERSION, clips, sounds) == (1, [48, 78, 67], [-4.2, -3.5, -3.1])
