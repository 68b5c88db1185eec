"""RGB to CIELAB and back, and the authors' 313 bins of its colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from view_samples import colors

from sslzoo.nn.color_bins import GRID, NEIGHBOURS, SIGMA, ColorBins, annealed_mean, gamut_bins, soft_cross_entropy
from sslzoo.views.lab import lab_to_rgb, only_colors, only_lightness, paled, rgb_to_lab

PUBLISHED = {  # of sRGB under D65, as calculators of colour print them
    (0, 0, 0): (0, 0, 0),
    (1, 1, 1): (100, 0, 0),
    (1, 0, 0): (53.2408, 80.0925, 67.2032),
    (0, 1, 0): (87.7347, -86.1827, 83.1793),
    (0, 0, 1): (32.2970, 79.1875, -107.8602),
    (1, 1, 0): (97.1393, -21.5537, 94.4780),
    (0, 1, 1): (91.1132, -48.0875, -14.1312),
    (1, 0, 1): (60.3242, 98.2343, -60.8249),
}
# The authors' pts_in_hull.npy: of each a the lowest and the highest b, in steps of 10.
AUTHORS = {
    **{-90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100), -40: (-40, 100), -30: (-50, 100)},
    **{-20: (-50, 100), -10: (-60, 100), 0: (-70, 100), 10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90)},
    **{50: (-100, 80), 60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0)},
}


def pixels(rgb: list[tuple[float, ...]]) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float32)[:, :, None, None]


def by_formula(rgb: NDArray) -> NDArray:
    """CIE 15 and IEC 61966-2-1, one pixel, in words of their own."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    primaries = np.array([[0.64, 0.33, 0.03], [0.30, 0.60, 0.10], [0.15, 0.06, 0.79]]).T
    white = np.array([0.95047, 1.0, 1.08883])
    xyz = primaries * np.linalg.solve(primaries, white) @ linear / white
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in xyz)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_lab_is_as_published() -> None:
    lab = rgb_to_lab(pixels([*PUBLISHED]))[:, :, 0, 0]
    torch.testing.assert_close(lab, torch.tensor([*PUBLISHED.values()], dtype=torch.float32), rtol=0, atol=1e-3)


def test_lab_is_that_of_the_standards_formula() -> None:
    images = colors(6)
    expected = np.stack([[by_formula(p) for p in image.flatten(1).T.double().numpy()] for image in images])
    lab = rgb_to_lab(images).flatten(2).movedim(1, 2)
    np.testing.assert_allclose(lab.numpy(), expected, rtol=0, atol=5e-3)


def test_lab_is_scikit_images() -> None:
    color = pytest.importorskip("skimage.color", reason="scikit-image is not installed")
    images = colors(6)
    theirs = color.rgb2lab(images.double().numpy(), channel_axis=1)
    np.testing.assert_allclose(rgb_to_lab(images).numpy(), theirs, rtol=0, atol=0.01)


def test_there_and_back_again() -> None:
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(colors(6))), colors(6), rtol=0, atol=1e-4)


def test_greys_have_no_colour() -> None:
    greys = torch.linspace(0, 1, 256)[:, None, None, None].expand(-1, 3, 1, 1)
    assert rgb_to_lab(greys)[:, 1:].abs().max() < 1e-3


def test_colours_beyond_rgb_are_cut_off() -> None:
    assert torch.equal(lab_to_rgb(torch.tensor([50.0, 0, 200])[None, :, None, None]).amin(), torch.tensor(0.0))
    assert torch.equal(lab_to_rgb(torch.tensor([99.0, 90, 0])[None, :, None, None]).amax(), torch.tensor(1.0))


def test_colours_beyond_rgb_grow_paler_at_the_same_lightness_and_hue() -> None:
    draw = torch.Generator().manual_seed(0)
    lightness = torch.linspace(0, 100, 21)[None, None, :, None].expand(8, 1, 21, 30)
    wanted = torch.cat([lightness, 240 * torch.rand(8, 2, 21, 30, generator=draw) - 120], dim=1)
    pale = paled(wanted)
    shown = rgb_to_lab(lab_to_rgb(pale))
    torch.testing.assert_close(shown[:, 0], wanted[:, 0], rtol=0, atol=0.5)
    torch.testing.assert_close(shown[:, 1:], pale[:, 1:], rtol=0, atol=1.5)
    cosine = torch.nn.functional.cosine_similarity(pale[:, 1:], wanted[:, 1:], dim=1)
    norm = pale[:, 1:].norm(dim=1)
    assert (norm <= wanted[:, 1:].norm(dim=1)).all() and cosine[norm > 1].min() > 0.999
    assert norm[:, [0, -1]].max() < 3 < 20 < norm[:, 10].mean()  # black and white have no colour


def test_colours_of_rgb_are_not_made_paler() -> None:
    lab = rgb_to_lab(colors(6))
    assert torch.equal(paled(lab), lab)


def test_a_grey_picture_keeps_lightness_and_nothing_else() -> None:
    lab = rgb_to_lab(colors(6))
    grey = only_lightness(lab)
    torch.testing.assert_close(rgb_to_lab(grey)[:, 0], lab[:, 0], rtol=0, atol=1e-3)
    assert (grey.amax(dim=1) - grey.amin(dim=1)).max() < 1e-5


def test_a_picture_of_colours_keeps_nothing_of_lightness() -> None:
    lab = rgb_to_lab(0.3 + 0.3 * colors(6))  # so pale that all exist at a lightness of 50
    again = rgb_to_lab(only_colors(lab))
    torch.testing.assert_close(again[:, 1:], lab[:, 1:], rtol=0, atol=5e-3)
    torch.testing.assert_close(again[:, 0], torch.full_like(again[:, 0], 50.0), rtol=0, atol=5e-3)
    lighter = torch.cat([lab[:, :1] + 20, lab[:, 1:]], dim=1)
    assert torch.equal(only_colors(lab), only_colors(lighter))


def test_the_bins_are_the_authors_313() -> None:
    theirs = [(a, b) for a, (low, high) in AUTHORS.items() for b in range(low, high + GRID, GRID)]
    assert len(theirs) == 313
    assert [tuple(point) for point in gamut_bins().int().tolist()] == theirs


def test_every_colour_of_rgb_has_all_four_corners_of_its_square_among_the_bins() -> None:
    bins = {tuple(point) for point in gamut_bins().int().tolist()}
    corner = (rgb_to_lab(torch.rand(1, 3, 100, 100))[0, 1:].flatten(1).T // GRID * GRID).int()
    for a, b in set(map(tuple, corner.tolist())):
        assert {(a, b), (a + GRID, b), (a, b + GRID), (a + GRID, b + GRID)} <= bins


def test_the_encoding_is_that_of_a_plain_search() -> None:
    saturated = torch.randint(0, 2, (2, 3, 6, 6), generator=torch.Generator().manual_seed(0)).float()
    ab = rgb_to_lab(torch.cat([colors(6, size=6), saturated * 0.9 + 0.05, saturated]))[:, 1:]
    bins = ColorBins()
    index, weights = bins.encode(ab)
    assert index.shape == weights.shape == (10, NEIGHBOURS, 6, 6)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(10, 6, 6))
    assert (weights.diff(dim=1) <= 1e-6).all()
    dense = torch.zeros(10, 313, 6, 6).scatter_(1, index, weights).movedim(1, -1).reshape(-1, 313)
    for color, found in zip(ab.movedim(1, -1).reshape(-1, 2).double().numpy(), dense.numpy(), strict=True):
        distance = ((gamut_bins().double().numpy() - color) ** 2).sum(axis=1)
        near = np.sort(distance)[:NEIGHBOURS]
        expected = np.exp(-near / (2 * SIGMA**2))
        np.testing.assert_allclose(np.sort(found)[: -NEIGHBOURS - 1 : -1], expected / expected.sum(), atol=1e-4)
        np.testing.assert_allclose(np.sort(distance[found > 0]), near[: (found > 0).sum()], atol=1e-2)


def test_the_cross_entropy_is_that_of_the_dense_distribution() -> None:
    bins, generator = ColorBins(), torch.Generator().manual_seed(0)
    index, weights = bins.encode(rgb_to_lab(colors(6, size=4))[:, 1:])
    logits = torch.randn(6, 313, 4, 4, generator=generator)
    dense = torch.zeros(6, 313, 4, 4).scatter_(1, index, weights)
    expected = torch.nn.functional.cross_entropy(logits, dense, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(logits, index, weights), expected)


def test_the_annealed_mean_lies_between_mean_and_mode() -> None:
    bins = gamut_bins()
    logits = 3 * torch.randn(2, 313, 3, 3, generator=torch.Generator().manual_seed(0))
    z = torch.softmax(logits, dim=1).double().numpy()
    annealed = annealed_mean(logits, bins)
    sharpened = np.exp(np.log(z) / 0.38) / np.exp(np.log(z) / 0.38).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(annealed.numpy(), np.einsum("bqhw,qc->bchw", sharpened, bins.numpy()), atol=1e-3)
    mean, mode = annealed_mean(logits, bins, 1.0), bins[logits.argmax(dim=1)].movedim(-1, 1)
    np.testing.assert_allclose(mean.numpy(), np.einsum("bqhw,qc->bchw", z, bins.numpy()), atol=1e-3)
    torch.testing.assert_close(annealed_mean(logits, bins, 1e-3), mode, rtol=0, atol=1e-2)
    steps = [annealed_mean(logits, bins, t) for t in (1.0, 0.38, 0.1)]
    distances = [(step - mode).norm(dim=1).mean() for step in steps]
    assert distances[0] > distances[1] > distances[2]
