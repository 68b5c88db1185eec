"""Pictures, and beside each the numbers to generate another one from."""

from __future__ import annotations

from sslzoo.encoders import InputSpec
from sslzoo.views import Batch, Sample, Views, draw_for
from sslzoo.views.color import normalize, to_float
from sslzoo.views.crop import random_resized_crop
from sslzoo.views.keyed import Draw


class PicturesAndLatents(Views):
    """A random crop, perhaps mirrored and normalised; ``latent`` (B, latent_dim) is uniform in -1 to 1."""

    def __init__(self, spec: InputSpec, latent_dim: int, min_scale: float) -> None:
        """Crops have at least ``min_scale`` of the area."""
        self.spec, self.latent_dim, self.min_scale = spec, latent_dim, min_scale

    def crop(self, samples: list[Sample]) -> Batch:
        images, scale = [sample["image"] for sample in samples], (self.min_scale, 1.0)
        return {"image": random_resized_crop(images, self.spec.size[1:], draw_for(samples).at("crop"), scale, flip=0.5)}

    def augment(self, batch: Batch) -> Batch:
        image = to_float(batch.pop("image"))
        batch["views"] = [normalize(image, self.spec.mean, self.spec.std, inplace=True)]
        batch["latent"] = Draw(batch["key"]).uniform("latent", -1, 1, (self.latent_dim,))
        return batch
