"""Which pictures are drawn, and how people see them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_source import TinySource

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import InputSpec
from sslzoo.evaluations.pictures import by_turns, known_labels, read_pictures

SPEC = InputSpec.square(16)


def test_the_classes_take_turns() -> None:
    labels = torch.tensor([0] * 50 + [1] * 5 + [2] * 2)
    order = by_turns(torch.arange(57), labels)
    assert sorted(order.tolist()) == list(range(57))
    drawn = labels[order].tolist()
    assert all(sorted(drawn[start : start + 3]) == [0, 1, 2] for start in (0, 3))
    assert sorted(drawn[6:12]) == [0, 0, 0, 1, 1, 1] and drawn[12:] == [0] * 45


def test_what_is_drawn_hangs_on_positions_only() -> None:
    labels = torch.arange(30) % 3
    order, index = by_turns(torch.arange(30), labels), torch.arange(30).flip(0)
    assert torch.equal(index[by_turns(index, labels.flip(0))], order)
    assert not torch.equal(by_turns(torch.arange(30), None), torch.arange(30))


def test_unreadable_pictures_are_passed_over() -> None:
    source = TinySource(6, broken=(2, 0))
    pictures = read_pictures(source, [2, 4, 0, 1, 5], 2, SPEC)
    assert pictures.index.tolist() == [4, 1]
    with pytest.raises(UserError, match=r"no sample of tiny\[train\] can be read: picture 0: torn"):
        read_pictures(source, [2, 0], 2, SPEC)


def test_people_see_the_pixels_that_the_encoder_sees() -> None:
    pictures = read_pictures(TinySource(), [1], 1, SPEC)
    assert pictures.image.shape == (1, 3, 16, 16) and pictures.shown.shape == (1, 3, 16, 16)
    original = torch.from_numpy(np.array(TinySource().read(1)["image"])).movedim(2, 0)
    assert torch.allclose(pictures.shown[0], original / 255, atol=1e-5)
    assert read_pictures(TinySource(), [1], 1, InputSpec.square(16, 1)).shown.shape == (1, 1, 16, 16)
    assert read_pictures(TinySource(), [1], 1, InputSpec.square(16, 4)).shown.shape == (1, 3, 16, 16)


def test_labels_that_are_missing_secret_or_several_are_none() -> None:
    source = TinySource()
    assert known_labels(source) is not None
    for labels in (torch.full((12,), -1), torch.zeros(12, 3, dtype=torch.long)):
        source.labels = lambda labels=labels: labels  # type: ignore[method-assign, misc]
        assert known_labels(source) is None

    def none() -> torch.Tensor:
        raise UsageError("there are none")

    source.labels = none  # type: ignore[method-assign]
    assert known_labels(source) is None
