"""Detection: that Faster R-CNN learns on the pyramid of every kind of encoder without touching it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TESTS
from squares import Squares
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.evaluation import Result
from sslzoo.evaluations import detection
from sslzoo.evaluations.annotated import Annotated
from sslzoo.evaluations.detection import Detection, DetectionConfig
from sslzoo.evaluations.pyramid import FeatureMaps, Pyramid
from sslzoo.testing import check_evaluation

TRAIN, TEST = Squares(16), Squares(6, "squares[test]", seed=1)
FAST: dict[str, Any] = {"epochs": 1, "channels": 8, "hidden": 16, "proposals": 20, "sampled": 8}


def run(encoder: nn.Module, train: Squares = TRAIN, test: Squares = TEST, **settings: Any) -> Result:
    return Detection(DetectionConfig(**settings)).run(encoder, train, test)


def encoder_of(architecture: str = "test_resnet", size: int = 32) -> nn.Module:
    return create_encoder(architecture, size, seed=0).eval()


def pyramid_of(architecture: str, size: int, own: int = 64, **arguments: Any) -> tuple[Pyramid, list[Tensor]]:
    encoder = create_encoder(architecture, own, args=[f"{k}={v}" for k, v in arguments.items()], seed=0)
    pyramid = Pyramid(FeatureMaps(encoder, size, 4, False), 8)
    return pyramid, list(pyramid(torch.zeros(1, *pyramid.maps.spec.size)).values())


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize(("size", "strides"), [(64, [4, 8]), (128, [4, 8, 16]), (288, [4, 8, 16, 32, 64])])
def test_levels_halve_from_stride_four_as_far_as_anchors_fit(architecture: str, size: int, strides: list[int]) -> None:
    pyramid, levels = pyramid_of(architecture, size)
    assert pyramid.strides == strides
    assert [tuple(level.shape) for level in levels] == [
        (1, 8, -(-size // stride), -(-size // stride)) for stride in strides
    ]


def test_the_usual_size_is_twice_the_encoders_own_if_it_takes_that() -> None:
    assert pyramid_of("test_resnet", 0, 64)[0].maps.spec.size == (3, 128, 128)
    fixed, _ = pyramid_of("vit_tiny_patch16_224", 0, 64)
    assert fixed.maps.spec.size == (3, 64, 64) and fixed.maps.spec.mean == InputSpec.square(64).mean


def test_patches_of_fourteen_pixels_are_resized_to_levels_that_halve() -> None:
    pyramid, levels = pyramid_of("test_vit", 224, 224, patch_size=14)
    assert pyramid.maps.strides == [14] and [level.shape[2] for level in levels] == [56, 28, 14, 7]


def test_the_highest_level_sees_what_the_last_stage_says() -> None:
    """Of a convnet the deepest map reaches all levels from above, also where its own level is left out."""
    pyramid, _ = pyramid_of("test_resnet", 64)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = pyramid(image)
    for parameter in pyramid.maps.encoder.layer4.parameters():
        parameter.data *= 2
    assert all(not torch.equal(level, before[name]) for name, level in pyramid(image).items())


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_squares_are_found_on_frozen_maps(architecture: str) -> None:
    settings = {"channels": 16, "hidden": 32, "proposals": 100, "sampled": 32, "batch_size": 4}
    result = run(encoder_of(architecture), epochs=25, lr=3e-3, **settings)
    assert result.metrics.keys() == {"ap50", "ap", "ap75", "voc07_map"}
    assert result.details["ap50"].keys() == {"red", "green", "blue"}
    assert result.metrics["ap50"] == pytest.approx(sum(result.details["ap50"].values()) / 3)
    assert result.metrics["ap50"] > 0.3 and result.metrics["ap50"] > result.metrics["ap"] > 0
    assert result.details["readable"] == {"train": 16, "test": 6} and result.selected == {}


def test_what_is_drawn_on_a_mirrored_image_is_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[Tensor], list[dict[str, Tensor]]]] = []

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.roi_heads = nn.Linear(1, 1)

        def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
            seen.append((images, targets))
            return {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}

    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    image[0, 10:20, 5:30] = 255
    annotation = Squares().annotation(0)
    annotation = type(annotation)(boxes=torch.tensor([[5.0, 10.0, 30.0, 20.0]]), labels=torch.tensor([1]))
    samples = [Annotated(0, image, (64, 64), (64, 64), annotation)] * 2
    assert detection._loss(Detector(), samples, torch.tensor([False, True])).item() == 3.0  # type: ignore[arg-type]
    [(images, targets)] = seen
    for picture, target in zip(images, targets, strict=True):
        [[left, top, right, bottom]] = target["boxes"].int().tolist()
        assert (picture[0, top:bottom, left:right] == 1).all() and picture[0].sum() == 250
        assert target["labels"].tolist() == [2], "0 is torchvision's background"
    assert targets[0]["boxes"][0, 0] != targets[1]["boxes"][0, 0]


def test_boxes_are_given_in_pixels_of_the_image_as_it_was_read() -> None:
    """Pictures four times as large give the same input, so they are learned and found alike."""

    class Large(Squares):
        def read(self, index: int) -> Any:
            image = super().read(index)["image"]
            return {"image": image.resize((4 * self.width, 4 * self.height), 0)}

        def annotation(self, index: int) -> Any:
            small = super().annotation(index)
            return type(small)(boxes=small.boxes * 4, labels=small.labels)

    settings = {**FAST, "epochs": 8, "proposals": 50, "lr": 3e-3, "batch_size": 4}
    small = run(encoder_of(), Squares(16), Squares(4, "t", seed=1), **settings)
    large = run(encoder_of(), Large(16), Large(4, "t", seed=1), **settings)
    assert small.metrics["ap50"] > 0
    assert large.metrics["ap50"] == pytest.approx(small.metrics["ap50"], abs=0.1)


def test_fine_tuning_trains_a_copy_and_frozen_maps_stay() -> None:
    encoder = encoder_of().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    settings = {**FAST, "epochs": 2}
    random = torch.get_rng_state()
    frozen, tuned = run(encoder, **settings), run(encoder, finetune=True, **settings)
    assert torch.equal(torch.get_rng_state(), random)
    assert frozen.details["loss"] != tuned.details["loss"]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.training and all(each.requires_grad and each.grad is None for each in encoder.parameters())


def test_images_without_boxes_are_learned_from_too() -> None:
    class Sparse(Squares):
        def annotation(self, index: int) -> Any:
            own = super().annotation(index)
            return type(own)(boxes=own.boxes[:0], labels=own.labels[:0]) if index % 2 else own

    assert run(encoder_of(), Sparse(8), **FAST).details["readable"]["train"] == 8
    with pytest.raises(UserError, match=r"no image of empty\[test\] has a box to be found"):
        run(encoder_of(), test=Squares(1, "empty[test]", difficult=True, squares=1), **FAST)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be above 0, not 0"),
        ({"sampled": 0}, "must be at least 1"),
        ({"image_size": 100}, "multiples of 32 pixels, not 100; choose --image-size 128"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(encoder_of(), **settings)


def test_maps_that_are_not_finite_are_one_line() -> None:
    encoder = encoder_of()
    next(encoder.layer4.parameters()).data.fill_(torch.nan)  # type: ignore[union-attr]
    with pytest.raises(UserError, match="feature maps are not finite, so it has diverged"):
        run(encoder, **FAST)


def test_a_loss_that_is_not_finite_is_one_line() -> None:
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step \d+ of \d+; choose a lower --lr"):
        run(encoder_of(), **{**FAST, "epochs": 5, "lr": 1e30, "batch_size": 4})


def test_the_figure_shows_what_was_found_beside_what_was_drawn() -> None:
    results = {name: run(encoder_of(), **FAST) for name in ("trained", "untrained")}
    figures = Detection(DetectionConfig()).draw(results)
    assert list(figures) == ["detection"] and len(figures["detection"].axes) == 3 * 6


def test_detection_keeps_every_promise(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = install("squares", {"sslzoo.datasets": {"colored-squares": "squares:ColoredSquares"}})
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{folder}")
    check_evaluation("detection", dataset="colored-squares", **FAST).raise_for_failures()
