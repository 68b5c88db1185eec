"""MAE: from a quarter of its patches, predict the rest of a picture.

He, Chen, Xie, Li, Dollár & Girshick, "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022,
https://arxiv.org/abs/2111.06377. The encoder sees visible patches only; a small decoder gets their tokens, and for each
masked patch one and the same learnt token, with positions; the loss is the squared error on the masked patches, each
normalised by its own mean and standard deviation.

The encoder is timm's own plain ViT, called on some of its tokens (``nn/masked_vit.py``). Class and register tokens, if
it has any, stay visible and go through the decoder, as in the authors' code. What is published pools as that ViT does:
its class token by default, or the mean of its patches with ``global_pool=avg``, where timm norms after pooling and the
norm is trained on tokens. The paper finds both good. Prefer the mean after short runs: nothing asks the class token to
sum up the picture.

Deviations. The pixels to predict are in [0, 1]; the authors' code has them normalised by channel, as the encoder sees
them, and then a flat white patch is not flat: its channels differ, which fills its normalised target, and tints what is
predicted of drawings. The encoder's positions are timm's learnt ones, and only the decoder's are fixed sines and
cosines. AdamW's second beta is the usual 0.999, not 0.95. The decoder takes tokens in their random order, each with its
position, which attention does not mind: nothing is put back in order before it. The survey's taxonomy is older than
MAE; of its leaves inpainting is the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.masked_vit import MaskedDecoder, encode_visible, image_of, in_place, patches_of, plain_vit, taken
from sslzoo.nn.precision import in_float32
from sslzoo.views import draw_for
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import random_resized_crop
from sslzoo.views.keyed import Draw
from sslzoo.views.masks import LEAST_PATCH, patch_chances, patch_order


@dataclass(frozen=True)
class MAEConfig:
    masked: float = 0.75
    """Share of the patches that the encoder does not see."""
    decoder_dim: int = 512
    """Width of the decoder; a multiple of four and of its heads."""
    decoder_depth: int = 8
    """Blocks of the decoder."""
    decoder_heads: int = 16
    """Attention heads in each of them."""
    normalized: bool = True
    """Predict each patch less its mean and by its standard deviation, rather than plain pixels."""
    min_scale: float = 0.2
    """Smallest crop, as a share of the picture's area."""


class MaskedPatches(Views):
    """One random crop, perhaps mirrored, and a random number for each patch it may have."""

    def __init__(self, config: MAEConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec

    def crop(self, samples: list[Sample]) -> Batch:
        images, size = [sample["image"] for sample in samples], self.spec.size[1:]
        scale = (self.config.min_scale, 1.0)
        return {
            "image": random_resized_crop(images, size, draw_for(samples).at("crop"), scale, interpolation="bicubic")
        }

    def augment(self, batch: Batch) -> Batch:
        batch["views"] = [normalize(to_float(batch.pop("image")), self.spec.mean, self.spec.std, inplace=True)]
        batch["chances"] = patch_chances(Draw(batch["key"]), self.spec.size[1:])
        return batch


@in_float32
def standardized(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, P) less each patch's mean, by its standard deviation, and those (B, N, 1): section 3 of the paper.

    Like the authors' code: the variance is divided by P - 1, and a millionth is added to it.
    """
    mean, std = patches.mean(dim=2, keepdim=True), (patches.var(dim=2, keepdim=True) + 1e-6).sqrt()
    return (patches - mean) / std, mean, std


@in_float32
def squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over all values of the masked patches."""
    return (predicted - target).square().mean()


class MAE(PretextMethod):
    info = MethodInfo(
        name="mae",
        category="generation",
        family="inpainting",
        modalities=("image",),
        paper=Paper(
            authors="He, Chen, Xie, Li, Dollár & Girshick",
            title="Masked Autoencoders Are Scalable Vision Learners",
            venue="CVPR",
            year=2022,
            url="https://arxiv.org/abs/2111.06377",
        ),
        summary="From a quarter of its patches, predict the rest of a picture.",
    )
    Config = MAEConfig
    defaults = PretrainConfig(
        encoder="vit_base_patch16_224",
        epochs=800,
        batch_size=4096,
        optimizer="adamw",
        lr=1.5e-4,
        base_batch_size=256,
        weight_decay=0.05,
        warmup_epochs=40,
    )
    # Patches of 8 pixels, so that there are 64 of them at 64 pixels. The encoder is a ViT, so SMALL's is not taken.
    recipes = {
        "small": {
            **SMALL,
            "encoder": "vit_tiny_patch16_224",
            "encoder_args": ("patch_size=8", "global_pool=avg"),
            "decoder_dim": 96,
            "decoder_depth": 2,
            "decoder_heads": 4,
        }
    }

    @staticmethod
    def views(config: MAEConfig, spec: InputSpec) -> Views:
        return MaskedPatches(config, spec)

    def __init__(self, encoder: nn.Module, config: MAEConfig) -> None:
        super().__init__(encoder, config)
        vit = plain_vit(encoder)
        channels, height, width = spec_of(encoder).input.size
        self.patch = (vit.patch_embed.patch_size[0], vit.patch_embed.patch_size[1])
        if min(self.patch) < LEAST_PATCH:
            raise UsageError(f"mae hides patches of at least {LEAST_PATCH} x {LEAST_PATCH} pixels, not of {self.patch}")
        self.grid = (height // self.patch[0], width // self.patch[1])
        patches = self.grid[0] * self.grid[1]
        self.shown = int(patches * (1 - config.masked))
        if not 0 < self.shown < patches:
            raise UsageError(f"of {patches} patches, masked={config.masked} leaves {self.shown} visible")
        pixels, dim = self.patch[0] * self.patch[1] * channels, config.decoder_dim
        self.decoder = MaskedDecoder(
            self.feature_dim, pixels, self.grid, dim, config.decoder_depth, config.decoder_heads
        )

    def predict(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The content of masked patches (B, M, P), and the order (B, N) of all, of which they are the last."""
        order = patch_order(batch["chances"], self.grid[0] * self.grid[1])
        tokens = encode_visible(plain_vit(self.encoder), batch["views"][0], order[:, : self.shown])
        return self.decoder(tokens[:, : -self.shown], tokens[:, -self.shown :], order), order

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        predicted, order = self.predict(batch)
        target = taken(self.pixels(batch["views"][0]), order[:, self.shown :])
        if self.config.normalized:
            target, _, _ = standardized(target)
        return {"loss": squared_error(predicted, target)}

    def pixels(self, image: Tensor) -> Tensor:
        """(B, N, P): the patches of images (B, C, H, W) as pixels in [0, 1], which are predicted."""
        spec = spec_of(self.encoder).input
        return patches_of(denormalize(image, spec.mean, spec.std), self.patch)

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Visible patches on grey, the same with the masked ones predicted, and the whole.

        What is predicted of a patch lacks mean and contrast, so the patch's true ones are added for the eye.
        """
        image, made = batch["views"][0], "predicted"
        predicted, order = self.predict(batch)
        shown, hidden = taken(self.pixels(image), order).split([self.shown, predicted.shape[1]], dim=1)
        if self.config.normalized:
            _, mean, std = standardized(hidden)
            predicted, made = predicted * std + mean, "predicted, with each patch's true mean and contrast"
        pictures = {}
        for title, rest in (("visible", torch.full_like(hidden, 0.5)), (made, predicted), ("original", hidden)):
            patches = in_place(torch.cat([shown, rest], dim=1), order)
            pictures[title] = image_of(patches, self.patch, self.grid).clamp(0, 1)
        return pictures
