"""Denoising autoencoder: restore a picture of which a part of the pixels was set to black.

Vincent, Larochelle, Bengio & Manzagol, "Extracting and Composing Robust Features with Denoising Autoencoders", ICML
2008, https://doi.org/10.1145/1390156.1390294. A fixed number of inputs, chosen anew at each presentation, is set to 0;
the code of what is left is decoded, and compared with the whole by the cross-entropy of the pixels, read as
probabilities (equation 2; section 2.3).

Deviations. The paper stacks layers of sigmoids that are trained one after another with tied weights; here the whole
encoder learns at once and a convolutional decoder reads its feature and its last map, of small pictures also earlier
ones down to 6 x 6 places: all that is restored passes through the code. Pixels are set to 0 in all channels, for one
channel tells much of the others. The loss is a mean over pixels rather than their sum, so that rates do not depend on
the image size. The survey's taxonomy has no leaf for denoising; inpainting, which also restores what is missing, is the
nearest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.decoders import Decoder, bottleneck_maps, encode_maps
from sslzoo.nn.precision import in_float32
from sslzoo.views import draw_for
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import random_resized_crop
from sslzoo.views.keyed import Draw
from sslzoo.views.masks import pixel_mask


@dataclass(frozen=True)
class DenoisingAutoencoderConfig:
    destroyed: float = 0.25
    """Share of the pixels that are set to black: the paper tries 0, 0.1, 0.25 and 0.4."""
    decoder_dim: int = 512
    """Channels of the decoder where it begins; each stage has half as many, but at least 16."""
    min_scale: float = 0.2
    """Smallest crop, as a share of the picture's area."""


class DestroyedPixels(Views):
    """A crop with black pixels, normalised, and as ``target`` the crop as it was, in [0, 1]."""

    def __init__(self, config: DenoisingAutoencoderConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec

    def crop(self, samples: list[Sample]) -> Batch:
        images, scale = [sample["image"] for sample in samples], (self.config.min_scale, 1.0)
        return {"image": random_resized_crop(images, self.spec.size[1:], draw_for(samples).at("crop"), scale)}

    def augment(self, batch: Batch) -> Batch:
        image = to_float(batch.pop("image"))
        destroyed = pixel_mask(Draw(batch["key"]), self.spec.size[1:], self.config.destroyed)
        shown = image.masked_fill(destroyed, 0.0)
        batch["views"] = [normalize(shown, self.spec.mean, self.spec.std, inplace=True)]
        batch["target"] = image
        return batch


@in_float32
def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Equation 2 for ``target`` in [0, 1], averaged over all of (B, C, H, W)."""
    return F.binary_cross_entropy_with_logits(logits, target)


class DenoisingAutoencoder(PretextMethod):
    info = MethodInfo(
        name="denoising_autoencoder",
        category="generation",
        family="inpainting",
        modalities=("image",),
        paper=Paper(
            authors="Vincent, Larochelle, Bengio & Manzagol",
            title="Extracting and Composing Robust Features with Denoising Autoencoders",
            venue="ICML",
            year=2008,
            url="https://doi.org/10.1145/1390156.1390294",
        ),
        summary="Restore a picture of which a part of the pixels was set to black.",
    )
    Config = DenoisingAutoencoderConfig
    # The paper's recipe is for layers of at most a few thousand sigmoids, its rates found anew for each data set. Of it
    # the 50 epochs are kept; the rest is what usually trains a convolutional network with batch norm.
    defaults = PretrainConfig(
        encoder="resnet18",
        epochs=50,
        batch_size=256,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.05,
        warmup_epochs=1.0,
    )
    recipes = {"small": {**SMALL, "decoder_dim": 128, "min_scale": 0.5}}

    @staticmethod
    def views(config: DenoisingAutoencoderConfig, spec: InputSpec) -> Views:
        return DestroyedPixels(config, spec)

    def __init__(self, encoder: nn.Module, config: DenoisingAutoencoderConfig) -> None:
        super().__init__(encoder, config)
        channels, *size = spec_of(encoder).input.size
        self.maps = bottleneck_maps(encoder)
        self.decoder = Decoder(self.feature_dim, self.maps, (size[0], size[1]), channels, config.decoder_dim)

    def logits(self, batch: Batch) -> Tensor:
        """(B, C, H, W), whose sigmoid is the restored picture."""
        return self.decoder(*encode_maps(self.encoder, batch["views"][0], self.maps))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits, target = self.logits(batch), batch["target"]
        error = (logits.detach().float().sigmoid() - target).square().mean()
        return {"loss": cross_entropy(logits, target), "squared_error": error}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures as the encoder gets them, as the decoder restores them, and as they were."""
        spec = spec_of(self.encoder).input
        return {
            "destroyed": denormalize(batch["views"][0], spec.mean, spec.std),
            "restored": self.logits(batch).float().sigmoid(),
            "original": batch["target"],
        }
