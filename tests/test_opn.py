"""Order recognition is the paper's."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

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
from sslzoo_plugins.context.opn import (
    OPN,
    ORDERS,
    PAIRS,
    OPNConfig,
    ShuffledFrames,
    choose_frames,
    lively_square,
    moves,
    sort,
)
from torch import Tensor
from view_samples import draw_of

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec
from sslzoo.method import Batch
from sslzoo.views.clips import motion

CONFIG = OPNConfig(region=1.0, frame_dim=16, pair_dim=8)


def shown(views: ShuffledFrames, batch: Batch) -> Tensor:
    """(B, 4, C, S, S): grey levels of the patches, in the order in which they are shown."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (views.spec.mean, views.spec.std))
    return (torch.stack(batch["views"], dim=1) * std + mean) * 255


def augmented(regions: Tensor, size: int = 16, config: OPNConfig = CONFIG) -> tuple[Tensor, Batch]:
    """What is shown of regions (B, 4, C, E, E)."""
    views = ShuffledFrames(config, InputSpec.square(size))
    batch = views.augment({"clip": regions, "key": draw_of(len(regions)).key})
    return shown(views, batch), batch


def test_twelve_classes_are_the_24_orders_in_pairs_of_an_order_and_its_reverse() -> None:
    both = [order for one in ORDERS for order in (one, one[::-1])]
    assert len(ORDERS) == 12 and sorted(both) == sorted(permutations(range(4)))


def test_frames_are_shown_in_the_order_of_the_target_or_its_reverse() -> None:
    levels = torch.tensor([40, 80, 120, 160], dtype=torch.uint8)[:, None, None, None]
    patches, batch = augmented(levels.expand(600, 4, 3, 20, 20).clone())
    frame = (patches[:, :, 0, 0, 0] / 40).round().long() - 1
    assert torch.equal(frame, batch["order"])
    order = torch.tensor(ORDERS)[batch["target"]]
    forwards, backwards = (frame == order).all(1), (frame == order.flip(1)).all(1)
    assert (forwards ^ backwards).all() and abs(float(forwards.float().mean()) - 0.5) < 0.07
    assert (batch["target"].bincount(minlength=12) > 25).all()
    assert len({tuple(row) for row in frame.tolist()}) == 24


def test_each_frame_shows_one_channel_of_its_own_in_all_channels() -> None:
    channels = torch.tensor([50, 100, 150], dtype=torch.uint8)[:, None, None]
    patches, batch = augmented(channels.expand(400, 4, 3, 20, 20).clone())
    assert (patches - patches[:, :, :1]).abs().max() < 1e-3
    channel = (patches[:, :, 0, 0, 0] / 50).round().long() - 1
    shares = torch.stack([(channel == one).float().mean(0) for one in range(3)])
    assert (shares - 1 / 3).abs().max() < 0.09  # in every place, so it tells nothing of the order
    assert abs(float((channel[:, 0] == channel[:, 1]).float().mean()) - 1 / 3) < 0.08
    chosen = channel.take_along_dim(batch["order"].argsort(1), 1)
    assert (torch.stack([(chosen == one).float().mean(0) for one in range(3)]) - 1 / 3).abs().max() < 0.09


def test_frames_show_the_mean_of_their_channels_if_not_one_each() -> None:
    channels = torch.tensor([50, 100, 180], dtype=torch.uint8)[:, None, None]
    patches, _ = augmented(channels.expand(4, 4, 3, 20, 20).clone(), config=replace(CONFIG, split_channels=False))
    assert (patches - 110).abs().max() < 1e-3


def test_each_frame_is_cut_a_little_elsewhere_than_the_others() -> None:
    size, extent = 80, 100
    rows = torch.arange(extent, dtype=torch.uint8)[:, None].expand(extent, extent)
    for places in (rows, rows.T):
        regions = places.expand(60, 4, 3, extent, extent)
        corner = augmented(regions, size, OPNConfig())[0][:, :, 0, 0, 0].round().long()
        assert corner.min() == 0 and corner.max() == extent - size
        apart = corner.amax(1) - corner.amin(1)
        assert 5 < apart.max() <= 10  # each up to 5 of 80 pixels from what they have in common
        assert len({tuple(row) for row in (corner - corner[:, :1]).tolist()}) > 50
        still = augmented(regions, size, OPNConfig(jitter=0.0))[0][:, :, 0, 0, 0].round()
        assert torch.equal(still, still[:, :1].expand(-1, 4))


def test_all_four_frames_are_mirrored_or_none_is() -> None:
    clip = counting_clip(16, 20).clone()
    clip[:] = torch.arange(0, 200, 10, dtype=torch.uint8)
    clip[:, :, 0, 0] = counting_clip(16, 20)[:, :, 0, 0]  # something that moves
    views = ShuffledFrames(CONFIG, InputSpec.square(16))
    regions = views.crop([{"clip": clip, "index": 0, "key": key} for key in draw_of(200).key.tolist()])["clip"]
    mirrored = regions[:, :, 0, 9, 0] > regions[:, :, 0, 9, -1]
    assert torch.equal(mirrored.all(1), mirrored.any(1))
    assert abs(float(mirrored[:, 0].float().mean()) - 0.5) < 0.12


def test_four_frames_are_evenly_apart_and_lie_where_much_moves() -> None:
    clip = counting_clip(16)
    clip[:6] = clip[6]
    index = choose_frames([motion(clip)] * 300, 2 / 3, draw_of(300))
    assert (index.diff(dim=1) == 3).all() and index.min() >= 0 and index.max() == 15
    starts = index[:, 0].bincount(minlength=7).float()
    assert starts[6] > 1.5 * starts[0] > 0  # 9 moving steps against 4
    assert (choose_frames([motion(clip)] * 300, 1.0, draw_of(300)) == torch.tensor([0, 5, 10, 15])).all()
    with pytest.raises(UsageError, match="a clip of 3"):
        choose_frames([torch.ones(2)], 1.0, draw_of(1))


@pytest.mark.parametrize("length", [4, 6, 8, 12])
def test_no_frame_is_shown_twice_of_a_clip_that_ends_before_its_window_does(length: int) -> None:
    clip = counting_clip(length)
    longer = torch.cat([clip, clip[-1:].expand(16 - length, -1, -1, -1)])  # as the data layer does it
    index = choose_frames([moves(longer)] * 300, 0.5, draw_of(300))
    assert (index.diff(dim=1) > 0).all() and index.max() == length - 1


def test_the_region_is_a_square_where_much_moves() -> None:
    frames = torch.zeros(4, 3, 48, 64, dtype=torch.uint8)
    frames[::2, :, 30:40, 50:60] = 200
    for draw in (draw_of(1, seed) for seed in range(50)):
        top, left, height, width = lively_square(frames, 0.5, draw).tolist()
        assert (height, width) == (24, 24) and 30 < top + 24 <= 48 and 50 < left + 24 <= 64
    assert lively_square(torch.zeros_like(frames), 1.0, draw_of(1)).tolist()[2:] == [48, 48]


def test_views_depend_on_clip_and_key_alone() -> None:
    check_views_depend_on_clip_and_key_alone(OPN, CONFIG)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_loss_is_the_cross_entropy_of_the_class_given_six_comparisons(encoder: str) -> None:
    method, batch = built(OPN, CONFIG, encoder).eval(), batch_of(OPN, CONFIG, encoder)
    total, right = 0.0, 0
    with torch.no_grad():
        losses = method(batch)
        for clip in range(4):
            known = [method.frame(method.encoder(view[clip : clip + 1])) for view in batch["views"]]
            pairs = [(known[i] + known[j], known[i] - known[j]) for i in range(4) for j in range(i + 1, 4)]
            logits = method.head(torch.cat([method.pair(torch.cat(pair, dim=1)) for pair in pairs], dim=1))[0]
            total += float(logits.logsumexp(0) - logits[batch["target"][clip]])
            right += int(logits.argmax() == batch["target"][clip])
    assert len(PAIRS) == 6
    assert math.isclose(float(losses["loss"]), total / 4, rel_tol=1e-5)
    assert math.isclose(float(losses["accuracy"]), right / 4, rel_tol=1e-6)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_gradient_reaches_every_parameter(encoder: str) -> None:
    assert without_gradient(OPN, CONFIG, encoder) == []


def test_clips_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(OPN, CONFIG)


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(OPN, CONFIG) == []


def test_the_default_recipe_is_the_authors_solver() -> None:
    recipe = OPN.defaults
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("momentum", 0.01, 0.9, 5e-4)
    steps = recipe.epochs * 9537 / recipe.batch_size
    assert steps == pytest.approx(170_000, rel=0.001)
    assert [share * steps for share in recipe.milestones] == pytest.approx([130_000], rel=0.001)
    assert (OPNConfig().frame_dim, OPNConfig().pair_dim, recipe.image_size) == (1024, 512, 80)


def test_shares_that_are_none_are_refused() -> None:
    for wrong in ({"region": 0.0}, {"region": 1.5}, {"span": 0.0}):
        with pytest.raises(UsageError, match="shares"):
            ShuffledFrames(OPNConfig(**wrong), InputSpec.square(16))


def test_illustrations_sort_frames_by_the_predicted_class() -> None:
    frames = torch.arange(4.0)[None, :, None, None, None]
    for order in permutations(range(4)):
        assert torch.equal(sort(frames[:, order], torch.tensor([order])), frames)
    method, batch = built(OPN, CONFIG).eval(), batch_of(OPN, CONFIG)
    with torch.no_grad():
        shuffled, solved, in_order = method.illustrate(batch).values()
        predicted = method.logits(batch).argmax(1)
    assert shuffled.shape == (4, 3, 32, 4 * 32 + 3 * 2) and shuffled.min() >= 0 and shuffled.max() <= 1

    def patch(picture: Tensor, place: int) -> Tensor:
        return picture[:, :, 34 * place : 34 * place + 32]

    for clip, order in enumerate(batch["order"].tolist()):
        for place, frame in enumerate(order):
            assert torch.equal(patch(in_order[clip], frame), patch(shuffled[clip], place))
        assert torch.equal(solved[clip], in_order[clip]) == (predicted[clip] == batch["target"][clip])
