"""Semantic segmentation: a fully convolutional head on an encoder's maps (Long, Shelhamer & Darrell, Fully
Convolutional Networks for Semantic Segmentation, CVPR 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Source
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.annotated import (
    IGNORED,
    Annotated,
    AnnotatedImages,
    by_name,
    class_colors,
    same_names,
    stacked,
)
from sslzoo.evaluations.pyramid import FeatureMaps
from sslzoo.evaluations.tuning import TuningConfig, check_settings, repeatable, tune, workers_for
from sslzoo.views.color import normalize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FINEST = 8
"""Stride of the finest maps that the head looks at, as in FCN-8s."""
SHOWN = 8


@dataclass(frozen=True)
class SegmentationConfig(TuningConfig):
    convolutions: int = 2
    """3 x 3 convolutions of the head before its classifier; 0 makes it a linear probe of every place."""
    channels: int = 64
    """Of these convolutions."""


@final
class Segmentation(Evaluation):
    """The class of every pixel, by a small head on the frozen or fine-tuned encoder.

    The head is MMSegmentation's ``FCNHead`` (two 3 x 3 convolutions with batch norm and ReLU, then a 1 x 1 classifier)
    on ``resize_concat`` inputs: the encoder's last map at each of the strides 8, 16 and 32, or its token map, resized
    to the finest. A batch norm stands before it, as in DINOv2's, so that one learning rate suits encoders of any scale.

    Images are fitted into the input size whole. Logits are resized bilinearly to the size of the image, where the loss
    (cross-entropy) is taken at the input's size and scores at the mask's own. ``mean_iou`` is over the classes that
    occur in the test masks; places where a mask is 255 count nowhere.
    """

    info = EvaluationInfo(
        name="segmentation",
        version=1,
        metric="mean_iou",
        modalities=("image",),
        summary="The class of every pixel, by a fully convolutional head on the feature maps.",
        variants=("finetune",),
    )
    Config = SegmentationConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Train the head on ``train``, score once on ``test``.

        Raises:
            UsageError: if a setting, the splits' masks or the size of the images do not suit.
            UserError: if features or the loss are not finite, or too many samples cannot be read.
        """
        config: SegmentationConfig = self.config
        check_settings(config)
        if config.convolutions < 0 or config.channels < 1:
            raise UsageError("convolutions must not be below 0, nor channels below 1")
        names = same_names(train, test, "mask")
        if len(names) < 2:
            raise UsageError(f"the masks of {train.name} have one class only, so there is nothing to tell apart")
        device = next(encoder.parameters()).device
        maps = FeatureMaps(encoder, config.image_size, FINEST, config.finetune)
        fitted, scored = (AnnotatedImages(source, maps.spec, "mask", workers_for(device)) for source in (train, test))
        with repeatable(device):
            model = FullyConvolutional(maps, len(names), config.convolutions, config.channels).to(device)
            losses = tune(model.train(), fitted, config, model.loss, "maps.encoder")
        confusion, shown = _scored(model.eval(), scored, len(names), config.batch_size)
        return _result(confusion, names, losses, maps, fitted, scored, shown)

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        """Test images, their masks, and what was found."""
        from sslzoo.figures import illustration_sheet

        first = next(iter(results.values())).visuals
        rows = {"test images": first["images"], "annotation": first["drawn"]}
        rows |= {f"found on {name} features": found.visuals["found"] for name, found in results.items()}
        scores = ", ".join(f"{name} {found.metrics['mean_iou']:.1%}" for name, found in results.items())
        sheet = illustration_sheet(rows, "Segmentation: the class of every pixel", f"mean IoU: {scores}")
        return {"segmentation": sheet}


class FullyConvolutional(nn.Module):
    """Images in [0, 1] (B, C, H, W) to ``outputs`` (B, K, h, w) at the stride of the finest map."""

    def __init__(self, maps: FeatureMaps, outputs: int, convolutions: int, channels: int) -> None:
        """``convolutions`` of ``channels`` channels come before the last one."""
        super().__init__()
        self.maps = maps
        seen = sum(maps.channels)
        layers: list[nn.Module] = [nn.BatchNorm2d(seen)]
        for _ in range(convolutions):
            layers += [
                nn.Conv2d(seen, channels, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            seen = channels
        self.head = nn.Sequential(*layers, nn.Conv2d(seen, outputs, kernel_size=1))

    def forward(self, images: Tensor) -> Tensor:
        return self._read(self.maps(normalize(images, self.maps.spec.mean, self.maps.spec.std)))

    def of(self, samples: list[Annotated], mirrored: Tensor) -> Tensor:
        """The same of training samples, of which ``mirrored`` (B,) are turned round."""
        return self._read(self.maps.of(samples, mirrored))

    def loss(self, samples: list[Annotated], mirrored: Tensor) -> Tensor:
        """The mean cross-entropy of the pixels that count."""
        masks = torch.stack([sample.mask() for sample in samples])
        masks = torch.where(mirrored[:, None, None], masks.flip(2), masks)
        logits = F.interpolate(self.of(samples, mirrored), masks.shape[1:], mode="bilinear")
        masks = masks.to(logits.device)
        total = F.cross_entropy(logits, masks, ignore_index=IGNORED, reduction="sum")
        return total / (masks != IGNORED).sum().clamp(min=1)

    def _read(self, maps: list[Tensor]) -> Tensor:
        finest = maps[0].shape[2:]
        return self.head(torch.cat([F.interpolate(each, finest, mode="bilinear") for each in maps], dim=1))


def confusion_of(found: Tensor, drawn: Tensor, classes: int) -> Tensor:
    """(K, K) int64: how many pixels of the class of the row were found to be of the class of the column.

    ``found`` and ``drawn`` have one shape; where ``drawn`` is 255 nothing counts.
    """
    counted = drawn != IGNORED
    pairs = drawn[counted].long() * classes + found[counted]
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)


def intersection_over_union(confusion: Tensor) -> Tensor:
    """(K,) float64: found and drawn pixels over found or drawn ones; NaN for a class that was not drawn."""
    both, drawn, found = confusion.diagonal().double(), confusion.sum(1), confusion.sum(0)
    return torch.where(drawn > 0, both / (drawn + found - both).clamp(min=1), torch.nan)


@torch.no_grad()
def _scored(
    model: FullyConvolutional, images: AnnotatedImages, classes: int, batch_size: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The confusion matrix of all test pixels, and pictures of the first images."""
    device = next(model.head.parameters()).device
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    shown: list[tuple[Tensor, Tensor, Tensor]] = []
    for samples in images.batches(range(len(images)), batch_size):
        pictures = stacked(samples, device)
        logits = F.interpolate(model(pictures), pictures.shape[2:], mode="bilinear")
        for sample, own in zip(samples, logits, strict=True):
            drawn = cast(Tensor, sample.annotation.mask)
            high, wide = sample.filled
            found = F.interpolate(own[None, :, :high, :wide], drawn.shape, mode="bilinear")[0].argmax(0).cpu()
            confusion += confusion_of(found, drawn, classes)
        for sample, picture, own in zip(samples, pictures.cpu(), logits.argmax(1).cpu(), strict=True):
            if len(shown) < SHOWN:
                mask = sample.mask()
                shown.append((picture, mask, own.where(mask != IGNORED, IGNORED)))
    if not confusion.any():
        raise UserError(f"no pixel of the masks of {images.source.name} counts, as all are 255; choose another split")
    rows = [torch.stack(row) for row in zip(*shown, strict=True)]
    return confusion, {"images": rows[0], "drawn": _colored(rows[1]), "found": _colored(rows[2])}


def _colored(masks: Tensor) -> Tensor:
    """Masks (N, H, W) as pictures (N, 3, H, W): the first class dark, 255 white, the others in colours of their own."""
    palette = torch.ones(256, 3)
    palette[0], palette[1:IGNORED] = 0.13, class_colors(IGNORED - 1)
    return palette[masks.long()].permute(0, 3, 1, 2)


def _result(
    confusion: Tensor,
    names: tuple[str, ...],
    losses: list[float],
    maps: FeatureMaps,
    train: AnnotatedImages,
    test: AnnotatedImages,
    visuals: dict[str, Any],
) -> Result:
    shares = intersection_over_union(confusion)
    return Result(
        metrics={
            "mean_iou": shares.nanmean().item(),
            "pixel_accuracy": (confusion.diagonal().sum().double() / confusion.sum()).item(),
        },
        details={
            "iou": by_name(names, shares),
            "loss": losses,
            "image_size": list(maps.spec.size[1:]),
            "strides": maps.strides,
            "readable": {"train": len(train.readable), "test": len(test.readable)},
        },
        visuals=visuals,
    )
