"""Action recognition: encoders of clips tell the order of frames, those of images what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from videos import write_video

from sslzoo.api import open_dataset
from sslzoo.config import UsageError
from sslzoo.data.samples import eval_sampling
from sslzoo.data.source import Source
from sslzoo.encoders import create_encoder, spec_of
from sslzoo.evaluation import Result
from sslzoo.evaluations import action
from sslzoo.evaluations.action import Action, ActionConfig, ClipCrops, Clips
from sslzoo.evaluations.classifier import Classifier, Look
from sslzoo.evaluations.labelled import top_accuracy
from sslzoo.views import Sample


class Lights(Source):
    """Clips of eight frames that get lighter, or darker: the same frames in either order."""

    class_names = ("lighter", "darker")

    def __init__(self, samples: int, seed: int) -> None:
        self.samples, self.seed, self.name = samples, seed, f"lights[{seed}]"

    def __len__(self) -> int:
        return self.samples

    def read(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        clip = torch.linspace(0, 200, 8).view(8, 1, 1, 1) + torch.randint(0, 50, (8, 3, 24, 24), generator=generator)
        return {"clip": (clip if index % 2 == 0 else clip.flip(0)).to(torch.uint8), "fps": 8.0}

    @property
    def fingerprint(self) -> str:
        return f"lights {self.samples} {self.seed}"

    def labels(self) -> Tensor:
        return torch.arange(self.samples) % 2


TRAIN, TEST = Lights(32, 0), Lights(16, 1)
SHORT: dict[str, Any] = {"windows": 2, "epochs": 6, "lrs": (1e-3,), "strengths": (0.01, 1.0)}


def run(architecture: str, train: Source = TRAIN, test: Source = TEST, **settings: Any) -> Result:
    encoder = create_encoder(architecture, 24, seed=0, frames=6)
    return Action(ActionConfig(**{**SHORT, **settings})).run(encoder, train, test)


@pytest.mark.parametrize("finetune", [False, True])
def test_an_encoder_of_clips_tells_one_order_of_the_frames_from_the_other(finetune: bool) -> None:
    result = run("test_r3d", finetune=finetune)
    assert result.metrics["accuracy"] > 0.9
    assert result.metrics.keys() == {"accuracy", "balanced_accuracy"}, "of two classes both are among the best five"
    assert result.selected.keys() == {"lr" if finetune else "C", "rule"}


def test_an_encoder_of_images_over_all_frames_does_not() -> None:
    result = run("test_resnet", windows=8)
    assert result.metrics["accuracy"] < 0.8
    assert run("test_resnet", windows=0).details["windows"] == action.FRAMES


def test_the_score_of_a_clip_is_the_mean_over_its_windows() -> None:
    encoder = create_encoder("test_r3d", 24, seed=0, frames=4).eval()
    spec = spec_of(encoder).input
    sampling = eval_sampling(spec, stride=2)
    classifier = Classifier(encoder, 2, Look(ClipCrops(spec, sampling), 2, sampling))
    torch.nn.init.normal_(classifier.head.weight)
    logits, index = classifier.logits(Clips(TEST))
    clip = TEST.read(3)["clip"].float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    windows = [((clip[first : first + 7 : 2] - mean) / std).transpose(0, 1)[None] for first in (0, 1)]
    with torch.no_grad():
        expected = torch.cat([classifier(window) for window in windows]).mean(0)
    assert index.tolist() == list(range(16))
    torch.testing.assert_close(logits[3], expected, rtol=1e-4, atol=1e-5)


def test_training_sees_windows_mirrored_or_not_as_the_encoder_takes_them() -> None:
    samples = [{**TRAIN.read(index), "index": index, "key": index} for index in range(2)]
    for architecture, length, shape in (("test_r3d", 8, (2, 3, 8, 24, 24)), ("test_resnet", 1, (2, 3, 24, 24))):
        spec = spec_of(create_encoder(architecture, 24, frames=8)).input
        views = ClipCrops(spec, eval_sampling(spec))
        assert views.sampling.length == length
        taken = [{**sample, "clip": sample["clip"][:length]} for sample in samples]
        assert views(taken)["image"].shape == shape


def test_the_best_five_of_many_classes_are_counted() -> None:
    logits, labels = torch.eye(8)[:4] + torch.linspace(0, 0.5, 8), torch.tensor([0, 0, 7, 1])
    assert top_accuracy(logits, labels, 5) == 0.5
    assert top_accuracy(logits, labels, 1) == 0.25
    logits[:, 3] = -torch.inf  # a class that was not in training
    assert top_accuracy(logits, torch.full_like(labels, 3), logits.shape[1]) == 0
    samples = open_dataset("moving-shapes", "train[:24]")
    result = Action(ActionConfig(**SHORT)).run(create_encoder("test_resnet", 24, seed=0), samples, samples)
    assert result.metrics["accuracy"] <= result.metrics["top_5_accuracy"] <= 1


def test_videos_laid_out_as_ucf101_are_told_apart_from_their_files(tmp_path: Path) -> None:
    lists = tmp_path / "UCF101" / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    for part, count in (("train", 4), ("test", 2)):
        names = [f"{name}/v_{part}_{take}.avi" for name in ("Night", "Day") for take in range(count)]
        for name in names:
            write_video(tmp_path / "UCF101" / name, 12, first=4000 if name.startswith("Day") else 1)
        (lists / f"{part}list01.txt").write_text("".join(f"{name} 1\n" for name in names))
    train, test = (open_dataset(f"folder:{tmp_path / 'UCF101'}", part) for part in ("train", "test"))
    for architecture in ("test_resnet", "test_r3d"):
        result = run(architecture, train, test, rate=12.5)
        assert result.metrics["accuracy"] == 1 and result.details["recall"] == {"Day": 1, "Night": 1}


def test_data_without_clips_and_settings_that_make_no_sense_are_one_line() -> None:
    with pytest.raises(UsageError, match="cliparts.* has no clips"):
        run("test_resnet", *(open_dataset("cliparts", f"{part}[:40]") for part in ("train", "test")))
    for settings in ({"windows": -1}, {"validation": 1.0}, {"strengths": ()}, {"lrs": (0.0,)}, {"batch_size": 1}):
        with pytest.raises(UsageError):
            run("test_resnet", **settings)
