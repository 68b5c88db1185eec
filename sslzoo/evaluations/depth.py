"""Depth from a single frame: a small head on an encoder's maps, trained on known depth (Eigen, Puhrsch & Fergus, Depth
Map Prediction from a Single Image using a Multi-Scale Deep Network, NIPS 2014)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Annotation, Source, Unreadable
from sslzoo.encoders import takes_clips
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.annotated import Annotated, AnnotatedImages, stacked, without
from sslzoo.evaluations.pyramid import FeatureMaps
from sslzoo.evaluations.segmentation import FINEST, SHOWN, FullyConvolutional
from sslzoo.evaluations.tuning import TuningConfig, check_settings, repeatable, tune, workers_for
from sslzoo.nn.depth import brightest, depth_colors, depth_scores
from sslzoo.views import Sample
from sslzoo.views.clips import ClipSampling, cut, num_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALE_SHARE = 0.5
"""How much of an error that is the same in all pixels is forgiven in training: Eigen's lambda."""
LOG_RANGE = 7.0
"""What is scored lies between e^-7 and e^7 metres, about a millimetre and a kilometre."""


@dataclass(frozen=True)
class DepthConfig(TuningConfig):
    frames: int = 2
    """Of each clip, evenly spaced."""
    convolutions: int = 2
    """3 x 3 convolutions of the head before its last; 0 makes it a linear probe of every place."""
    channels: int = 64
    """Of these convolutions."""


@final
class Depth(Evaluation):
    """How far each pixel is, told from single frames by a small head on the frozen or fine-tuned encoder.

    The head is that of ``segmentation`` with one output, the logarithm of depth in metres, trained as there. The loss
    is Eigen's scale-invariant error with lambda 0.5 (equation 4) at the input's size, the mean over images. Frames are
    fitted into the input size whole, and ``frames`` are taken of each clip; images that have depth stay as they are.

    Scores are taken at the frame's own size, of depth in metres without any scaling, and are means over frames:
    ``delta_1`` to ``delta_3`` are the shares of pixels that are off by a factor of less than 1.25, 1.25^2 and 1.25^3,
    ``abs_rel`` is the mean error as a share of the true depth, and ``rmse`` is in metres. Where depth is infinite, as
    in the sky, nothing is scored, and frames that have no other pixels do not count.
    """

    info = EvaluationInfo(
        name="depth",
        version=1,
        metric="delta_1",
        modalities=("image", "clip"),
        summary="The depth of every pixel, from single frames by a small head on the feature maps.",
        numbers=("abs_rel", "rmse"),
        variants=("finetune",),
    )
    Config = DepthConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Train the head on ``train``, score once on ``test``.

        Raises:
            UsageError: if a setting or the encoder does not suit, or there is no depth.
            UserError: if features or the loss are not finite, or too many samples cannot be read.
        """
        config: DepthConfig = self.config
        check_settings(config)
        if config.convolutions < 0 or config.channels < 1 or config.frames < 1:
            raise UsageError("convolutions must not be below 0, nor channels and frames below 1")
        if takes_clips(encoder):
            raise UsageError("depth is told of single frames, and this encoder takes clips: choose one of images")
        device = next(encoder.parameters()).device
        maps = FeatureMaps(encoder, config.image_size, FINEST, config.finetune)
        fitted, scored = (
            AnnotatedImages(Frames(source, config.frames), maps.spec, "depth", workers_for(device))
            for source in (train, test)
        )
        with repeatable(device):
            model = FullyConvolutional(maps, 1, config.convolutions, config.channels).to(device)

            def loss(samples: list[Annotated], mirrored: Tensor) -> Tensor:
                return scale_invariant_loss(model.of(samples, mirrored), samples, mirrored)

            losses = tune(model.train(), fitted, config, loss, "maps.encoder")
        scores, visuals = _scored(model.eval(), scored, config.batch_size)
        return Result(
            metrics=scores,
            details={
                "loss": losses,
                "image_size": list(maps.spec.size[1:]),
                "strides": maps.strides,
                "readable": {"train": len(fitted.readable), "test": len(scored.readable)},
            },
            visuals=visuals,
        )

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        """Test frames, their depth, and what was told."""
        from sslzoo.figures import illustration_sheet

        first = next(iter(results.values())).visuals
        rows = {"test frames": first["images"], "depth: near is bright": first["true"]}
        rows |= {f"told from {name} features": found.visuals["found"] for name, found in results.items()}
        scores = ", ".join(f"{name} {found.metrics['delta_1']:.1%}" for name, found in results.items())
        sheet = illustration_sheet(rows, "Depth from a single frame", f"pixels off by less than a quarter: {scores}")
        return {"depth": sheet}


class Frames(Source):
    """Evenly spaced frames of the clips of a source as images that have depth, or its images as they are."""

    def __init__(self, whole: Source, frames: int) -> None:
        self.whole, self.name = whole, whole.name
        self.frames = frames if _has_clips(whole) else 1

    def __len__(self) -> int:
        return self.frames * len(self.whole)

    def read(self, index: int) -> Sample:
        sample = self.whole.read(index // self.frames)
        return {"image": self._frame(sample, "clip", index)} if "clip" in sample else sample

    @property
    def fingerprint(self) -> str:
        return f"{self.whole.fingerprint} {self.frames} frames"

    def annotation(self, index: int) -> Annotation:
        sample = self.whole.read(index // self.frames)
        if "clip" not in sample:
            return self.whole.annotation(index)
        return Annotation(depth=self._frame(sample, "depth", index)[0])

    def _frame(self, sample: Sample, field: str, index: int) -> Tensor:
        if "depth" not in sample:
            raise without(self, "depth")
        window = ClipSampling(length=1).evenly(self.frames, num_frames(sample))[index % self.frames]
        frame: Tensor = cut(sample, window, [field])[field][0]
        return frame


def _has_clips(source: Source) -> bool:
    for index in range(len(source)):
        try:
            return "clip" in source.read(index)
        except Unreadable:
            continue
    return False


def scale_invariant_loss(found: Tensor, samples: list[Annotated], mirrored: Tensor) -> Tensor:
    """Eigen's equation 4, the mean over samples. ``found`` (B, 1, h, w) is the logarithm of depth."""
    true = torch.stack([sample.depth() for sample in samples])[:, None]
    true = torch.where(mirrored[:, None, None, None], true.flip(3), true).to(found.device)
    counted = true.isfinite() & (true > 0)
    wide = F.interpolate(found, true.shape[2:], mode="bilinear")
    error = torch.where(counted, wide - torch.where(counted, true, 1.0).log(), 0.0)
    pixels = counted.sum(dim=(1, 2, 3)).clamp(min=1)
    squares, mean = error.square().sum(dim=(1, 2, 3)) / pixels, error.sum(dim=(1, 2, 3)) / pixels
    return (squares - SCALE_SHARE * mean.square()).mean()


@torch.no_grad()
def _scored(
    model: FullyConvolutional, images: AnnotatedImages, batch_size: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Mean scores of all test frames, and pictures of the first ones."""
    device = next(model.head.parameters()).device
    scores: list[dict[str, Tensor]] = []
    shown: list[tuple[Tensor, Tensor, Tensor]] = []
    for samples in images.batches(range(len(images)), batch_size):
        pictures = stacked(samples, device)
        told = F.interpolate(model(pictures), pictures.shape[2:], mode="bilinear").clamp(-LOG_RANGE, LOG_RANGE).cpu()
        for sample, picture, own in zip(samples, pictures.cpu(), told, strict=True):
            true = cast(Tensor, sample.annotation.depth)[None, None]
            high, wide = sample.filled
            found = F.interpolate(own[None, :, :high, :wide], true.shape[2:], mode="bilinear").exp()
            scores.append(depth_scores(found, true))
            if len(shown) < SHOWN:
                fitted = sample.depth()[None, None]
                pair = depth_colors(torch.cat([fitted, own.exp()[None]]), brightest(fitted).expand(2))
                shown.append((picture, *pair))
    means = {name: torch.cat([each[name] for each in scores]).nanmean().item() for name in scores[0]}
    if math.isnan(means["delta_1"]):
        raise UserError(f"no pixel of {images.source.name} has a finite depth; choose another split")
    rows = [torch.stack(row) for row in zip(*shown, strict=True)]
    return means, {"images": rows[0], "true": rows[1], "found": rows[2]}
