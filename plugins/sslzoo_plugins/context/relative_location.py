"""Context prediction: where does the second patch lie, seen from the first?

Doersch, Gupta & Efros, "Unsupervised Visual Representation Learning by Context Prediction", ICCV 2015,
https://arxiv.org/abs/1505.05192, with the sampling and the preprocessing of the authors' code: patches of 96 pixels on
a grid with gaps of 48, each moved by up to 7; a third of them coarsened to as few as 10 x 10 pixels; in every patch two
of the three colours replaced by noise, so that chromatic aberration does not tell where in the lens a patch was; mean
and contrast of every patch made equal. Each patch is encoded once and compared with all its neighbours in the grid.

Deviations. The authors' grids are as large as the picture allows; here each has 3 x 3 patches, so 40 ordered pairs. All
lengths scale with the patch, which is 96 pixels at an image size of 224. An encoder of fixed input size takes patches
enlarged to that. The encoder's own pooled feature stands for the authors' fc6, and the layers after it do without batch
norm, so that several processes compute what one does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.siamese import encode_views
from sslzoo.views import draw_for
from sslzoo.views.chosen import where
from sslzoo.views.color import to_float
from sslzoo.views.keyed import Draw
from sslzoo.views.patches import Grid, assemble, cut, square_crop

NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""By label: rows and columns from the first patch to the second."""
PAIRS = tuple(
    (first, 3 * row + column, label)
    for first in range(9)
    for label, (down, right) in enumerate(NEIGHBOURS)
    if (row := first // 3 + down) in range(3) and (column := first % 3 + right) in range(3)
)
"""All 40 of a 3 x 3 grid: cell of the first patch, cell of the second, label."""
MIDDLE = 4
GREY_LEVEL = 1 / 255


@dataclass(frozen=True)
class RelativeLocationConfig:
    patch_size: int = 0
    """Height and width of a patch in pixels; 0 takes the paper's, 96 for an image size of 224."""
    min_side: float = 0.57
    """Smallest side of the square that the grid is laid over, as a share of the picture's shorter side."""
    coarse: float = 0.33
    """Share of patches that lose their fine detail."""
    hidden_dim: int = 4096
    """Width of the two layers between the encoder and the answer."""


class PatchGrid(Views):
    """The nine patches of a 3 x 3 grid, by rows."""

    def __init__(self, config: RelativeLocationConfig, spec: InputSpec) -> None:
        self.config = config
        size = config.patch_size or round(spec.size[1] * 96 / 224)
        self.grid = Grid(columns=3, size=size, pitch=size + size // 2, play=2 * round(size * 7 / 96))

    def crop(self, samples: list[Sample]) -> Batch:
        images = [sample["image"] for sample in samples]
        share = (self.config.min_side, 1.0)
        return {"image": square_crop(images, self.grid.extent, draw_for(samples).at("crop"), share)}

    def augment(self, batch: Batch) -> Batch:
        draw = Draw(batch["key"])
        cells = torch.arange(9, device=draw.key.device).expand(len(draw.key), 9)
        place = draw.integers("place", self.grid.play + 1, (9, 1, 2))
        corners = self.grid.corners(cells)[:, :, None] + place
        patches = to_float(cut(batch.pop("image"), corners, self.grid.size))
        coarsen_(patches, draw, self.config.coarse)
        batch["views"] = list(equalize(drop_colors(patches, draw)).unbind(1))
        return batch


def coarsen_(patches: Tensor, draw: Draw, p: float) -> None:
    """With probability ``p`` shrink a patch, to between 10 / 96 of its size and almost all of it, and enlarge it again.

    ``patches`` are (B, N, C, S, S); the number of pixels that is left is uniform.
    """
    number, size = patches.shape[1], patches.shape[-1]
    chosen = draw.bernoulli("coarse", p, (number,))
    smallest, largest = max(1, round(size * 10 / 96)), size - 1
    pixels = draw.uniform("pixels", smallest**2, largest**2, (number,))
    side = torch.where(chosen, pixels.sqrt().long(), size).flatten()
    flat = patches.view(-1, *patches.shape[2:])
    for length in side.unique().tolist():
        if length < size:
            index = where(side == length)
            small = F.interpolate(flat[index], size=(length, length), mode="bilinear", antialias=True)
            flat[index] = F.interpolate(small, size=(size, size), mode="bilinear")


def drop_colors(patches: Tensor, draw: Draw) -> Tensor:
    """Keep one channel of each patch (B, N, C, S, S), less its mean; the others become noise of one grey level.

    The noise is drawn once for all patches of a picture, for it is much of what is drawn at all.
    """
    number, channels = patches.shape[1:3]
    noise = draw.uniform("noise", -GREY_LEVEL / 2, GREY_LEVEL / 2, (1, *patches.shape[2:]))
    kept = draw.integers("kept", channels, (number, 1)) == torch.arange(channels, device=patches.device)
    mean = patches.mean(dim=-1, keepdim=True).mean(dim=-2, keepdim=True)
    return torch.where(kept[..., None, None], patches - mean, noise)


def equalize(patches: Tensor) -> Tensor:
    """Divide each patch by its root mean square, so that it varies as much as a normalised image does.

    That counts as at least one grey level: where there was nothing but noise, it stays fainter than any content.
    """
    power = patches.square().mean(dim=-1, keepdim=True).mean(dim=(-2, -3), keepdim=True)
    return patches / power.sqrt().clamp(min=GREY_LEVEL)


class RelativeLocation(PretextMethod):
    info = MethodInfo(
        name="relative_location",
        category="context",
        family="relative-position",
        modalities=("image",),
        paper=Paper(
            authors="Doersch, Gupta & Efros",
            title="Unsupervised Visual Representation Learning by Context Prediction",
            venue="ICCV",
            year=2015,
            url="https://arxiv.org/abs/1505.05192",
        ),
        summary="Tell which of the eight neighbours of a patch another patch is.",
    )
    Config = RelativeLocationConfig
    # The authors train a CaffeNet for weeks at a constant rate, without momentum or decay. This is what carries the
    # task over to ResNet-50: Kolesnikov, Zhai & Beyer, CVPR 2019, with rates divided by ten after epochs 15 and 25.
    defaults = PretrainConfig(
        encoder="resnet50",
        epochs=35,
        batch_size=256,
        optimizer="momentum",
        lr=0.1,
        base_batch_size=256,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="step",
        milestones=(15 / 35, 25 / 35),
        warmup_epochs=5,
    )
    recipes = {"small": {**SMALL, "lr": 0.001, "hidden_dim": 256}}

    @staticmethod
    def views(config: RelativeLocationConfig, spec: InputSpec) -> Views:
        return PatchGrid(config, spec)

    def __init__(self, encoder: nn.Module, config: RelativeLocationConfig) -> None:
        super().__init__(encoder, config)
        self.head = nn.Sequential(
            nn.Linear(2 * self.feature_dim, config.hidden_dim),
            nn.ReLU(),
            nn.Linear(config.hidden_dim, config.hidden_dim),
            nn.ReLU(),
            nn.Linear(config.hidden_dim, len(NEIGHBOURS)),
        )

    def logits(self, batch: Batch) -> Tensor:
        """(B, 40, 8): where each pair's second patch lies."""
        features = encode_views(self.encoder, batch["views"])
        first, second, _ = zip(*PAIRS, strict=True)
        return self.head(torch.cat([features[:, first], features[:, second]], dim=2))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``accuracy`` is 0.15 for who always gives the most frequent answer."""
        logits = self.logits(batch)
        target = torch.tensor([label for _, _, label in PAIRS], device=logits.device).expand(len(logits), -1)
        accuracy = (logits.argmax(2) == target).float().mean()
        return {"loss": F.cross_entropy(logits.flatten(0, 1), target.flatten()), "accuracy": accuracy}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """The patch in the middle and one of the eight around it: where that lies, and where it is predicted."""
        # All but one channel is noise of a grey level: the sum is the grey picture that the encoder sees.
        patches = (0.5 + torch.stack(batch["views"], dim=1).sum(dim=2, keepdim=True) / 8).clamp(0, 1)
        picture = torch.arange(len(patches), device=patches.device)
        truth = picture % len(NEIGHBOURS)
        around = [(pair, cell) for pair, (first, cell, _) in enumerate(PAIRS) if first == MIDDLE]
        predicted = self.logits(batch)[:, [pair for pair, _ in around]].argmax(2)[picture, truth]
        cells = torch.tensor([cell for _, cell in around], device=patches.device)
        pictures = {}
        for title, neighbour in {"as they lie": truth, "as predicted": predicted}.items():
            grid = torch.ones_like(patches)
            grid[:, MIDDLE] = patches[:, MIDDLE]
            grid[picture, cells[neighbour]] = patches[picture, cells[truth]]
            pictures[title] = assemble(grid, columns=3).expand(-1, 3, -1, -1)
        return pictures
