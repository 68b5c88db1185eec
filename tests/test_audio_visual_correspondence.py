"""Audio-visual correspondence is the paper's."""

from __future__ import annotations

import math

import pytest
import torch
from clip_samples import built, counting_clip, spec_for
from sounding_clips import (
    FPS,
    batch_of,
    check_views_depend_on_clip_and_key_alone,
    counting_sound,
    samples_of,
    tone,
    windows,
)
from sslzoo_plugins.cross_modal.audio_visual_correspondence import (
    AudioVisualCorrespondence,
    AudioVisualCorrespondenceConfig,
    FrameAndSound,
    lit,
)
from torch import Tensor, nn
from view_samples import draw_of

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec, create_encoder, spec_of
from sslzoo.nn.derangement import others
from sslzoo.views.spectrograms import log_mel

CONFIG = AudioVisualCorrespondenceConfig(sound_encoder="test_resnet", hidden_dim=16)


def method(encoder: str = "test_resnet") -> AudioVisualCorrespondence:
    made = built(AudioVisualCorrespondence, CONFIG, encoder)
    assert isinstance(made, AudioVisualCorrespondence)
    return made


def test_the_frame_is_of_the_second_that_is_heard() -> None:
    clip, sound = counting_clip(48, 32), counting_sound(48)
    views = FrameAndSound(CONFIG, InputSpec.square(28))
    keys = draw_of(200).key.tolist()
    batch = views.crop(
        windows(views, [{"clip": clip, "sound": sound, "fps": FPS, "index": 0, "key": key} for key in keys])
    )
    frame = batch["image"][:, 0, 0, 0].double() / 5 - 1
    begins = batch["sound"][:, 0].double() * 100 * FPS
    assert batch["sound"].shape == (200, 16000)
    inside = frame - begins
    assert inside.min() > -0.01 and inside.max() < FPS
    assert (inside.round().long().bincount(minlength=8) > 10).all()
    assert len(begins.unique()) > 30


def test_a_frame_is_cut_at_7_of_8_parts_anywhere_and_mirrored_half_of_the_time() -> None:
    columns = torch.arange(64, dtype=torch.uint8).expand(8, 3, 64, 64)
    views = FrameAndSound(CONFIG, InputSpec.square(56))
    samples = [
        {"clip": columns, "sound": torch.zeros(16000), "index": 0, "key": key} for key in draw_of(300).key.tolist()
    ]
    edges = views.crop(samples)["image"][:, 0, 0, [0, -1]].long()
    assert ((edges[:, 0] - edges[:, 1]).abs() == 55).all()
    assert set(edges.amin(1).tolist()) == set(range(9))
    assert abs(float((edges[:, 0] > edges[:, 1]).float().mean()) - 0.5) < 0.1


def test_a_whole_sound_is_up_to_a_tenth_louder_or_softer() -> None:
    views = FrameAndSound(CONFIG, InputSpec.square(16))
    sound = tone(1.0, 500).expand(200, -1)
    batch = views.augment(
        {"image": torch.zeros(200, 3, 16, 16, dtype=torch.uint8), "sound": sound, "key": draw_of(200).key}
    )
    spec = views.hears
    heard = batch["sound"] * spec.std[0] + spec.mean[0]
    assert heard.shape == (200, *spec.size) == (200, 1, 64, 101)
    gain = (heard.exp() - 0.01).flatten(1).amax(1) / (log_mel(sound[:1]).exp() - 0.01).max()
    assert gain.min() == pytest.approx(0.9, abs=0.01) and gain.max() == pytest.approx(1.1, abs=0.01)


def test_brightness_and_saturation_change_and_hue_and_contrast_do_not() -> None:
    grey = torch.full((64, 3, 8, 8), 100, dtype=torch.uint8)
    views = FrameAndSound(CONFIG, InputSpec(size=(3, 8, 8), mean=(0.0,) * 3, std=(1.0,) * 3))
    shown = views.augment({"image": grey, "sound": torch.zeros(64, 16000), "key": draw_of(64).key})["views"][0]
    assert torch.allclose(shown, shown[:, :1].expand_as(shown), atol=1e-3)
    level = shown[:, 0, 0, 0] * 255
    assert 86 < level.min() < 92 and 108 < level.max() < 114  # 32 / 255 of 100 either way


def test_views_depend_on_clip_and_key_alone() -> None:
    check_views_depend_on_clip_and_key_alone(AudioVisualCorrespondence, CONFIG, "test_resnet")


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_loss_is_the_cross_entropy_of_each_frame_with_its_own_and_with_anothers_sound(encoder: str) -> None:
    made, batch = method(encoder).eval(), batch_of(AudioVisualCorrespondence, CONFIG, encoder)
    other = others(batch["key"])
    total, right = 0.0, 0
    with torch.no_grad():
        losses = made(batch)
        for frame in range(4):
            for belongs, sound in ((1, frame), (0, int(other[frame]))):
                seen = made.encoder(batch["views"][0][frame : frame + 1])
                heard = made.sound_encoder(batch["sound"][sound : sound + 1])
                logits = made.head(torch.cat([seen, heard], dim=1))[0]
                total += float(logits.logsumexp(0) - logits[belongs])
                right += int(logits.argmax() == belongs)
    assert math.isclose(float(losses["loss"]), total / 8, rel_tol=1e-4)
    assert math.isclose(float(losses["accuracy"]), right / 8, rel_tol=1e-6)


def test_a_frame_alone_in_a_held_out_batch_is_scored_with_its_own_sound() -> None:
    made, batch = method().eval(), batch_of(AudioVisualCorrespondence, CONFIG, "test_resnet", count=1)
    with torch.no_grad():
        logits = made.logits(made.encoder(batch["views"][0]), made.sound_encoder(batch["sound"]))[0]
        loss = made(batch)["loss"]
    assert math.isclose(float(loss), float(logits.logsumexp(0) - logits[1]), rel_tol=1e-5)


def test_the_gradient_reaches_both_encoders_and_the_head() -> None:
    made = method().train()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm closes residual branches at first
            nn.init.ones_(module.weight)
    made(batch_of(AudioVisualCorrespondence, CONFIG, "test_resnet"))["loss"].backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() for parameter in made.parameters())


def test_the_encoder_of_sounds_is_handed_over_as_a_plain_one() -> None:
    spec = spec_of(method().trained_sound_encoder())
    assert (spec.architecture, spec.input.size, spec.model_args) == ("test_resnet", (1, 64, 101), {"in_chans": 1})
    assert spec_of(
        AudioVisualCorrespondence(
            create_encoder("test_resnet", 32), AudioVisualCorrespondenceConfig(sound_encoder="test_vit")
        ).trained_sound_encoder()
    ).model_args["img_size"] == [64, 101]


def test_encoders_of_clips_are_refused() -> None:
    with pytest.raises(UsageError, match="single frames"):
        built(AudioVisualCorrespondence, CONFIG, "test_r3d")
    with pytest.raises(UsageError, match="single frames"):
        AudioVisualCorrespondence.views(CONFIG, spec_for("test_r3d"))


def test_the_default_recipe_is_the_papers() -> None:
    recipe = AudioVisualCorrespondence.defaults
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.batch_size) == ("adam", 1e-4, 1e-5, 256)
    config = AudioVisualCorrespondenceConfig()
    assert (config.seconds, config.loudness, config.hidden_dim) == (1.0, 0.1, 128)


def test_illustrations_show_frames_sounds_and_the_places_that_belong_to_them() -> None:
    views = AudioVisualCorrespondence.views(CONFIG, InputSpec.square(64))
    batch = views(windows(views, samples_of(3)))
    made = AudioVisualCorrespondence(create_encoder("test_resnet", 64), CONFIG).eval()
    with torch.no_grad():
        frame, sound, places = made.illustrate(batch).values()
    assert frame.shape == places.shape == (3, 3, 64, 64) and sound.shape == (3, 3, 64, 101)
    assert all(shown.min() >= 0 and shown.max() <= 1 for shown in (frame, sound, places))
    loudest = sound[:, 0].mean(2).argmax(1)
    assert loudest[0] > loudest[1] > loudest[2]  # low tones below


def test_light_falls_where_the_share_is_largest() -> None:
    share = torch.tensor([[[[0.5, 0.5], [0.5, 0.6]]]])
    shown: Tensor = lit(torch.ones(1, 3, 16, 16), share)
    assert shown[0, 0, 15, 15] == pytest.approx(1) and shown[0, 0, 0, 0] == pytest.approx(0.15)
