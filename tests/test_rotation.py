"""Rotation prediction is the paper's."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from sslzoo_plugins.context.rotation import FourRotations, Rotation, RotationConfig

from sslzoo.encoders import create_encoder
from sslzoo.method import Batch
from sslzoo.views import collate

CONFIG = RotationConfig()


def some_batch(size: int = 32, count: int = 4) -> Batch:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)) for i in range(count)]
    samples = [{"image": picture, "index": i, "key": 1000 + i} for i, picture in enumerate(pictures)]
    return FourRotations(CONFIG, create_encoder("test_resnet", size).spec.input)(samples)


def test_views_are_the_authors_four_turns_of_one_crop() -> None:
    views = [view.permute(0, 2, 3, 1).numpy() for view in some_batch()["views"]]
    upright = views[0]
    for i in range(len(upright)):  # the four cases of the authors' code, in its numpy words
        image = upright[i]
        np.testing.assert_array_equal(views[1][i], np.flipud(image.transpose(1, 0, 2)))
        np.testing.assert_array_equal(views[2][i], np.fliplr(np.flipud(image)))
        np.testing.assert_array_equal(views[3][i], np.flipud(image).transpose(1, 0, 2))


def test_a_turn_moves_pixels_and_changes_none() -> None:
    views = some_batch()["views"]
    for view in views[1:]:
        torch.testing.assert_close(view.flatten().sort().values, views[0].flatten().sort().values, rtol=0, atol=0)


def test_four_turns_make_a_circle() -> None:
    views = some_batch()["views"]
    assert torch.equal(torch.rot90(views[3], 1, dims=(-2, -1)), views[0])


def test_views_depend_on_the_key_alone() -> None:
    spec = create_encoder("test_resnet", 32).spec.input
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    make = FourRotations(CONFIG, spec)
    one = collate(make, [{"image": image, "index": 5, "key": 7}])["image"]
    again = collate(make, [{"image": image, "index": 9, "key": 8}, {"image": image, "index": 9, "key": 7}])["image"]
    assert torch.equal(one[0], again[1]) and not torch.equal(one[0], again[0])


def test_the_loss_is_the_mean_over_all_images_and_turns() -> None:
    method = Rotation(create_encoder("test_resnet", 32, seed=0), CONFIG).eval()
    batch = some_batch()
    by_hand, right = 0.0, 0
    with torch.no_grad():
        losses = method(batch)
        for turns, view in enumerate(batch["views"]):
            for logits in method.head(method.encoder(view)):
                by_hand += float(logits.logsumexp(0) - logits[turns])
                right += int(logits.argmax() == turns)
    assert math.isclose(float(losses["loss"]), by_hand / 16, rel_tol=1e-5)
    assert math.isclose(float(losses["accuracy"]), right / 16, rel_tol=1e-6)


def test_the_gradient_reaches_every_parameter() -> None:
    method = Rotation(create_encoder("test_vit", 32, seed=0), CONFIG)
    method(some_batch())["loss"].backward()
    without = [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not without


def test_the_default_recipe_is_the_papers() -> None:
    recipe = Rotation.defaults
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("sgd", 0.1, 0.9, 5e-4)
    assert (recipe.epochs, recipe.batch_size, recipe.schedule) == (50, 192, "step")
    assert [round(share * recipe.epochs) for share in recipe.milestones] == [15, 30, 45]


def test_illustrations_turn_images_back_by_what_was_predicted() -> None:
    method = Rotation(create_encoder("test_resnet", 32, seed=0), CONFIG).eval()
    with torch.no_grad():
        pictures = method.illustrate(some_batch())
    upright, shown, undone = pictures.values()
    assert upright.shape == shown.shape == undone.shape == (4, 3, 32, 32)
    assert shown.min() >= 0 and shown.max() <= 1
    with torch.no_grad():
        batch = some_batch()
        for i in range(4):
            predicted = int(method.head(method.encoder(batch["views"][i][i : i + 1])).argmax())
            assert torch.equal(shown[i], torch.rot90(upright[i], i, dims=(-2, -1)))
            assert torch.equal(undone[i], upright[i]) == (predicted == i)
