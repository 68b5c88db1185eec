"""Order verification is the paper's."""

from __future__ import annotations

import math

import pytest
import torch
from clip_samples import (
    batch_of,
    built,
    changed_by_held_out_scores,
    check_any_number_of_channels,
    check_views_depend_on_clip_and_key_alone,
    counting_clip,
    without_gradient,
)
from sslzoo_plugins.context.shuffle_and_learn import (
    FiveFrames,
    ShuffleAndLearn,
    ShuffleAndLearnConfig,
    framed,
)
from torch import Tensor
from view_samples import draw_of

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec
from sslzoo.views.clips import distinct_frames

CONFIG = ShuffleAndLearnConfig(embedding_dim=16, hidden_dim=8)


def chosen(clip: Tensor, count: int, config: ShuffleAndLearnConfig = CONFIG) -> Tensor:
    """(count, 5): frames that are taken of one clip with many keys, put forwards."""
    index = FiveFrames(config, InputSpec.square(16)).choose([clip] * count, draw_of(count))
    return torch.where(index[:, :1] < index[:, -1:], index, index.flip(1))


def test_frames_keep_the_distances_of_the_paper() -> None:
    a, b, c, d, e = chosen(counting_clip(31), 500).unbind(1)  # a candidate every 4 frames of 120: 15 are 4, 60 are 15
    assert ((a < b) & (b < c) & (c < d) & (d < e)).all()
    assert (b - a).min() == 4 and (e - d).min() == 4
    assert (d - b).max() == 15 and (d - b).min() == 2
    assert a.min() == 0 and e.max() == 30


def test_distances_shrink_with_a_clip_that_ends_before_its_window_does() -> None:
    clip = counting_clip(16)
    stretched = torch.cat([clip, clip[-1:].expand(15, -1, -1, -1)])  # as the data layer makes a short clip longer
    assert distinct_frames(stretched, 5) == 16
    a, b, _, d, e = chosen(stretched, 500).unbind(1)
    assert (b - a).min() == 2 and (e - d).min() == 2 and (d - b).max() == 8 and e.max() == 15


@pytest.mark.parametrize("config", [{"window": 16}, {"window": 32}, {"tau_min": 60}])
def test_five_frames_are_in_order_whatever_window_and_distances_are_asked_for(config: dict[str, int]) -> None:
    config = ShuffleAndLearnConfig(embedding_dim=16, **config)
    clip = counting_clip(config.window // config.stride + 1)
    assert (chosen(clip, 300, config).diff(dim=1) > 0).all()


def test_windows_of_much_motion_are_preferred() -> None:
    clip = torch.zeros(31, 3, 16, 16, dtype=torch.uint8)
    clip[8:24] = counting_clip(16)
    clip[24:] = clip[23]
    clip[30] += 1  # still, but not at its end
    _, b, _, d, _ = chosen(clip, 300).unbind(1)
    assert ((b >= 5) & (d <= 26)).float().mean() > 0.9


def test_the_frames_that_make_a_triple_wrong_look_unlike_the_one_that_makes_it_right() -> None:
    clip = counting_clip(31)
    clip[20:] = clip[:11].flip(0)  # what was seen before is seen again
    a, _, c, _, e = chosen(clip, 300).unbind(1)
    shade = clip[:, 0, 0, 0].long()
    assert min((shade[a] - shade[c]).abs().min(), (shade[e] - shade[c]).abs().min()) > 5


def test_half_of_all_clips_run_backwards_as_a_whole() -> None:
    index = FiveFrames(CONFIG, InputSpec.square(16)).choose([counting_clip(31)] * 600, draw_of(600))
    steps = index.diff(dim=1).sign()
    assert (steps == steps[:, :1]).all()
    assert abs(float((steps[:, 0] > 0).float().mean()) - 0.5) < 0.07


def test_frames_are_shown_whole_and_unmirrored_in_the_order_chosen() -> None:
    clip = counting_clip(31).clone()
    clip[:, 1] = torch.arange(0, 256, 16, dtype=torch.uint8)  # a ramp from left to right, in green
    views = FiveFrames(CONFIG, InputSpec.square(16))
    batch = views([{"clip": clip, "index": 0, "key": key} for key in draw_of(8).key.tolist()])
    frames = torch.stack(batch["views"], dim=1) * torch.tensor(views.spec.std)[:, None, None]
    frames = (frames + torch.tensor(views.spec.mean)[:, None, None]) * 255
    index = views.choose([clip] * 8, draw_of(8))
    torch.testing.assert_close(frames[:, :, 0, 3, 3], clip[index][:, :, 0, 3, 3].float(), rtol=0, atol=1e-2)
    torch.testing.assert_close(frames[:, :, 1, 3], clip[index][:, :, 1, 3].float(), rtol=0, atol=1e-2)


def test_views_depend_on_clip_and_key_alone() -> None:
    check_views_depend_on_clip_and_key_alone(ShuffleAndLearn, CONFIG)


@pytest.mark.parametrize("hidden_dim", [0, 8])
def test_the_loss_weighs_right_and_wrong_triples_as_the_paper_mixes_them(hidden_dim: int) -> None:
    config = ShuffleAndLearnConfig(embedding_dim=16, hidden_dim=hidden_dim, positives=0.25)
    method, batch = built(ShuffleAndLearn, config).eval(), batch_of(ShuffleAndLearn, config)
    total, right = 0.0, {True: 0, False: 0}
    with torch.no_grad():
        losses = method(batch)
        for clip in range(4):
            known = [method.embed(method.encoder(view[clip : clip + 1]))[0] for view in batch["views"]]
            for middle, in_order, weight in ((2, True, 0.25), (0, False, 0.375), (4, False, 0.375)):
                share = torch.sigmoid(method.head(torch.cat([known[i] for i in (1, middle, 3)])))
                total -= weight * math.log(share if in_order else 1 - share)
                right[in_order] += bool((share > 0.5) == in_order)
    assert math.isclose(float(losses["loss"]), total / 4, rel_tol=1e-5)
    assert math.isclose(float(losses["accuracy"]), right[True] / 8 + right[False] / 16, rel_tol=1e-6)


def test_without_a_hidden_layer_what_frames_say_is_added_as_in_the_paper() -> None:
    config = ShuffleAndLearnConfig(embedding_dim=16)
    method, batch = built(ShuffleAndLearn, config).eval(), batch_of(ShuffleAndLearn, config)
    with torch.no_grad():
        logits = method.logits(batch)
        other = batch | {"views": [*batch["views"][:1], batch["views"][1].flip(-1), *batch["views"][2:]]}
        moved = method.logits(other) - logits  # of the frame that all triples share: alike for right and wrong
    torch.testing.assert_close(moved, moved[:, :1].expand(-1, 3))
    assert moved.abs().max() > 1e-4


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(ShuffleAndLearn, CONFIG, encoder) == []


def test_clips_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(ShuffleAndLearn, CONFIG)


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(ShuffleAndLearn, CONFIG) == []


def test_the_default_recipe_is_the_authors_solver() -> None:
    recipe = ShuffleAndLearn.defaults
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("momentum", 0.001, 0.9, 5e-4)
    steps = recipe.epochs * 9537 / recipe.batch_size
    assert steps == pytest.approx(100_000, rel=0.001)
    assert [share * steps for share in recipe.milestones] == pytest.approx([80_000], rel=0.001)


def test_a_window_too_small_for_five_frames_is_refused() -> None:
    for wrong in ({"window": 15}, {"stride": 0}, {"tau_min": 0}, {"tau_max": 1}):
        with pytest.raises(UsageError, match="five frames need"):
            FiveFrames(ShuffleAndLearnConfig(**wrong), InputSpec.square(16))
    with pytest.raises(UsageError, match="positives"):
        FiveFrames(ShuffleAndLearnConfig(positives=1.0), InputSpec.square(16))


def test_illustrations_frame_every_triple_by_its_verdict() -> None:
    method, batch = built(ShuffleAndLearn, CONFIG).eval(), batch_of(ShuffleAndLearn, CONFIG)
    with torch.no_grad():
        five, *triples = method.illustrate(batch).values()
        judged = method.logits(batch) > 0
    assert five.shape == (4, 3, 32, 5 * 32 + 4 * 2)
    for triple, verdict in zip(triples, judged.unbind(1), strict=True):
        assert triple.shape == (4, 3, 32 + 6, 3 * 32 + 2 * 2 + 6)
        greener = triple[:, 1, 0, 0] > triple[:, 0, 0, 0]
        assert torch.equal(greener, verdict)
    assert torch.equal(triples[0][:, :, 3:-3, 3:35], five[:, :, :, 34:66])
    assert framed(torch.zeros(2, 1, 4, 4), torch.tensor([True, False])).shape == (2, 3, 10, 10)
