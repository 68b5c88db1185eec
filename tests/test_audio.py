"""Sounds are told apart by what an encoder of them makes of several windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sounding_clips import tone
from torch import Tensor
from videos import write_video

import sslzoo
from sslzoo.api import open_dataset
from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Source
from sslzoo.encoders import create_encoder, create_sound_encoder, spec_of
from sslzoo.evaluation import Result
from sslzoo.evaluations.audio import Audio, AudioConfig, hear, windows_of
from sslzoo.method import Sample
from sslzoo.views.spectrograms import SOUND_RATE, spectrogram


class Tones(Source):
    """Two seconds of noise, in which a low or a high tone begins somewhere."""

    class_names = ("low", "high")

    def __init__(self, samples: int, seed: int) -> None:
        self.samples, self.seed, self.name = samples, seed, f"tones[{seed}]"

    def __len__(self) -> int:
        return self.samples

    def read(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        sound = 0.01 * torch.randn(2 * SOUND_RATE, generator=generator)
        begin = int(torch.randint(0, SOUND_RATE, (1,), generator=generator))
        sound[begin : begin + SOUND_RATE] += tone(1.0, (300.0, 2000.0)[index % 2])
        return {"sound": sound}

    @property
    def fingerprint(self) -> str:
        return f"tones {self.samples} {self.seed}"

    def labels(self) -> Tensor:
        return torch.arange(self.samples) % 2


TRAIN, TEST = Tones(24, 0), Tones(12, 1)


def run(train: Source = TRAIN, test: Source = TEST, **settings: Any) -> Result:
    torch.manual_seed(0)
    return Audio(AudioConfig(**{"windows": 3, "strengths": (0.01, 1.0), **settings})).run(
        create_sound_encoder("test_resnet"), train, test
    )


def test_high_tones_are_told_from_low_ones() -> None:
    result = run()
    assert result.metrics["accuracy"] > 0.9 and result.metrics["balanced_accuracy"] > 0.9
    assert result.details["readable"] == {"train": 24, "test": 12}
    assert result.details["recall"].keys() == {"low", "high"}


def test_the_feature_of_a_sound_is_the_mean_over_its_windows() -> None:
    encoder = create_sound_encoder("test_resnet", 0.5).eval()
    features, index = hear(encoder, TEST, 4)
    sound, spec = TEST.read(7)["sound"], spec_of(encoder).input
    parts = [sound[first : first + 8000] for first in (3000, 9000, 15000, 21000)]
    with torch.no_grad():
        expected = torch.cat([encoder(spectrogram(part[None], spec)) for part in parts]).mean(0)
    assert index.tolist() == list(range(12))
    torch.testing.assert_close(features[7], expected, rtol=1e-4, atol=1e-5)


def test_windows_of_a_short_sound_are_the_whole_with_silence_after_it() -> None:
    parts = windows_of({"sound": torch.ones(30)}, 3, 50, "short")
    assert parts.shape == (3, 50) and (parts[:, :30] == 1).all() and not parts[:, 30:].any()


def test_a_video_is_heard_without_its_frames_and_one_without_sound_is_unreadable(tmp_path: Path) -> None:
    for number in range(4):
        write_video(tmp_path / "train" / "ab"[number % 2] / f"{number}.mp4", 60, sound="aac")
    source = open_dataset(f"folder:{tmp_path}", "train")
    parts = windows_of(source.read(0), 3, 8000, source.name)
    loud = (parts.abs() > 0.2).any(1).tolist()
    assert parts.shape == (3, 8000) and loud == [False, True, False]  # the second is from 0.95 s on, the tone from 1.0
    write_video(tmp_path / "train" / "a" / "9.mp4", 25)
    with pytest.raises(UserError, match="1 of 5 samples .* more than 1%: .*9.mp4: no sound track"):
        hear(create_sound_encoder("test_resnet"), open_dataset(f"folder:{tmp_path}", "train"), 2)


def test_what_takes_no_sounds_or_has_none_is_one_line() -> None:
    evaluation = Audio(AudioConfig())
    for encoder in (create_encoder("test_resnet", 32), create_encoder("test_r3d", 32)):
        with pytest.raises(UsageError, match="needs an encoder of sounds"):
            evaluation.run(encoder, TRAIN, TEST)
    with pytest.raises(UsageError, match="cliparts.* has no sound"):
        run(*(open_dataset("cliparts", f"{part}[:40]") for part in ("train", "test")))
    for settings in ({"windows": 0}, {"validation": 1.0}, {"strengths": ()}):
        with pytest.raises(UsageError):
            run(**settings)


def test_a_run_that_hears_hands_its_encoder_of_sounds_over_and_is_evaluated_by_it(tmp_path: Path) -> None:
    folder = sslzoo.pretrain(
        "audio_visual_correspondence",
        out=tmp_path / "run",
        recipe="small",
        dataset="moving-shapes[train[:16]]",
        encoder="test_resnet",
        sound_encoder="test_resnet",
        image_size=32,
        epochs=1,
        batch_size=8,
        workers=0,
        precision="fp32",
    )
    encoder = sslzoo.load_encoder(folder / "sound_encoder")
    assert spec_of(encoder).input.size == (1, 64, 101)
    report = sslzoo.evaluate("audio", folder, "moving-shapes", train_split="train[:36]", test_split="test[:12]")
    own = sslzoo.evaluate(
        "audio", folder / "sound_encoder", "moving-shapes", train_split="train[:36]", test_split="test[:12]"
    )
    assert report.metrics == own.metrics and report.weights == own.weights
    assert report.baseline is not None and report.baseline["model"].startswith("random:test_resnet")
    assert (folder / "evaluations" / "audio-moving-shapes.json").exists()
    silent = sslzoo.load_encoder(folder)
    assert spec_of(silent).input.size == (3, 32, 32)
