"""Space-time cubic puzzles are the paper's."""

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
    spec_for,
    without_gradient,
)
from sslzoo_plugins.context.cubic_puzzles import CubicPuzzles, CubicPuzzlesConfig, Puzzles, solve
from torch import Tensor
from view_samples import draw_of

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.method import Batch
from sslzoo.nn.permutations import every_permutation

CONFIG, ENCODER = CubicPuzzlesConfig(piece_frames=2, hidden_dim=16), "test_r3d"


def numbered_cells(views: Puzzles) -> Tensor:
    """A video whose cell in row r and column c at time t is red by 10 (t + 1) + 60 (2 r + c); each frame has a blue."""
    cell = torch.arange(views.grid.extent) // views.grid.pitch
    place = 2 * cell[:, None] + cell
    time = torch.arange(8 * views.frames) // (2 * views.frames)
    red = 10 * (time[:, None, None] + 1) + 60 * place
    blue = torch.arange(8 * views.frames)[:, None, None].expand_as(red)
    return torch.stack([red, red, blue], dim=1).to(torch.uint8)


def cut(views: Puzzles, count: int) -> tuple[Tensor, Tensor]:
    """Grey levels of pieces in order (count, 4, T, H, W), and those of their cells (count, 4)."""
    keys = draw_of(count).key.tolist()
    pieces = views.crop([{"clip": numbered_cells(views), "index": 0, "key": key} for key in keys])["clip"][:, :, :, 0]
    return pieces, pieces[:, :, 0, 0, 0].long()


def augmented(count: int) -> tuple[Tensor, Batch]:
    """Grey levels in the first channel of pieces that have 40, 80, 120 and 160, less in others, below and right."""
    level = torch.tensor([40, 80, 120, 160])[:, None, None, None, None]
    piece = level - torch.tensor([0, 5, 10])[:, None, None] - torch.arange(6)[:, None] - torch.arange(6)
    views = Puzzles(CONFIG, InputSpec.square(16, frames=2))
    clip = piece.expand(count, 4, 2, 3, 6, 6).to(torch.uint8)
    batch = views.augment({"clip": clip, "key": draw_of(count).key})
    mean, std = (torch.tensor(values)[:, None, None, None] for values in (views.spec.mean, views.spec.std))
    return (torch.stack(batch["views"], dim=1) * std + mean) * 255, batch


def test_the_papers_lengths_are_those_of_an_encoder_for_16_frames_of_112() -> None:
    views = Puzzles(CubicPuzzlesConfig(), InputSpec.square(112, frames=16))
    assert (views.frames, views.grid.size, views.grid.pitch, views.grid.extent) == (16, 80, 112, 224)
    assert (views.sampling.length, views.sampling.stride) == (128, 1)


def test_pieces_are_of_the_four_places_at_one_time_or_of_the_four_times_at_one_place() -> None:
    views = Puzzles(CONFIG, InputSpec.square(32, frames=2))
    pieces, level = cut(views, 300)
    assert pieces.shape == (300, 4, 2, views.grid.size, views.grid.size)
    time, place = level % 60 // 10 - 1, level // 60
    spatial, temporal = (place == torch.arange(4)).all(1), (time == torch.arange(4)).all(1)
    assert (spatial ^ temporal).all() and abs(float(spatial.float().mean()) - 0.5) < 0.1
    assert (time[spatial] == time[spatial][:, :1]).all() and (place[temporal] == place[temporal][:, :1]).all()
    assert len(time[spatial][:, 0].unique()) == len(place[temporal][:, 0].unique()) == 4


def test_no_piece_leaves_its_cell() -> None:
    pieces, level = cut(Puzzles(CONFIG, InputSpec.square(32, frames=2)), 200)
    assert (pieces == level[:, :, None, None, None]).all()


def test_a_video_that_is_too_short_is_played_more_slowly() -> None:
    views = Puzzles(CubicPuzzlesConfig(piece_frames=4), InputSpec.square(32, frames=4))
    frame = torch.arange(8)[views.sampling.at(0.0, 8).index]  # 8 frames, of which the last is repeated to make 32
    clip = (20 * frame[:, None, None, None]).expand(-1, 3, views.grid.extent, views.grid.extent).to(torch.uint8)
    keys = draw_of(100).key.tolist()
    pieces = views.crop([{"clip": clip, "index": 0, "key": key} for key in keys])["clip"][:, :, :, 0, 0, 0] // 20
    cell = pieces // 2
    assert torch.equal(cell[:, :, 0], cell[:, :, -1])
    assert torch.equal(cell[:, :, 0].unique(dim=0), torch.tensor([[0] * 4, [0, 1, 2, 3], [1] * 4, [2] * 4, [3] * 4]))


def test_pieces_lie_anywhere_in_their_cells_in_space_and_time() -> None:
    views = Puzzles(CubicPuzzlesConfig(), InputSpec.square(112, frames=16))
    start, corner = views.place(draw_of(2000))
    within_time, within_space = start % 32, corner % 112
    assert torch.equal(within_time.unique(), torch.arange(17))
    assert torch.equal(within_space.unique(), torch.arange(33))
    assert (start // 32).max() == 3 and (corner // 112).max() == 1
    together = torch.stack([within_time[:, 0], within_time[:, 1]]).float()
    assert together.corrcoef()[0, 1].abs() < 0.07


def test_24_orders_upright_and_turned_by_180_degrees_are_48_classes() -> None:
    pieces, batch = augmented(2500)
    shown = ((pieces[:, :, 0, 0, 0, 0] + 10) / 40).round().long() - 1
    order = every_permutation(4).long()
    assert len({tuple(row) for row in order.tolist()}) == 24
    assert torch.equal(shown, order[batch["target"] % 24])
    turned = (batch["target"] >= 24)[:, None].expand(-1, 4)
    assert torch.equal(pieces[:, :, 0, 0, 0, 0] < pieces[:, :, 0, 0, -1, 0], turned)
    assert torch.equal(pieces[:, :, 0, 0, 0, 0] < pieces[:, :, 0, 0, 0, -1], turned)
    assert (batch["target"].bincount(minlength=48) > 20).all()


def test_each_piece_shows_one_channel_of_its_own_in_all_channels() -> None:
    pieces, batch = augmented(400)
    assert (pieces - pieces[:, :, :1]).abs().max() < 1e-3
    first = pieces[:, :, 0, 0].amax(dim=(2, 3))
    channel = ((-first % 40) / 5).round().long()
    assert torch.equal(channel.unique(), torch.arange(3))
    assert abs(float((channel[:, 0] == channel[:, 1]).float().mean()) - 1 / 3) < 0.1
    shares = torch.stack([(channel == one).float().mean(0) for one in range(3)])
    assert (shares - 1 / 3).abs().max() < 0.1


def test_views_depend_on_clip_and_key_alone() -> None:
    check_views_depend_on_clip_and_key_alone(CubicPuzzles, CONFIG, ENCODER)


def test_the_loss_is_the_cross_entropy_of_the_class_given_four_pieces() -> None:
    method, batch = built(CubicPuzzles, CONFIG, ENCODER).eval(), batch_of(CubicPuzzles, CONFIG, ENCODER)
    total, right = 0.0, 0
    with torch.no_grad():
        losses = method(batch)
        for clip in range(4):
            pieces = [method.encoder(view[clip : clip + 1])[0] for view in batch["views"]]
            logits = method.head(torch.cat(pieces))
            total += float(logits.logsumexp(0) - logits[batch["target"][clip]])
            right += int(logits.argmax() == batch["target"][clip])
    assert math.isclose(float(losses["loss"]), total / 4, rel_tol=1e-5)
    assert math.isclose(float(losses["accuracy"]), right / 4, rel_tol=1e-6)


def test_the_gradient_reaches_every_parameter() -> None:
    assert without_gradient(CubicPuzzles, CONFIG, ENCODER) == []


def test_clips_may_have_any_number_of_channels() -> None:
    check_any_number_of_channels(CubicPuzzles, CONFIG, ENCODER)


def test_held_out_scores_change_no_state() -> None:
    assert changed_by_held_out_scores(CubicPuzzles, CONFIG, ENCODER) == []


def test_an_encoder_of_pictures_is_refused() -> None:
    with pytest.raises(UsageError, match="such as r3d_18"):
        CubicPuzzles(create_encoder("test_resnet", 32), CONFIG)
    with pytest.raises(UsageError, match="such as r3d_18"):
        CubicPuzzles.views(CubicPuzzlesConfig(), spec_for("test_resnet"))


def test_illustrations_put_pieces_where_the_predicted_class_has_them() -> None:
    pieces = torch.rand(1, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    for number, order in enumerate(every_permutation(4).long()):
        shown = pieces[:, order]
        assert torch.equal(solve(shown, torch.tensor([number])), pieces)
        assert torch.equal(solve(shown.flip((-2, -1)), torch.tensor([24 + number])), pieces)
    method, batch = built(CubicPuzzles, CONFIG, ENCODER).eval(), batch_of(CubicPuzzles, CONFIG, ENCODER)
    with torch.no_grad():
        shown, solved, right = method.illustrate(batch).values()
        predicted = method.logits(batch).argmax(1)
    size = batch["views"][0].shape[-1]
    assert shown.shape == solved.shape == (4, 3, 2 * size + 2, 2 * size + 2)
    assert shown.min() >= 0 and shown.max() <= 1
    assert [torch.equal(*pair) for pair in zip(solved, right, strict=True)] == (predicted == batch["target"]).tolist()
