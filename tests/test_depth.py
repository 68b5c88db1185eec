"""Depth: its scores and its loss by hand, and that it learns on the maps of an encoder without touching it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TESTS
from depth_clips import HEIGHT, WIDTH, Walls
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Annotation, Source
from sslzoo.encoders import create_encoder
from sslzoo.evaluation import Result
from sslzoo.evaluations.annotated import Annotated
from sslzoo.evaluations.depth import Depth, DepthConfig, Frames, scale_invariant_loss
from sslzoo.nn.depth import depth_colors, depth_scores, median_scaled
from sslzoo.testing import check_evaluation

TRAIN, TEST = Walls(), Walls(4, "walls[test]", seed=1)
FAST: dict[str, Any] = {"epochs": 1, "channels": 8, "image_size": 32}


def run(encoder: nn.Module, train: Source = TRAIN, test: Source = TEST, **settings: Any) -> Result:
    return Depth(DepthConfig(**settings)).run(encoder, train, test)


def encoder_of(architecture: str = "test_resnet") -> nn.Module:
    return create_encoder(architecture, 32, seed=0, frames=4).eval()


def maps_of(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)[:, None, None, :]


def test_scores_by_hand() -> None:
    true = maps_of([1.0, 2, 4, torch.inf], [torch.inf] * 4)
    found = maps_of([1.2, 1.3, 4, 7], [1.0] * 4)
    scores = depth_scores(found, true)
    assert all(each[1].isnan() for each in scores.values())
    told = {name: float(each[0]) for name, each in scores.items()}
    assert told == pytest.approx(
        {
            "delta_1": 2 / 3,
            "delta_2": 1.0,  # 2 / 1.3 is 1.54, and 1.25^2 is 1.56
            "delta_3": 1.0,
            "abs_rel": (0.2 + 0.35) / 3,
            "rmse": np.sqrt((0.2**2 + 0.7**2) / 3),
        },
        rel=1e-5,
    )


def test_medians_are_made_the_same_over_what_is_scored() -> None:
    true, found = maps_of([1.0, 2, 6, torch.inf]), maps_of([8.0, 3, 5, 90])
    torch.testing.assert_close(median_scaled(found, true), found * 2 / 5)


def test_near_is_bright_and_infinitely_far_is_black() -> None:
    colors = depth_colors(maps_of([1.0, 2, 4, torch.inf]), torch.tensor([1.0]))
    brightness = colors.sum(dim=1)[0, 0]
    assert (brightness.diff() < 0).all() and float(brightness[-1]) < 0.05


def test_the_loss_is_eigens() -> None:
    depth = torch.tensor([[1.0, 2, torch.inf], [3, 4, 5]])
    sample = Annotated(0, torch.zeros(3, 2, 3, dtype=torch.uint8), (2, 3), (2, 3), Annotation(depth=depth))
    found = torch.arange(6.0).view(1, 1, 2, 3) / 5
    for mirrored in (False, True):
        true = depth.flip(1) if mirrored else depth
        counted = true.isfinite()
        error = (found[0, 0][counted] - true[counted].log()).numpy()
        expected = (error**2).mean() - 0.5 * error.mean() ** 2
        loss = scale_invariant_loss(found, [sample], torch.tensor([mirrored]))
        assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_frames_of_clips_are_images_with_depth_evenly_spaced() -> None:
    frames = Frames(TRAIN, 2)
    assert len(frames) == 24
    whole = TRAIN.read(3)
    for place, frame in ((6, 1), (7, 4)):
        assert torch.equal(frames.read(place)["image"], whole["clip"][frame])
        depth = frames.annotation(place).depth
        assert depth is not None and torch.equal(depth, whole["depth"][frame, 0])


def test_depth_is_learned_from_frozen_maps() -> None:
    result = run(encoder_of(), epochs=12, batch_size=8, channels=16, frames=4)
    first, last = result.details["loss"][0], result.details["loss"][-1]
    assert last < first / 2
    assert result.metrics["delta_1"] > 0.5 and result.metrics["abs_rel"] < 0.4
    assert result.metrics["delta_1"] <= result.metrics["delta_2"] <= result.metrics["delta_3"] <= 1
    assert result.details["readable"] == {"train": 48, "test": 16}
    assert result.details["strides"] == [8, 16, 32] and result.selected == {}


def test_fine_tuning_trains_a_copy_and_frozen_maps_stay() -> None:
    encoder = encoder_of()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    frozen, tuned = run(encoder, **FAST), run(encoder, finetune=True, **FAST)
    assert frozen.details["loss"] != tuned.details["loss"]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_images_that_have_depth_are_taken_as_they_are() -> None:
    pictures = [replace(walls, pictures=True) for walls in (TRAIN, TEST)]
    result = run(encoder_of("test_vit"), *pictures, **FAST)
    assert result.details["readable"] == {"train": 12, "test": 4} and 0 <= result.metrics["delta_1"] <= 1


def test_a_first_clip_that_cannot_be_read_is_left_out() -> None:
    many = Walls(110, broken=(0,))
    assert len(Frames(many, 3)) == 330


class Empty(Walls):
    """Nothing but sky."""

    def read(self, index: int) -> Any:
        return {**super().read(index), "depth": torch.full((6, 1, HEIGHT, WIDTH), torch.inf)}


def test_data_that_do_not_suit_are_refused() -> None:
    class Flat(Walls):
        def read(self, index: int) -> Any:
            return {"clip": super().read(index)["clip"]}

    with pytest.raises(UsageError, match=r"walls\[train\] has no depth, which this evaluation needs; .* as world"):
        run(encoder_of(), Flat(), **FAST)
    with pytest.raises(UserError, match=r"no pixel of empty\[test\] has a finite depth"):
        run(encoder_of(), test=Empty(2, "empty[test]"), **FAST)


@pytest.mark.parametrize(
    ("architecture", "settings", "message"),
    [
        ("test_resnet", {"frames": 0}, "nor channels and frames below 1"),
        ("test_resnet", {"epochs": 0}, "epochs must be above 0"),
        ("test_r3d", {}, "this encoder takes clips: choose one of images"),
    ],
)
def test_settings_and_encoders_that_do_not_suit_are_refused(
    architecture: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run(encoder_of(architecture), **{**FAST, **settings})


def test_the_figure_shows_what_was_told_beside_what_is() -> None:
    results = {name: run(encoder_of(), **FAST) for name in ("trained", "untrained")}
    figures = Depth(DepthConfig()).draw(results)
    assert list(figures) == ["depth"] and len(figures["depth"].axes) == 4 * 8


def test_depth_keeps_every_promise(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = install("walls", {"sslzoo.datasets": {"walls": "depth_clips:DepthClips"}})
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{folder}")
    check_evaluation("depth", dataset="walls", **{**FAST, "image_size": 64}).raise_for_failures()
