"""Any number of crops of a picture, each of its own size, scale and colours: two large and some small ones, or one.

Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from sslzoo.encoders import InputSpec
from sslzoo.views import Batch, Sample, Views, draw_for
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import Size, random_resized_crop
from sslzoo.views.keyed import Draw
from sslzoo.views.two_views import Augmentation, Table, distorted

PLAIN = Augmentation("bilinear", brightness=0, contrast=0, saturation=0, hue=0, jitter_p=0, gray_p=0, blur_p=0)
"""Colours as they are."""


@dataclass(frozen=True)
class Crop:
    """How one view is made."""

    size: Size
    """Height and width in pixels."""
    scale: tuple[float, float]
    """Least and largest share of the picture's area."""
    how: Augmentation = PLAIN


class MultiCrop(Views):
    """All crops are cut from one decoded picture: ``views`` is a list with one (B, C, ., .) for each, normalised."""

    def __init__(self, spec: InputSpec, crops: tuple[Crop, ...], color_strength: float = 1.0) -> None:
        """``color_strength`` multiplies the strengths of the colour jitter."""
        self.spec, self.crops, self.color_strength = spec, crops, color_strength

    def crop(self, samples: list[Sample]) -> Batch:
        images, draw = [sample["image"] for sample in samples], draw_for(samples)
        pixels = []
        for view, crop in enumerate(self.crops):
            how = crop.how.interpolation
            pixels.append(random_resized_crop(images, crop.size, draw.at("view", view), crop.scale, interpolation=how))
        return {"crops": pixels}

    def augment(self, batch: Batch) -> Batch:
        draw, spec = Draw(batch["key"]), self.spec
        views = []
        for view, (pixels, crop) in enumerate(zip(batch.pop("crops"), self.crops, strict=True)):
            image = distorted(to_float(pixels), draw.at("view", view), crop.how, self.color_strength)
            views.append(normalize(image, spec.mean, spec.std, inplace=True))
        batch["views"] = views
        return batch


def global_and_local(
    spec: InputSpec,
    table: Table,
    local: Augmentation,
    local_crops: int,
    local_size: int,
    min_scale: float,
    global_scale: float,
) -> tuple[Crop, ...]:
    """Two crops of the encoder's size by ``table``, then ``local_crops`` small ones.

    Global crops have at least ``global_scale`` of the area, local ones ``min_scale`` to ``global_scale``. Local crops
    are ``local_size`` pixels high and wide. 0 takes the paper's 96 for an image size of 224, and in proportion for
    another, rounded to a multiple of 16, which is what the patches of vision transformers divide.
    """
    height, width = spec.size[1:]
    side = local_size or max(16, 16 * round(height * 96 / 224 / 16))
    large = [Crop((height, width), (global_scale, 1.0), how) for how in table]
    return (*large, *[Crop((side, side), (min_scale, global_scale), local)] * local_crops)


def shown_crops(views: list[Tensor], spec: InputSpec, local_crops: int = 3) -> dict[str, Tensor]:
    """Pictures of two global views and the first local ones, at the encoder's size: a column is one image."""
    titles = ["global crop", "the other global crop", *["local crop"] * local_crops]
    shown = {}
    for number, (title, view) in enumerate(zip(titles, views, strict=False)):
        enlarged = F.interpolate(view, size=spec.size[1:], mode="nearest")
        shown[f"{title} {number - 1}" if number > 1 else title] = denormalize(enlarged, spec.mean, spec.std)
    return shown
