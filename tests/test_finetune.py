"""Fine-tuning: a copy is trained, on the labels that are said, and nothing is chosen on the test split."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_source import TinySource
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluation import Result
from sslzoo.evaluations import classifier, finetune
from sslzoo.evaluations.classifier import Classifier, Diverged, Look, Part, Recipe, fit
from sslzoo.evaluations.finetune import Finetune, FinetuneConfig
from sslzoo.evaluations.holdout import labelled_share
from sslzoo.testing import check_evaluation
from sslzoo.views import Sample

TRAIN = TinySource(60)
TEST = TinySource(30, "tiny[test]", seed=1)
SHORT: dict[str, Any] = {"epochs": 4, "batch_size": 16, "lrs": (1e-3,)}
RECIPE = Recipe(lr=1e-3, head_lr=1e-2, epochs=2, batch_size=16)


def encoder_of(architecture: str = "test_resnet") -> nn.Module:
    return create_encoder(architecture, 32, seed=0)


def run(train: TinySource = TRAIN, test: TinySource = TEST, **settings: Any) -> Result:
    return Finetune(FinetuneConfig(**{**SHORT, **settings})).run(encoder_of(), train, test)


def relabelled(source: TinySource, labels: Tensor) -> TinySource:
    """The same data with other labels."""
    copy = TinySource(source.samples, source.name, source.seed, source.class_names, source.broken)
    copy.labels = lambda: labels  # type: ignore[method-assign]
    return copy


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_an_encoder_learns_colours_and_is_left_as_it_was(architecture: str) -> None:
    encoder = encoder_of(architecture).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    state = torch.get_rng_state()
    evaluation = Finetune(FinetuneConfig(**{**SHORT, "epochs": 8}))
    result = evaluation.run(encoder, TRAIN, TEST)
    assert result.metrics["balanced_accuracy"] > 0.9
    recall = result.details["recall"]
    assert list(recall) == ["red", "green", "blue"]
    assert result.metrics["balanced_accuracy"] == pytest.approx(sum(recall.values()) / 3)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.training and all(parameter.grad is None for parameter in encoder.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    assert evaluation.run(encoder, TRAIN, TEST) == result


def test_all_of_the_network_is_trained_and_the_classifier_faster() -> None:
    encoder = encoder_of().requires_grad_(False)
    model = fit(encoder, TRAIN, TRAIN.labels(), 3, RECIPE)
    was = dict(encoder.named_parameters())
    moved = {name: (value - was[name]).abs().max().item() for name, value in model.encoder.named_parameters()}
    assert all(moved.values()), "every parameter, though the encoder was given frozen"
    slow = fit(encoder, TRAIN, TRAIN.labels(), 3, Recipe(1e-3, 1e-4, 2, 16))
    assert model.head.weight.abs().mean() > 10 * slow.head.weight.abs().mean()


def test_a_share_of_the_labels_has_each_class_and_a_smaller_one_lies_within() -> None:
    labels = torch.tensor([0] * 200 + [1] * 30 + [2] * 3 + [3])
    index = torch.arange(len(labels))
    one, ten, whole = (labelled_share(labels, index, share) for share in (0.01, 0.1, 1.0))
    assert [int(one[labels == label].sum()) for label in range(4)] == [2, 1, 1, 1]
    assert [int(ten[labels == label].sum()) for label in range(4)] == [20, 3, 1, 1]
    assert whole.all() and not (one & ~ten).any()
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    assert torch.equal(ten[shuffled], labelled_share(labels[shuffled], index[shuffled], 0.1))


def seen_by(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Part, Tensor, Recipe]]:
    """What ``fit`` is called with."""
    calls: list[tuple[Part, Tensor, Recipe]] = []

    def spy(
        encoder: nn.Module, source: Part, targets: Tensor, classes: int, recipe: Recipe, look: Look | None = None
    ) -> Classifier:
        calls.append((source, targets, recipe))
        return fit(encoder, source, targets, classes, recipe, look)

    monkeypatch.setattr(finetune, "fit", spy)
    return calls


def test_few_labels_have_more_epochs_and_the_middle_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = seen_by(monkeypatch)
    result = run(percent=25, epochs=2, lrs=(1e-3, 1e-4, 3e-4))
    ((part, targets, recipe),) = calls
    assert len(part) == 15 and targets.bincount().tolist() == [5, 5, 5]
    assert torch.equal(targets, TRAIN.labels()[part.index])
    assert recipe == Recipe(lr=3e-4, head_lr=1e-2, epochs=4, batch_size=16)
    assert result.selected == {"lr": 3e-4, "rule": finetune.FIXED}
    assert result.details["labels"] == 15 and result.details["recipe"]["epochs"] == 4


def test_a_rate_is_chosen_on_a_fifth_of_enough_labels_and_then_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = seen_by(monkeypatch)
    result = run(lrs=(10.0, 1e-3))
    assert [len(part) for part, _, _ in calls] == [48, 48, 60]
    assert [recipe.lr for _, _, recipe in calls] == [1e-3, 10.0, 1e-3]
    assert result.selected == {"lr": 1e-3, "rule": finetune.CHOSEN}
    assert result.details["validation"]["10"] < result.details["validation"]["0.001"]


def test_the_test_split_decides_nothing() -> None:
    usual = run(lrs=(1e-4, 1e-3), epochs=2)
    other = run(test=relabelled(TEST, TEST.labels().flip(0)), lrs=(1e-4, 1e-3), epochs=2)
    assert usual.selected == other.selected and usual.details["validation"] == other.details["validation"]
    assert usual.metrics != other.metrics


def test_a_rate_that_diverges_is_not_chosen() -> None:
    result = run(lrs=(1e-3, 1e20))
    assert result.selected["lr"] == 1e-3 and list(result.details["validation"]) == ["0.001"]
    with pytest.raises(UserError, match=r"diverged|not finite"):
        run(lrs=(1e20,))


def test_an_encoder_of_nan_is_an_error_that_says_so() -> None:
    encoder = encoder_of()
    with torch.no_grad():
        next(encoder.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match=r"the encoder's features of tiny\[train\] are not finite") as caught:
        Finetune(FinetuneConfig(**SHORT)).run(encoder, TRAIN, TEST)
    assert not isinstance(caught.value, Diverged)


def test_unreadable_samples_are_passed_over_and_too_many_are_an_error() -> None:
    few = TinySource(200, broken=(5,))
    assert run(few, TinySource(120, "tiny[test]", seed=1, broken=(3,)), epochs=1).details["readable"] == {"test": 119}
    with pytest.raises(UserError, match="cannot be read, more than 1%"):
        run(TinySource(60, broken=(5, 6, 7)))


def test_a_class_that_train_lacks_is_missed_and_so_small_pictures_are_enlarged() -> None:
    train = relabelled(TRAIN, TRAIN.labels() % 2)
    train.size = 1
    assert run(train, epochs=1).details["recall"]["blue"] == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percent": 0}, "percent must be above 0 and at most 100, not 0"),
        ({"percent": 101}, "percent"),
        ({"percent": float("nan")}, "percent"),
        ({"lrs": ()}, "lrs"),
        ({"lrs": (0.0,)}, "lrs"),
        ({"head_lr": 0.0}, "head_lr"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 1}, "batch size"),
        ({"validation": 1.0}, "validation share"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(**settings)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (relabelled(TRAIN, torch.zeros(60, dtype=torch.int64)), TEST, "one class only"),
        (TRAIN, relabelled(TEST, TEST.labels() - 1), "no known label"),
        (TRAIN, TinySource(30, "t", classes=("red", "green")), "do not have the same classes"),
        (relabelled(TRAIN, torch.ones(60, 3, dtype=torch.int64)), TEST, "several labels each"),
    ],
)
def test_labels_that_do_not_fit_are_refused(train: TinySource, test: TinySource, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(train, test)


def test_crops_depend_on_the_sample_and_the_epoch_alone() -> None:
    def crop(index: int, key: int) -> Tensor:
        sample: Sample = {**TRAIN.read(index), "index": index, "key": key}
        return classifier.RandomCrops(encoder_of().spec.input)([sample])["image"]  # type: ignore[union-attr,operator]

    assert crop(0, 1).shape == (1, 3, 32, 32) and crop(0, 1).dtype == torch.float32
    assert torch.equal(crop(0, 1), crop(0, 1)) and not torch.equal(crop(0, 1), crop(0, 2))


@pytest.mark.slow
def test_it_keeps_the_promises_of_an_evaluation() -> None:
    check_evaluation("finetune", epochs=1, percent=20.0, lrs=(1e-3,)).raise_for_failures()
