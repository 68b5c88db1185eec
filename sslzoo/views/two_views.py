"""Two views of a picture: crop, flip, colour jitter, grey, blur and solarize, with the numbers of a paper's table.

The operations and their order are SimCLR's (Chen et al., ICML 2020, appendix A), with the solarization that BYOL added
(Grill et al., NeurIPS 2020, appendix B).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from sslzoo.encoders import InputSpec
from sslzoo.views import Batch, Sample, Views, draw_for
from sslzoo.views.blur import gaussian_blur
from sslzoo.views.color import color_jitter, denormalize, grayscale, normalize, solarize, to_float
from sslzoo.views.crop import Interpolation, random_resized_crop
from sslzoo.views.keyed import Draw


@dataclass(frozen=True)
class Augmentation:
    """How one view's colours are changed, as SimCLR does it if nothing else is said."""

    interpolation: Interpolation = "bicubic"
    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    jitter_p: float = 0.8
    gray_p: float = 0.2
    blur_p: float = 0.5
    """The kernel is a tenth of the height, which is the papers' 23 at 224 pixels; sigma is 0.1 to 2 pixels."""
    solarize_p: float = 0.0


Table = tuple[Augmentation, Augmentation]
"""How the first and the second view are made."""

SIMCLR_TABLE: Table = (Augmentation(), Augmentation())
"""Appendix A of SimCLR's paper."""

_moco_v2 = Augmentation(interpolation="bilinear", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
MOCO_V2_TABLE: Table = (_moco_v2, _moco_v2)
"""MoCo v2's, and SimSiam's (Chen & He, CVPR 2021, appendix A)."""

_byol = Augmentation(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
BYOL_TABLE: Table = (replace(_byol, blur_p=1.0), replace(_byol, blur_p=0.1, solarize_p=0.2))
"""Table 6 of BYOL's paper: the views differ in blur and solarization. Barlow Twins and VICReg have the same."""


class TwoViews(Views):
    """Both views are cut from one decoded picture: ``views`` is a list of two (B, C, H, W), normalised."""

    def __init__(self, spec: InputSpec, table: Table, min_scale: float, color_strength: float) -> None:
        """Crops have at least ``min_scale`` of the area; ``color_strength`` multiplies the jitter's strengths."""
        self.spec, self.table = spec, table
        self.min_scale, self.color_strength = min_scale, color_strength

    def crop(self, samples: list[Sample]) -> Batch:
        images, draw, size = [sample["image"] for sample in samples], draw_for(samples), self.spec.size[1:]
        scale = (self.min_scale, 1.0)
        crops = [
            random_resized_crop(images, size, draw.at("view", view), scale, flip=0.5, interpolation=how.interpolation)
            for view, how in enumerate(self.table)
        ]
        return {"crops": crops}

    def augment(self, batch: Batch) -> Batch:
        draw, spec = Draw(batch["key"]), self.spec
        views = []
        for view, (crop, how) in enumerate(zip(batch.pop("crops"), self.table, strict=True)):
            image = distorted(to_float(crop), draw.at("view", view), how, self.color_strength)
            views.append(normalize(image, spec.mean, spec.std, inplace=True))
        batch["views"] = views
        return batch


def distorted(images: Tensor, draw: Draw, how: Augmentation, color_strength: float) -> Tensor:
    """All but the crop, in place: (B, C, H, W) float32 in [0, 1]."""
    images = color_jitter(
        images,
        draw,
        brightness=color_strength * how.brightness,
        contrast=color_strength * how.contrast,
        saturation=color_strength * how.saturation,
        hue=color_strength * how.hue,
        p=how.jitter_p,
        inplace=True,
    )
    images = grayscale(images, draw, p=how.gray_p, inplace=True)
    images = gaussian_blur(images, draw, p=how.blur_p, sigma=(0.1, 2.0), inplace=True)
    return solarize(images, draw, p=how.solarize_p, inplace=True)


def shown(views: list[Tensor], spec: InputSpec) -> dict[str, Tensor]:
    """Pictures of two views, one row each, so that a column is one image."""
    titles = ("one view", "the other view of the same picture")
    return {title: denormalize(view, spec.mean, spec.std) for title, view in zip(titles, views, strict=True)}
