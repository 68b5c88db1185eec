"""What holds for every view: the same for a sample whatever its batch, and nobody's random state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from view_samples import MEAN, STD, colors, draw_of, picture

from sslzoo.views import chosen as chosen_module
from sslzoo.views.blur import gaussian_blur
from sslzoo.views.color import color_jitter, grayscale, normalize, solarize, to_float
from sslzoo.views.crop import random_resized_crop
from sslzoo.views.keyed import Draw


def simclr(images: list, draw: Draw, size: int = 32) -> Tensor:
    views = to_float(random_resized_crop(images, (size, size), draw))
    views = color_jitter(views, draw, 0.8, 0.8, 0.8, 0.2, p=0.8)
    views = grayscale(views, draw, p=0.2)
    views = solarize(views, draw, p=0.2)
    return normalize(gaussian_blur(views, draw, p=0.5), MEAN, STD)


def test_a_view_does_not_depend_on_the_rest_of_its_batch() -> None:
    images = [picture(40 + i, 70 - i, seed=i) for i in range(16)]
    draw = draw_of(16)
    together = simclr(images, draw)
    alone = [simclr(images[i : i + 1], Draw(draw.key[i : i + 1])) for i in range(16)]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(together, simclr(images[::-1], Draw(draw.key.flip(0))).flip(0))


def test_a_view_does_not_depend_on_the_size_of_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    images, draw = [picture(40, 50, seed=i) for i in range(16)], draw_of(16)
    whole = simclr(images, draw)
    monkeypatch.setattr(chosen_module, "_PIECE_BYTES", 1)
    assert torch.equal(simclr(images, draw), whole)


@pytest.mark.parametrize("size", [33, 225])
def test_a_view_does_not_depend_on_the_number_of_threads(size: int) -> None:
    images, draw = [picture(40, 50, seed=i) for i in range(6)], draw_of(6)
    threads = torch.get_num_threads()
    views = []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        views.append(simclr(images, draw, size))
    torch.set_num_threads(threads)
    assert torch.equal(views[0], views[1]) and torch.equal(views[0], views[2])


def test_the_same_key_gives_the_same_view_again_and_another_branch_another() -> None:
    images, draw = [picture(40, 50)] * 4, draw_of(4)
    first = simclr(images, draw.at("view", 0))
    assert torch.equal(first, simclr(images, draw.at("view", 0)))
    assert not torch.allclose(first, simclr(images, draw.at("view", 1)))
    assert not torch.allclose(first[0], first[1])


def test_global_random_state_is_neither_used_nor_moved() -> None:
    images, draw = [picture(40, 50)] * 4, draw_of(4)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first, state = simclr(images, draw), torch.get_rng_state()
        torch.manual_seed(2)
        assert torch.equal(first, simclr(images, draw))
        torch.manual_seed(1)
        assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "operation",
    [
        lambda x, **o: color_jitter(x, draw_of(8), 0.8, 0.8, 0.8, 0.2, **o),
        lambda x, **o: grayscale(x, draw_of(8), p=0.9, **o),
        lambda x, **o: solarize(x, draw_of(8), p=0.9, **o),
        lambda x, **o: gaussian_blur(x, draw_of(8), p=0.9, kernel_size=5, **o),
        lambda x, **o: normalize(x, MEAN, STD, **o),
    ],
    ids=["color_jitter", "grayscale", "solarize", "gaussian_blur", "normalize"],
)
def test_only_an_operation_in_place_writes_over_its_images(operation: Callable[..., Tensor]) -> None:
    images = colors(8)
    done = operation(images)
    assert torch.equal(images, colors(8)) and done.data_ptr() != images.data_ptr()
    assert operation(images, inplace=True).data_ptr() == images.data_ptr()
    assert torch.equal(images, done)
    assert not torch.equal(images, colors(8))
