"""Quality without labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_source import TinySource
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluations import quality
from sslzoo.evaluations.quality import Quality, QualityConfig
from sslzoo.features import Features, extract
from sslzoo.report import Report, evaluate, save_figures

SETTINGS = QualityConfig(samples=20, views=3)


class Unlabelled(TinySource):
    def labels(self) -> Tensor:
        raise UsageError("there are none")


SOURCE = Unlabelled(70, "tiny[test]", size=24)


def encoder_of(seed: int = 0) -> nn.Module:
    return create_encoder("test_resnet", 32, seed=seed).eval()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        return evaluate(Quality(SETTINGS), encoder_of(5), SOURCE, SOURCE, model="mine")


def test_it_needs_no_labels_and_reports_every_number_it_names(report: Report) -> None:
    assert report.metrics.keys() == {"rank_share", *Quality.info.numbers}
    assert next(iter(report.metrics)) == "rank_share" == Quality.info.metric
    assert report.train is None and report.test["readable"] == 70
    assert report.baseline is not None and report.baseline["metrics"].keys() == report.metrics.keys()
    json.loads(report.to_json())


def test_numbers_keep_their_bounds(report: Report) -> None:
    found, dim = report.metrics, report.details["dim"]
    assert found["rank_share"] * dim == pytest.approx(found["effective_rank"])
    assert 1 <= found["nesum"] <= found["effective_rank"] <= found["rankme"] <= dim == 96
    assert 1 <= found["lidar"] < SETTINGS.samples and report.details["samples"] == SETTINGS.samples
    assert 0 <= found["alignment"] <= 4 and -4 < found["uniformity"] < 0 < found["feature_std"] < 1
    assert len(report.details["spectrum"]) == dim


def test_the_rank_is_that_of_the_plain_features(report: Report) -> None:
    features = extract(encoder_of(5), SOURCE).final.double()
    shares = torch.linalg.svdvals(features - features.mean(0)).square()
    shares = shares / shares.sum()
    rank = float(torch.special.entr(shares).sum().exp())
    assert report.metrics["effective_rank"] == pytest.approx(rank, rel=1e-5)


def test_an_encoder_that_sees_nothing_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path))
    blind = encoder_of()
    for parameter in blind.parameters():
        nn.init.constant_(parameter, 0.01)
    found = Quality(SETTINGS).run(blind, SOURCE, SOURCE).metrics
    assert found["rank_share"] < 0.03 and found["feature_std"] < 0.01 and found["uniformity"] > -0.01


def test_views_are_keyed_and_global_randomness_is_left_alone() -> None:
    evaluation, encoder = Quality(SETTINGS), encoder_of()
    torch.manual_seed(1)
    first = evaluation._views(encoder, SOURCE)
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(evaluation._views(encoder, SOURCE), first) and first.shape == (20, 3, 96)
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(first[:, 0], first[:, 1]), "views of an image differ"


def test_the_size_of_a_batch_does_not_change_views(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Quality(SETTINGS)._views(encoder_of(), SOURCE)
    monkeypatch.setattr(quality, "_ROWS", 9)
    torch.testing.assert_close(Quality(SETTINGS)._views(encoder_of(), SOURCE), whole)


def test_images_for_views_are_from_all_over_the_data_set() -> None:
    batches = quality._references(available=100, wanted=5, batch=2)
    assert [[index for index, _ in batch] for batch in batches] == [[0, 20], [40, 60], [80]]
    assert len(quality._references(available=3, wanted=5, batch=8)[0]) == 3


def test_the_figure_shows_both_spectra(report: Report, tmp_path: Path) -> None:
    (path,) = save_figures(report, tmp_path)
    assert path.name == "quality-tiny_spectrum.png" and path.stat().st_size > 10_000
    (axes,) = report.figures["quality-tiny_spectrum"].axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [label.partition(":")[0] for label in labels] == ["trained", "untrained"]
    assert axes.get_xscale() == axes.get_yscale() == "log"


@pytest.mark.parametrize(
    ("settings", "samples", "message"),
    [
        (QualityConfig(views=1), 70, "two samples and two views"),
        (QualityConfig(samples=1), 70, "two samples and two views"),
        (SETTINGS, 1, r"tiny\[test\] has 1 image"),
    ],
)
def test_too_little_to_look_at_is_refused(settings: QualityConfig, samples: int, message: str) -> None:
    source = Unlabelled(samples, "tiny[test]")
    with pytest.raises(UsageError, match=message):
        Quality(settings).run(encoder_of(), source, source)


def test_features_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Features(torch.full((70, 96), torch.nan), torch.arange(70))
    monkeypatch.setattr("sslzoo.evaluations.labelled.cached_features", lambda *arguments: broken)
    with pytest.raises(UserError, match=r"features of tiny\[test\] are not finite"):
        Quality(SETTINGS).run(encoder_of(), SOURCE, SOURCE)


def test_features_of_views_that_are_not_finite_are_refused() -> None:
    diverged = encoder_of()
    nn.init.constant_(next(diverged.parameters()), torch.nan)
    with pytest.raises(UserError, match=r"features of views of tiny\[test\] are not finite, so it has diverged"):
        Quality(SETTINGS)._views(diverged, SOURCE)
