"""Synthetic multi-task: from one rendered picture predict depth, surface normals and where things end.

Ren & Lee, "Cross-Domain Self-supervised Multi-task Feature Learning using Synthetic Imagery", CVPR 2018,
https://arxiv.org/abs/1711.09082. One encoder, three light decoders, and a discriminator of the encoder's last map,
which tells rendered pictures from unlabelled real ones; the encoder learns to make it err. Details are those of the
authors' code: depth is predicted as its logarithm; the losses' weights; pictures show one of their colour channels,
drawn at random, in all of them, so that colours tell nothing; the discriminator learns from a history of 128 maps of
each domain (Shrivastava et al., CVPR 2017), in a batch for each; and only the features of rendered pictures are moved.

The data are clips that have the three fields, of which one frame at a time is taken, and pictures beside them, as in
``pairs:world+cliparts``. Samples without an ``image`` are learnt from too, without adaptation.

Deviations. The paper renders SUNCG, which is no longer distributed, and SceneNet; here it is whatever the data set has.
Its AlexNet with dilated layers after conv5 is an encoder of any kind, whose last map, and of small pictures the next
finer ones, the decoders read; these repeat pixels and convolve, and begin wider than the paper's 64 channels. The mean
difference in the loss of depth is that of each picture, as where this loss comes from (Eigen et al., NeurIPS 2014), not
of the batch, and so is the channel that is shown. Contours are a small part of a picture, so its contour pixels count
as much together as all others; in the released code the ratio weighs pictures as a whole, which balances nothing.
Where there is nothing to see, depth and normals are not asked for. The discriminator's SGD is the run's one optimizer
at a tenth of its rate, and its last layer a mean over places.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of, takes_clips
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.adversarial import frozen_call, judged
from sslzoo.nn.decoders import Decoder, bottleneck_maps, encode_maps
from sslzoo.nn.gather import gather, own_part
from sslzoo.nn.history import History
from sslzoo.nn.precision import in_float32
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.crop import random_resized_crop
from sslzoo.views.dense import dense_random_resized_crop
from sslzoo.views.keyed import Draw

FIELDS = ("depth", "normals", "contours")
CHANNELS = {"depth": 1, "normals": 3, "contours": 1}
WEIGHTS = {"depth": 5.0, "normals": 10.0, "contours": 1.0}
FEWEST = 350 / 256**2
"""Share of contour pixels below which the authors leave a picture out; here it is not asked for its contours."""
HISTORY = 128


@dataclass(frozen=True)
class SyntheticMultitaskConfig:
    adversarial: float = 0.05
    """Weight of the loss that makes features of rendered pictures look like those of real ones; 0 adapts nothing."""
    decoder_dim: int = 256
    """Channels of each decoder where it begins; each stage has half as many, but at least 16."""
    min_scale: float = 0.75
    """Smallest crop, as a share of the picture's area. The paper's is 227 of 256 pixels a side."""


class RenderedAndReal(Views):
    """A crop of a frame and of its fields, and of a picture if there is one, both in one colour channel."""

    def __init__(self, config: SyntheticMultitaskConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec
        self.sampling = ClipSampling(length=1, fields=FIELDS)

    def crop(self, samples: list[Sample]) -> Batch:
        size, scale, draw = self.spec.size[1:], (self.config.min_scale, 1.0), draw_for(samples)
        fields = ("clip", *FIELDS)
        dense = dense_random_resized_crop(samples, fields, size, draw.at("rendered"), scale)
        batch: Batch = {name: values[:, 0] for name, values in dense.items()}
        if "image" in samples[0]:
            images = [sample["image"] for sample in samples]
            batch["image"] = random_resized_crop(images, size, draw.at("real"), scale)
        return batch

    def augment(self, batch: Batch) -> Batch:
        draw = Draw(batch["key"])
        batch["views"] = [
            normalize(one_channel(to_float(batch.pop(name)), draw.at(name)), self.spec.mean, self.spec.std)
            for name in ("clip", "image")
            if name in batch
        ]
        return batch


def one_channel(images: Tensor, draw: Draw) -> Tensor:
    """One colour channel of each picture (B, C, H, W) in all its channels."""
    channel = draw.integers("channel", min(3, images.shape[1]))
    return images.take_along_dim(channel[:, None, None, None], dim=1).repeat(1, images.shape[1], 1, 1)


@in_float32
def depth_loss(log_depth: Tensor, depth: Tensor) -> Tensor:
    """Half the mean squared error of the logarithm, and a quarter of the squared mean error, of each picture's pixels.

    (B, 1, H, W) both; where depth is infinite it does not count.
    """
    there = depth.isfinite()
    error = log_depth - torch.where(there, depth, 1.0).log()
    mean = mean_where(error, there)
    return 0.5 * (mean_where(error.square(), there) + 0.5 * mean.square()).mean()


@in_float32
def normals_loss(predicted: Tensor, normals: Tensor) -> Tensor:
    """One minus the mean cosine of each picture's pixels (B, 3, H, W); where there is no normal, none counts."""
    cosine = F.cosine_similarity(predicted, normals, dim=1)[:, None]
    return mean_where(1 - cosine, normals.any(dim=1, keepdim=True)).mean()


@in_float32
def contours_loss(logits: Tensor, contours: Tensor) -> Tensor:
    """Cross-entropy (B, 1, H, W) with contour pixels weighted by the ratio of the others to them in each picture."""
    share = contours.float().mean(dim=(1, 2, 3), keepdim=True)
    asked = share >= FEWEST
    ratio = (1 - share) / share.clamp(min=FEWEST)
    entropy = F.binary_cross_entropy_with_logits(logits, contours.float(), pos_weight=ratio, reduction="none")
    return (entropy * asked).mean()


LOSSES = {"depth": depth_loss, "normals": normals_loss, "contours": contours_loss}


def mean_where(values: Tensor, there: Tensor) -> Tensor:
    """(B,): the mean of each picture's ``values`` (B, 1, H, W) ``there``; 0 where there are none."""
    count = there.flatten(1).sum(dim=1).clamp(min=1)
    return torch.where(there, values, 0.0).flatten(1).sum(dim=1) / count


def discriminator(channels: int) -> nn.Sequential:
    """Maps (B, C, H, W) to logits (B, 1)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 64, 3, 1, 1), nn.BatchNorm2d(64), nn.LeakyReLU(0.2)]
    for wide in (128, 256):
        layers += [nn.Conv2d(wide // 2, wide, 3, 2, 1), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 1))


class SyntheticMultitask(PretextMethod):
    info = MethodInfo(
        name="synthetic_multitask",
        category="free_label",
        family="game-engine",
        modalities=("clip",),
        paper=Paper(
            authors="Ren & Lee",
            title="Cross-Domain Self-supervised Multi-task Feature Learning using Synthetic Imagery",
            venue="CVPR",
            year=2018,
            url="https://arxiv.org/abs/1711.09082",
        ),
        summary="From a rendered picture tell depth, normals and contours, with features like those of real ones.",
    )
    Config = SyntheticMultitaskConfig
    # The authors' code: Adam at 1e-3 with a first beta of 0.5.
    defaults = PretrainConfig(
        dataset="pairs:world+cliparts",
        encoder="resnet50",
        epochs=30,
        batch_size=224,
        optimizer="adam",
        lr=1e-3,
        momentum=0.5,
        weight_decay=0.0,
        schedule="step",
        milestones=(0.6, 0.9),
    )
    recipes = {"small": {**SMALL, "batch_size": 32, "decoder_dim": 64}}

    @staticmethod
    def views(config: SyntheticMultitaskConfig, spec: InputSpec) -> Views:
        return RenderedAndReal(config, spec)

    def __init__(self, encoder: nn.Module, config: SyntheticMultitaskConfig) -> None:
        super().__init__(encoder, config)
        if takes_clips(encoder):
            raise UsageError("synthetic_multitask looks at single frames: take an encoder of images, such as resnet50")
        _, height, width = spec_of(encoder).input.size
        self.maps = bottleneck_maps(encoder)
        self.decoders = nn.ModuleDict(
            {
                field: Decoder(self.feature_dim, self.maps, (height, width), channels, config.decoder_dim)
                for field, channels in CHANNELS.items()
            }
        )
        self.discriminator = None
        if config.adversarial:
            last = self.maps[0]
            self.discriminator = discriminator(last.channels)
            self.history = nn.ModuleList(History(HISTORY, (last.channels, *last.size)) for _ in range(2))

    def lr_scales(self) -> dict[str, float]:
        return {"discriminator.": 0.1}

    def predict(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The logarithm of depth, normals of any length and logits of contours, and the encoder's last map."""
        feature, maps = encode_maps(self.encoder, images, self.maps)
        return {field: decoder(feature, maps) for field, decoder in self.decoders.items()}, maps[0]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        rendered, *real = batch["views"]
        predicted, last = self.predict(rendered)
        losses = {field: LOSSES[field](predicted[field], batch[field]) for field in FIELDS}
        loss = torch.stack([WEIGHTS[field] * value for field, value in losses.items()]).sum()
        scores = {f"{field}_loss": value for field, value in losses.items()}
        scores |= errors(predicted["depth"], predicted["normals"], batch["depth"], batch["normals"])
        if self.discriminator is None:
            return {"loss": loss, **scores}
        if not real:
            # A discriminator without a gradient would keep several processes waiting for it.
            warnings.warn(
                "synthetic_multitask sees no real pictures, so it adapts nothing: give it some beside its clips, "
                "such as --dataset pairs:world+cliparts",
                stacklevel=2,
            )
            return {"loss": loss + 0 * self.discriminator(last.detach()).sum(), **scores}
        deceiving, judging = self.adapt(last, real[0], Draw(batch["key"]))
        loss = loss + self.config.adversarial * deceiving + judging
        return {"loss": loss, **scores, "adversarial_loss": deceiving, "discriminator_loss": judging}

    def adapt(self, rendered: Tensor, real: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """The encoder's loss for the last map of ``rendered`` pictures, and the discriminator's; ``real`` pictures."""
        assert self.discriminator is not None
        with torch.no_grad():
            _, (others, *_) = encode_maps(self.encoder, real, self.maps)
        old = rendered.detach()
        if self.training:
            everyone, histories = Draw(gather(draw.key)), cast(Iterable[History], self.history)
            old, others = (
                own_part(history.exchange(gather(new), everyone.at(number)))
                for number, (history, new) in enumerate(zip(histories, (old, others), strict=True))
            )
        judging = 0.5 * (judged(self.discriminator(old), False) + judged(self.discriminator(others), True))
        return judged(frozen_call(self.discriminator, rendered), True), judging

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """What the encoder sees, and what is predicted of it beside what is so.

        Near is light. Normals are red to the right, green upwards and blue towards the camera.
        """
        spec = spec_of(self.encoder).input
        predicted, _ = self.predict(batch["views"][0])
        depth = batch["depth"].log()
        return {
            "frame": denormalize(batch["views"][0], spec.mean, spec.std),
            "depth predicted": shaded(predicted["depth"].float(), depth),
            "depth": shaded(depth, depth),
            "normals predicted": colored(F.normalize(predicted["normals"].float(), dim=1)),
            "normals": colored(batch["normals"]),
            "contours predicted": predicted["contours"].float().sigmoid().expand(-1, 3, -1, -1),
            "contours": batch["contours"].float().expand(-1, 3, -1, -1),
        }


@torch.no_grad()
@in_float32
def errors(log_depth: Tensor, predicted: Tensor, depth: Tensor, normals: Tensor) -> dict[str, Tensor]:
    """Mean error of depth as a share of it, and mean angle in degrees between normals (B, 3, H, W)."""
    off = (log_depth.exp() / depth - 1).abs()
    cosine = F.cosine_similarity(predicted, normals, dim=1).clamp(-1, 1)[:, None]
    return {
        "depth_abs_rel": mean_where(off, depth.isfinite()).mean(),
        "normals_degrees": mean_where(cosine.acos().rad2deg(), normals.any(dim=1, keepdim=True)).mean(),
    }


def shaded(log_depth: Tensor, true: Tensor) -> Tensor:
    """(B, 3, H, W): light where it is near, dark where it is far in the picture, by its ``true`` depths."""
    near = true.flatten(1).amin(dim=1)[:, None, None, None]
    far = true.where(true.isfinite(), -torch.inf).flatten(1).amax(dim=1)[:, None, None, None]
    light = (1 - 0.9 * (log_depth - near) / (far - near).clamp(min=1e-6)).clamp(0, 1)
    return light.nan_to_num(0).expand(-1, 3, -1, -1)


def colored(normals: Tensor) -> Tensor:
    """(B, 3, H, W): unit vectors as colours; black where there is none."""
    turned = normals * normals.new_tensor([1, -1, -1])[:, None, None]
    return (turned + 1) / 2 * normals.any(dim=1, keepdim=True)
