"""Which frames of a clip are taken, what is cut with them, and the crops of whole clips."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.views.clips import (
    ClipSampling,
    clip_random_resized_crop,
    clip_resized_crop,
    cut,
    motion,
    motion_in_windows,
    weighted_choice,
    window_for,
)
from sslzoo.views.crop import image_sizes, random_boxes, resized_crop
from sslzoo.views.keyed import Draw
from sslzoo.views.spectrograms import SOUND_RATE


def taken(sampling: ClipSampling, place: float, num_frames: int, fps: float = 0.0) -> list[int]:
    return sampling.at(place, num_frames, fps).index.tolist()


def test_a_window_has_its_length_and_stride_wherever_it_lies() -> None:
    sampling = ClipSampling(length=4, stride=3)
    assert taken(sampling, 0.0, 20) == [0, 3, 6, 9]
    assert taken(sampling, 0.5, 20) == [5, 8, 11, 14]
    assert taken(sampling, 1 - 2**-24, 20) == [10, 13, 16, 19]


def test_every_window_that_fits_is_as_likely_as_any_other() -> None:
    keys = Draw.root(0).of(torch.arange(3000)).key.tolist()
    starts = torch.tensor([int(window_for(ClipSampling(4, 2), key, 12).index[0]) for key in keys])
    assert starts.bincount().tolist() == pytest.approx([500] * 6, rel=0.15)
    assert len({tuple(window_for(ClipSampling(4, 2), keys[0], 12).index.tolist()) for _ in range(3)}) == 1


def test_a_short_clip_is_taken_with_a_smaller_stride_then_its_last_frame_is_repeated() -> None:
    sampling = ClipSampling(length=4, stride=3)
    assert taken(sampling, 0.9, 9) == [2, 4, 6, 8]
    assert taken(sampling, 0.9, 5) == [1, 2, 3, 4]
    assert taken(sampling, 0.9, 2) == [0, 1, 1, 1]
    assert taken(ClipSampling(length=1, stride=5), 0.9, 1) == [0]


def test_a_rate_leaves_out_or_repeats_frames() -> None:
    assert taken(ClipSampling(4, 1, rate=10), 0.0, 100, fps=25) == [0, 2, 5, 7]
    assert taken(ClipSampling(4, 2, rate=10), 0.0, 100, fps=30) == [0, 6, 12, 18]
    assert taken(ClipSampling(4, 1, rate=50), 0.0, 100, fps=25) == [0, 0, 1, 1]
    assert taken(ClipSampling(4, 2, rate=10), 0.0, 100) == [0, 2, 4, 6]
    assert taken(ClipSampling(4, 2, rate=10), 0.0, 15, fps=30) == [0, 3, 6, 9]


def test_windows_for_evaluation_are_spread_evenly() -> None:
    def starts(count: int, num_frames: int) -> list[int]:
        return [int(window.index[0]) for window in ClipSampling(4).evenly(count, num_frames)]

    assert starts(1, 13) == [5]
    assert starts(5, 13) == [1, 3, 5, 7, 9]
    assert starts(2, 4) == [0, 0]
    assert [window.index.tolist() for window in ClipSampling(1).evenly(3, 9)] == [[1], [4], [7]]


@pytest.mark.parametrize("wrong", [{"length": 0}, {"stride": 0}, {"rate": -1.0}, {"short_side": -1}])
def test_a_sampling_that_takes_nothing_is_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match="length and stride are at least 1"):
        ClipSampling(**wrong)


def world(frames: int = 12, fps: float = 10.0) -> dict:
    """A clip whose fields all spell their frame's number, and a sound that spells its time in seconds."""
    number = torch.arange(frames).view(-1, 1, 1, 1)
    return {
        "clip": number.expand(-1, 3, 4, 4).to(torch.uint8),
        "fps": fps,
        "sound": torch.arange(int(frames / fps * SOUND_RATE)) / SOUND_RATE,
        "depth": number.expand(-1, 1, 4, 4).float(),
        "flow": number.expand(-1, 2, 4, 4).float().masked_fill(number == frames - 1, torch.nan),
        "visible": number.expand(-1, 1, 4, 4) < frames - 1,
        "camera": number.view(-1, 1, 1).expand(-1, 4, 4).float(),
        "intrinsics": torch.eye(3),
        "index": 3,
    }


def test_all_that_belongs_to_the_frames_is_cut_with_them() -> None:
    sample = cut(world(), ClipSampling(3, 2).at(0.99, 12, 10.0))
    assert [sample[name].flatten(1)[:, 0].tolist() for name in ("clip", "depth", "camera")] == [[7, 9, 11]] * 3
    assert (sample["fps"], sample["index"], sample["intrinsics"].shape) == (5.0, 3, (3, 3))
    assert len(sample["sound"]) == 3 / 5 * SOUND_RATE
    assert sample["sound"][0] == pytest.approx(0.7)
    assert sample["sound"][int(0.5 * SOUND_RATE) - 1] == pytest.approx(1.2, abs=1e-3)
    assert not sample["sound"][int(0.5 * SOUND_RATE) :].any()


def test_flow_is_known_only_to_the_next_frame_of_the_source() -> None:
    near = cut(world(), ClipSampling(3).at(0.0, 12))
    assert near["flow"].isnan().flatten(1).all(1).tolist() == [False, False, True]
    assert near["visible"].flatten(1).all(1).tolist() == [True, True, False]
    far = cut(world(), ClipSampling(3, 2).at(0.0, 12))
    assert far["flow"].isnan().all() and not far["visible"].any()
    assert world()["visible"].any()


def noise(*shape: int) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(len(shape)))


def test_a_clip_is_cropped_as_each_of_its_frames_would_be() -> None:
    clips = [noise(5, 3, 30, 40), noise(5, 3, 50, 20)]
    draw = Draw(torch.tensor([5, 6]))
    batch = clip_random_resized_crop(clips, (16, 12), draw, scale=(0.3, 1.0))
    assert (batch.shape, batch.dtype) == ((2, 5, 3, 16, 12), torch.uint8)
    boxes, flip = random_boxes(image_sizes(clips), draw, (0.3, 1.0)), draw.bernoulli("flip", 0.5)
    for number in range(5):
        frames = resized_crop([clip[number] for clip in clips], boxes, flip, (16, 12))
        assert (frames.int() - batch[:, number].int()).abs().max() <= 1
    assert torch.equal(clip_resized_crop(clips, boxes, ~flip, (16, 12)).flip(4), batch)


def test_motion_is_how_much_neighbouring_frames_differ() -> None:
    clip = torch.zeros(4, 3, 64, 48, dtype=torch.uint8)
    clip[2] = 255
    clip[3, :, :, :24] = 255
    assert motion(clip).tolist() == pytest.approx([0, 1, 0.5])
    assert motion(clip[None, :, :1]).tolist() == [pytest.approx([0, 1, 0.5])]
    assert motion_in_windows(motion(clip), 3).tolist() == pytest.approx([0.5, 0.75])


def test_a_weighted_choice_goes_by_the_weights() -> None:
    draw = Draw(Draw.root(1).of(torch.arange(4000)).key)
    chosen = weighted_choice(torch.tensor([[0.0, 1.0, 0.0, 3.0]]).expand(4000, 4), draw, "window")
    assert chosen.bincount(minlength=4).tolist() == pytest.approx([0, 1000, 0, 3000], rel=0.1)
    even = weighted_choice(torch.zeros(4000, 2), draw, "window").bincount()
    assert even.tolist() == pytest.approx([2000, 2000], rel=0.1)
