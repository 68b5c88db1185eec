"""Pictures of a run: large enough to judge, not smoothed, and with titles that take no room from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sslzoo_plugins.context.rotation import Rotation, RotationConfig

import sslzoo
from sslzoo import handover
from sslzoo.config import UsageError
from sslzoo.figures import illustration_sheet, pretraining_figure, save_figure
from sslzoo.record import check_same_run, command_line

LONG = (
    "a title that says at great length what is to be seen in the row of pictures below it, and a little more than that"
)
FLAGS = {
    "dataset": "cliparts[unlabeled[:40]]",
    "encoder": "test_resnet",
    "image_size": 32,
    "epochs": 2,
    "batch_size": 8,
    "lr": 0.01,
    "workers": 0,
    "log_every": 1,
}


def noise(count: int, side: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(side))


def boxes(figure: Any) -> list[tuple[int, int, int, int]]:
    """Left, top, width and height in pixels of each picture."""
    width, height = figure.get_size_inches() * figure.dpi
    found = []
    for axes in figure.axes:
        if axes.images:
            box = axes.get_position()
            found.append((box.x0 * width, (1 - box.y1) * height, box.width * width, box.height * height))
    return [(round(left), round(top), round(wide), round(high)) for left, top, wide, high in found]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = [{"step": step, "loss": 3.0 / step} for step in range(1, 9)]
    lines[-1]["validation"] = {"loss": 1.0}
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.mark.parametrize(("side", "shown"), [(32, 96), (40, 120), (64, 128), (96, 96), (224, 224), (512, 256)])
def test_pictures_are_large_and_small_pixels_become_whole_squares(tmp_path: Path, side: int, shown: int) -> None:
    images = noise(3, side)
    figure = illustration_sheet({"input": images, "output": images.flip(0)}, "title", "caption")
    assert {(wide, high) for _, _, wide, high in boxes(figure)} == {(shown, shown)}
    save_figure(figure, tmp_path / "figures" / "sheet.png")
    page = np.asarray(Image.open(tmp_path / "figures" / "sheet.png").convert("RGB"))
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["sheet.png"]
    if shown < side:
        return
    for (left, top, wide, high), image in zip(boxes(figure), [*images, *images.flip(0)], strict=True):
        expected = (image.permute(1, 2, 0) * 255).numpy().repeat(shown // side, 0).repeat(shown // side, 1)
        inner = slice(2, -2)  # the frame is drawn on the edge
        drawn = page[top : top + high, left : left + wide]
        assert np.abs(drawn[inner, inner].astype(float) - expected[inner, inner]).max() <= 1


def test_long_titles_shrink_no_picture_and_move_none(log: Path) -> None:
    for draw in (
        lambda pictures: illustration_sheet(pictures, "title", "caption"),
        lambda pictures: pretraining_figure(log, pictures, "title"),
    ):
        short = draw({"one": noise(8, 64), "two": noise(8, 64)})
        long = draw({LONG: noise(8, 64), LONG + LONG: noise(8, 64)})
        assert boxes(short) == boxes(long) and (short.get_size_inches() == long.get_size_inches()).all()


def test_rows_lie_below_each_other_and_columns_are_aligned() -> None:
    figure = illustration_sheet({"whole": noise(9, 64), "quarters": noise(9, 32), "grey": noise(2, 64, 1)}, "t", "c")
    found = boxes(figure)
    assert len(found) == 8 + 8 + 2
    rows = [found[:8], found[8:16], found[16:]]
    assert all([box[0] for box in row] == [box[0] for box in rows[0]][: len(row)] for row in rows)
    for above, below in zip(rows, rows[1:], strict=False):
        assert max(top + high for _, top, _, high in above) + 10 < min(top for _, top, _, _ in below)
    width, height = figure.get_size_inches() * figure.dpi
    assert all(left + wide <= width and top + high <= height for left, top, wide, high in found)


def test_the_curves_lie_below_the_pictures_and_stand_alone_without_any(log: Path) -> None:
    *_, curves = pretraining_figure(log, {"row": noise(8, 64)}, "title").axes
    assert curves.get_position().y1 < 0.6 and len(curves.lines) == 2
    (alone,) = pretraining_figure(log, {}, "title").axes
    assert alone.get_position().y0 > 0.1 and [line.get_label() for line in alone.lines][-1] == "held-out loss"


def test_illustrate_draws_a_sheet_after_each_epoch_and_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    original = handover.illustration_sheet

    def seen(pictures: Any, title: str, caption: str) -> Any:
        drawn.append((list(pictures), title, caption))
        return original(pictures, title, caption)

    monkeypatch.setattr(handover, "illustration_sheet", seen)
    flags = FLAGS | {"validation": "cliparts[test[:10]]"}
    plain = sslzoo.pretrain("rotation", out=tmp_path / "plain", **flags)
    assert not drawn and not (plain / "figures" / "illustration.png").exists()
    watched = sslzoo.pretrain("rotation", out=tmp_path / "watched", illustrate=True, **flags)
    assert {path.name for path in (watched / "figures").iterdir()} == {"illustration.png", "pretraining.png"}

    lines = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (plain, watched)]
    held_out = [line["validation"]["loss"] for line in lines[1] if "validation" in line]
    assert [caption for _, _, caption in drawn] == [
        f"epoch 1 of 2, step 5: held-out loss {held_out[0]:.4g}",
        f"epoch 2 of 2, step 10: held-out loss {held_out[1]:.4g}",
    ]
    assert all(title == f"rotation: {Rotation.info.summary}" and len(rows) == 3 for rows, title, _ in drawn)
    assert [line["loss"] for line in lines[0]] == [line["loss"] for line in lines[1]]
    weights = [(run / "encoder" / "model.safetensors").read_bytes() for run in (plain, watched)]
    assert weights[0] == weights[1]
    commands = [json.loads((run / "run.json").read_text())["command"] for run in (plain, watched)]
    assert "illustrat" not in commands[0] and commands[1] == f"{commands[0]} --illustrate"


def test_a_run_may_be_watched_from_any_moment_on() -> None:
    begun = {"method": {}, "method_config": {}, "dataset": {}, "pretrain": {"lr": 0.1}}  # by a version without the flag
    check_same_run(Path("run"), begun, begun | {"pretrain": {"lr": 0.1, "illustrate": True}})
    config = replace(Rotation.defaults, illustrate=True)
    assert command_line("rotation", RotationConfig(), config, Rotation.defaults).endswith(" --illustrate")


def test_a_method_that_has_nothing_to_draw_says_so_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="^predict_noise has nothing to draw: leave out --illustrate$"):
        sslzoo.pretrain("predict_noise", out=tmp_path / "run", illustrate=True, **FLAGS)
    assert not (tmp_path / "run").exists()
