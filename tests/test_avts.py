"""Audio-visual synchronization is the paper's."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from clip_samples import FRAMES, built, counting_clip, spec_for
from sounding_clips import (
    FPS,
    batch_of,
    check_views_depend_on_clip_and_key_alone,
    counting_sound,
    windows,
)
from sslzoo_plugins.cross_modal.avts import AVTS, AVTSConfig, SoundAndElsewhere, contrastive, distance, with_bar
from torch import nn
from view_samples import draw_of

from sslzoo.config import UsageError
from sslzoo.encoders import spec_of
from sslzoo.nn.derangement import others
from sslzoo.run import Run
from sslzoo.views.spectrograms import SOUND_RATE

SECONDS = FRAMES / FPS
CONFIG = AVTSConfig(sound_encoder="test_resnet", seconds=SECONDS, embedding_dim=8)


def method() -> AVTS:
    made = built(AVTS, CONFIG, "test_r3d")
    assert isinstance(made, AVTS)
    return made


def run_at(fraction: float) -> Run:
    return cast(Run, SimpleNamespace(progress=SimpleNamespace(fraction=fraction)))


def test_the_sound_is_that_of_the_clip_and_the_other_is_half_a_second_away_or_more() -> None:
    views = SoundAndElsewhere(CONFIG, spec_for("test_r3d"))
    keys = draw_of(100).key.tolist()
    video = {"clip": counting_clip(40, 32), "sound": counting_sound(40), "fps": FPS, "index": 0}
    batch = views.crop(windows(views, [{**video, "key": key} for key in keys]))
    assert batch["clip"].shape == (100, FRAMES, 3, 32, 32)
    assert batch["sound"].shape == batch["elsewhere"].shape == (100, SECONDS * SOUND_RATE)
    begins = (batch["clip"][:, 0, 0, 0, 0].double() / 5 - 1) / FPS
    assert ((batch["clip"][:, -1, 0, 0, 0].double() / 5 - 1) / FPS - begins).allclose(torch.tensor(3 / FPS).double())
    heard, other = (batch[name][:, 0].double() * 100 for name in ("sound", "elsewhere"))
    assert heard.allclose(begins, atol=1e-3)
    between = (other - begins).abs() - SECONDS
    assert between.min() > CONFIG.gap - 1e-3 and between.max() < CONFIG.gap + 1e-3
    later = (other > begins).float().mean()
    assert 0.35 < later < 0.65 and len(begins.unique()) > 10


def test_frames_are_taken_at_the_rate_that_makes_a_clip_as_long_as_its_sound() -> None:
    views = SoundAndElsewhere(AVTSConfig(), spec_for("test_r3d"))
    assert views.sampling.rate == FRAMES and views.frames == 2 * FRAMES + FRAMES // 2
    assert SoundAndElsewhere(AVTSConfig(gap=0.3), spec_for("test_r3d")).frames == 2 * FRAMES + 2  # of 1.2: none is less
    clip = {"clip": counting_clip(40, 32), "sound": counting_sound(40), "fps": FPS, "index": 0, "key": 3}
    cut = views.crop(windows(views, [clip]))["clip"][0, :, 0, 0, 0]
    assert (cut.diff() == 10).all()  # every second of 8 frames per second


def test_views_depend_on_clip_and_key_alone() -> None:
    check_views_depend_on_clip_and_key_alone(AVTS, CONFIG, "test_r3d")


def test_the_loss_of_pairs_is_what_it_is_by_hand() -> None:
    near, far, margin = torch.tensor([0.0, 0.5, 2.0]), torch.tensor([0.0, 0.5, 2.0]), 0.99
    by_hand = [0.0, 0.5**2, 2.0**2, 0.99**2, 0.49**2, 0.0]
    assert float(contrastive(near, far, margin)) == pytest.approx(sum(by_hand) / 6)
    seen, heard = torch.tensor([[0.0, 3.0], [1.0, 1.0]]), torch.tensor([[4.0, 0.0], [1.0, 1.0]])
    assert distance(seen, heard).tolist() == pytest.approx([5.0, 0.0], abs=1e-5)
    equal = seen.clone().requires_grad_()
    distance(equal, seen).sum().backward()
    assert equal.grad is not None and equal.grad.isfinite().all()


def test_distances_begin_within_the_margin() -> None:
    made, batch = method().train(), batch_of(AVTS, CONFIG, "test_r3d", count=5)
    found = made(batch)
    assert 0 < found["distance_together"] < CONFIG.margin and 0 < found["distance_apart"] < CONFIG.margin


def test_hard_negatives_come_in_the_second_part_of_training_to_a_quarter_of_the_clips() -> None:
    made, shares = method(), []
    for epoch in range(90):
        made.on_epoch_start(run_at(epoch / 90))
        shares.append(float(made.hard))
    assert shares == [0.0] * 50 + [0.25] * 40
    assert "hard" in made.state_dict()
    views = SoundAndElsewhere(CONFIG, spec_for("test_r3d"))
    empty = {name: torch.zeros(2000, 10) for name in ("sound", "elsewhere")}
    batch = views.augment({"clip": torch.zeros(2000, 1, 3, 1, 1), **empty, "key": draw_of(2000).key})
    assert float((batch["hard"] < made.hard).float().mean()) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("fraction", [0.0, 0.9])
def test_each_clip_is_held_against_its_own_sound_and_another(fraction: float) -> None:
    made, batch = method().eval(), batch_of(AVTS, CONFIG, "test_r3d", count=5)
    made.on_epoch_start(run_at(fraction))
    batch["hard"] = torch.tensor([0.9, 0.1, 0.5, 0.2, 0.3])
    other, total, right = others(batch["key"]), 0.0, 0
    with torch.no_grad():
        losses = made(batch)
        for clip in range(5):
            hard = fraction > 0.5 and bool(batch["hard"][clip] < 0.25)
            wrong = batch["elsewhere"][clip] if hard else batch["sound"][other[clip]]
            seen = made.embed_clip(made.encoder(batch["views"][0][clip : clip + 1]))[0]
            near, far = (
                math.dist(seen.tolist(), made.embed_sound(made.sound_encoder(sound[None]))[0].tolist())
                for sound in (batch["sound"][clip], wrong)
            )
            total += near**2 + max(0.99 - far, 0) ** 2
            right += (near < 0.495) + (far >= 0.495)
    assert math.isclose(float(losses["loss"]), total / 10, rel_tol=1e-4)
    assert math.isclose(float(losses["accuracy"]), right / 10, rel_tol=1e-6)


def test_a_clip_alone_in_a_held_out_batch_is_held_against_another_moment() -> None:
    made, batch = method().eval(), batch_of(AVTS, CONFIG, "test_r3d", count=1)
    with torch.no_grad():
        expected = distance(made.see(batch), made.hear(batch["elsewhere"]))
        assert float(made(batch)["distance_apart"]) == pytest.approx(float(expected), rel=1e-4)
        assert "another video, and its distance" not in made.illustrate(batch)


def test_the_gradient_reaches_both_encoders() -> None:
    made = method().train()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):  # timm closes residual branches at first
            nn.init.ones_(module.weight)
    made(batch_of(AVTS, CONFIG, "test_r3d"))["loss"].backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() for parameter in made.parameters())
    assert spec_of(made.trained_sound_encoder()).input.size == (1, 64, 51)


def test_encoders_of_images_and_shares_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="looks at clips"):
        built(AVTS, CONFIG, "test_resnet")
    for wrong in ({"hard": 1.5}, {"easy_share": -0.1}, {"min_scale": 0.0}):
        with pytest.raises(UsageError, match="are shares"):
            SoundAndElsewhere(AVTSConfig(**wrong), spec_for("test_r3d"))


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = AVTS.defaults, AVTSConfig()
    assert (recipe.epochs, recipe.batch_size, recipe.frames) == (90, 64, 25)
    assert (config.margin, config.hard, config.gap, config.easy_share * 90) == (0.99, 0.25, 0.5, 50)


def test_illustrations_show_a_clip_and_the_distances_of_three_sounds() -> None:
    made, batch = method().eval(), batch_of(AVTS, CONFIG, "test_r3d", count=3)
    with torch.no_grad():
        pictures = made.illustrate(batch)
    clip, *sounds = pictures.values()
    assert clip.shape == (3, 3, 32, 4 * 32 + 3 * 2) and len(sounds) == 3
    assert all(sound.shape == (3, 3, 64 + 8, 51) and sound.min() >= 0 and sound.max() <= 1 for sound in sounds)


def test_a_bar_is_as_long_as_its_share_and_green_if_it_is_right() -> None:
    share, right = torch.tensor([0.25, 2.0]), torch.tensor([True, False])
    bar = with_bar(torch.zeros(2, 3, 5, 40), share, right)[:, :, -1]
    assert (bar[0, :, 10:] == 1).all() and (bar[0, 1, :10] > bar[0, 0, :10]).all()
    assert (bar[1, 0] > bar[1, 1]).all()
