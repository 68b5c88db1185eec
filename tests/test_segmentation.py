"""Segmentation: its scores by hand, and that it learns on maps of every kind of encoder without touching it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TESTS
from squares import Squares
from torch import nn

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluation import Result
from sslzoo.evaluations import pyramid
from sslzoo.evaluations.pyramid import FeatureMaps
from sslzoo.evaluations.segmentation import (
    Segmentation,
    SegmentationConfig,
    confusion_of,
    intersection_over_union,
)
from sslzoo.testing import check_evaluation

TRAIN, TEST = Squares(24), Squares(8, "squares[test]", seed=1)
FAST: dict[str, Any] = {"epochs": 1, "channels": 8}


def run(encoder: nn.Module, train: Squares = TRAIN, test: Squares = TEST, **settings: Any) -> Result:
    return Segmentation(SegmentationConfig(**settings)).run(encoder, train, test)


def encoder_of(architecture: str = "test_resnet", size: int = 32) -> nn.Module:
    return create_encoder(architecture, size, seed=0).eval()


def test_intersection_over_union_by_hand() -> None:
    drawn = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 255]], dtype=torch.uint8)
    found = torch.tensor([[0, 1, 1, 1], [0, 0, 2, 2]])
    confusion = confusion_of(found, drawn, 4)
    assert confusion.tolist() == [[3, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    shares = intersection_over_union(confusion)
    assert shares[:2].tolist() == pytest.approx([3 / 4, 2 / 4]) and shares[2:].isnan().all()


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_colours_are_learned_from_frozen_maps(architecture: str) -> None:
    result = run(encoder_of(architecture), epochs=25, batch_size=8, lr=5e-3, channels=16)
    assert result.details["iou"].keys() == {"background", "red", "green", "blue"}
    assert result.metrics["mean_iou"] == pytest.approx(sum(result.details["iou"].values()) / 4)
    assert result.metrics["mean_iou"] > 0.35 and result.metrics["pixel_accuracy"] > 0.75
    assert result.details["loss"][-1] < result.details["loss"][0] / 2
    assert result.details["readable"] == {"train": 24, "test": 8} and result.selected == {}
    assert result.details["strides"] == ([8, 16, 32] if architecture == "test_resnet" else [16])


def test_fine_tuning_trains_a_copy_and_frozen_maps_stay() -> None:
    encoder = encoder_of().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    random = torch.get_rng_state()
    frozen, tuned = run(encoder, **FAST), run(encoder, finetune=True, **FAST)
    assert torch.equal(torch.get_rng_state(), random)
    assert frozen.details["loss"] != tuned.details["loss"]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.training and all(each.requires_grad and each.grad is None for each in encoder.parameters())


def test_maps_that_are_kept_are_those_that_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four epochs with two ways round an image is seen twice at most."""
    passes = []
    forward = FeatureMaps.forward
    monkeypatch.setattr(
        FeatureMaps, "forward", lambda maps, images: passes.append(len(images)) or forward(maps, images)
    )
    kept = run(encoder_of(), **{**FAST, "epochs": 4})
    assert sum(passes) <= 2 * len(TRAIN) + len(TEST)
    monkeypatch.setattr(pyramid, "_KEPT", 0)
    passes.clear()
    computed = run(encoder_of(), **{**FAST, "epochs": 4})
    assert sum(passes) == 4 * len(TRAIN) + len(TEST)
    assert kept.details["loss"] == pytest.approx(computed.details["loss"], rel=1e-4)


def test_scores_are_taken_at_the_masks_own_size() -> None:
    result = run(encoder_of(), test=Squares(2, "large[test]", width=200, height=150), **FAST)
    assert result.visuals["found"].shape == (2, 3, 64, 64)
    assert 0 <= result.metrics["mean_iou"] <= 1


def test_places_of_255_count_nowhere() -> None:
    class Unmarked(Squares):
        def annotation(self, index: int) -> Any:
            annotation = super().annotation(index)
            annotation.mask.fill_(255)
            return annotation

    with pytest.raises(UserError, match=r"no pixel of the masks of blank\[test\] counts"):
        run(encoder_of(), test=Unmarked(2, "blank[test]"), **FAST)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be above 0, not 0"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"image_size": -1}, "must not be below 0"),
        ({"channels": 0}, "channels below 1"),
        ({"image_size": 8}, "maps of 1 x 1 of images of 8 x 8 px.*larger --image-size"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(encoder_of(), **settings)


def test_an_encoder_of_one_size_says_that_it_takes_no_other() -> None:
    with pytest.raises(UsageError, match="cannot take images of 96 x 96 px: .*Input height.*leave it out"):
        run(encoder_of("vit_tiny_patch16_224", 64), image_size=96)


def test_maps_that_are_not_finite_are_one_line() -> None:
    encoder = encoder_of()
    next(encoder.layer4.parameters()).data.fill_(torch.nan)  # type: ignore[union-attr]
    with pytest.raises(UserError, match="feature maps are not finite, so it has diverged"):
        run(encoder, **FAST)


def test_a_loss_that_is_not_finite_is_one_line() -> None:
    with pytest.raises(UserError, match=r"the loss is nan at step \d+ of \d+; choose a lower --lr"):
        run(encoder_of(), epochs=3, lr=1e30)


def test_one_class_is_nothing_to_tell_apart() -> None:
    train, test = Squares(), Squares(4, "t", seed=1)
    train.mask_names = test.mask_names = ("square",)
    with pytest.raises(UsageError, match="one class only"):
        run(encoder_of(), train, test)


def test_the_figure_shows_what_was_found_beside_what_was_drawn() -> None:
    results = {name: run(encoder_of(), **FAST) for name in ("trained", "untrained")}
    figures = Segmentation(SegmentationConfig()).draw(results)
    assert list(figures) == ["segmentation"] and len(figures["segmentation"].axes) == 4 * 8


def test_segmentation_keeps_every_promise(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = install("squares", {"sslzoo.datasets": {"colored-squares": "squares:ColoredSquares"}})
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{folder}")
    check_evaluation("segmentation", dataset="colored-squares", **FAST).raise_for_failures()
