"""Moving objects: from a single frame, tell which pixels belong to what moves.

Pathak, Girshick, Dollár, Darrell & Hariharan, "Learning Features by Watching Objects Move", CVPR 2017,
https://arxiv.org/abs/1612.06370. A segmentation by motion alone is the pseudo-label of a frame, and the network, which
sees no motion, is to give that mask: a quarter of the crop's size (56 of 227 pixels), by a logistic loss per pixel.
Pixels at the border of a segment, where such masks are noisy, do not count. The crop is jittered about a segment's box
as in DeepMask (Pinheiro et al., NeurIPS 2015), from whose code the authors' is made: the box's longer side is 4/7 of
the crop, times up to 2^(1/4) more or less, and a tenth of the crop beside its middle; and so is the head, a linear
layer upon a bottleneck of 512 upon 128 channels of the last map.

The clips must have ``flow``; what moves is what the motion of the camera does not explain (``views/epipolar.py``). No
mask of a renderer is looked at. On 169 frames of ``world`` in which something moves, the pseudo-masks have a mean
intersection over union of 0.88 (median 0.93) with the objects that do move; ``moving`` was chosen on these frames.

Deviations. The paper's segments are of uNLC, which starts from flow that departs from the frame's dominant motion and
then lets superpixels that look alike vote through the video: with flow as good as a renderer's, the epipolar geometry
is enough, and keeps parallax apart from motion, which one dominant motion does not. Flow is not estimated here. Of
several things that move one, drawn by its size, is the segment, and all that move in its crop are the mask. A crop
that would go beyond the frame is moved inside, or made smaller. Of small pictures the head also reads the next finer
maps, and always the feature. A frame without a segment is in the batch, and counts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of, takes_clips
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.decoders import bottleneck_maps, encode_maps
from sslzoo.nn.precision import in_float32
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling, clip_resized_crop, weighted_choice
from sslzoo.views.color import denormalize, normalize, to_float
from sslzoo.views.epipolar import off_epipolar
from sslzoo.views.keyed import Draw

STRIDE = 4
OBJECT, SCALE, SHIFT = 4 / 7, 0.25, 0.1
"""Longer side of the segment's box as a share of the crop's, and how far size (in powers of 2) and place may be off."""
BORDER = 56
"""As many pixels of the mask as its side has times this do not count on either side of a border."""
MIXED = (64, 191)
"""Of 255: pixels of the mask of which such a part moves do not count either."""


@dataclass(frozen=True)
class MovingObjectsConfig:
    moving: float = 1 / 800
    """How far the motion of what moves is at least from one that the camera's explains, as a share of the frame."""
    least: float = 0.005
    """Smallest segment, as a share of the frame."""
    bottleneck: int = 512
    """Numbers that the head makes the mask of."""


class SegmentCrops(Views):
    """A crop about something that moves, perhaps mirrored, normalised; where pixels move in it; and what counts."""

    def __init__(self, config: MovingObjectsConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec
        self.size = (spec.size[1] // STRIDE, spec.size[2] // STRIDE)
        self.sampling = ClipSampling(length=2, fields=("flow",))

    def crop(self, samples: list[Sample]) -> Batch:
        if any("flow" not in sample for sample in samples):
            raise UsageError("these clips have no flow, which tells what moves in them; data that have: world")
        draw = draw_for(samples)
        moving = self.moving([sample["flow"][:1] for sample in samples], draw)
        each = [Draw(key[None]) for key in draw.key]
        found = [segment(mask[0], self.config.least, one) for mask, one in zip(moving, each, strict=True)]
        sizes = torch.tensor([mask.shape[1:] for mask in moving])
        squares = around(torch.stack([box for box, _ in found]), sizes, draw)
        mirrored = draw.bernoulli("mirror", 0.5)
        masks = [255 * mask[None].to(torch.uint8) for mask in moving]
        frames = [sample["clip"][:1] for sample in samples]
        return {
            "image": clip_resized_crop(frames, squares, mirrored, self.spec.size[1:])[:, 0],
            "moving": clip_resized_crop(masks, squares, mirrored, self.size)[:, 0],
            "found": torch.tensor([there for _, there in found]),
        }

    def moving(self, flows: list[Tensor], draw: Draw) -> list[Tensor]:
        """Of each flow (1, 2, H, W) where what moves by itself is, (1, H, W); of those of one size at once."""
        masks: dict[int, Tensor] = {}
        for size in {flow.shape for flow in flows}:
            places = [place for place, flow in enumerate(flows) if flow.shape == size]
            off = off_epipolar(torch.cat([flows[place] for place in places]), Draw(draw.key[places]))
            masks |= zip(places, (off > self.config.moving * max(size[2:])).split(1), strict=True)
        return [masks[place] for place in range(len(flows))]

    def augment(self, batch: Batch) -> Batch:
        batch["views"] = [normalize(to_float(batch.pop("image")), self.spec.mean, self.spec.std, inplace=True)]
        share = batch.pop("moving")
        batch["target"] = share > 127
        mixed = (share >= MIXED[0]) & (share <= MIXED[1])
        batch["counts"] = ~mixed & ~at_border(batch["target"]) & batch.pop("found")[:, None, None, None]
        return batch


def at_border(mask: Tensor) -> Tensor:
    """Pixels of ``mask`` (B, 1, H, W) that have others near them; in a mask of less than 56 pixels a side none."""
    near = min(mask.shape[2:]) // BORDER
    highest, lowest = (F.max_pool2d(values, 2 * near + 1, 1, near) for values in (mask.float(), 1 - mask.float()))
    return (highest + lowest) > 1


def segment(mask: Tensor, least: float, draw: Draw) -> tuple[Tensor, bool]:
    """The box, (4,) top, left, height and width, of a connected part of ``mask`` (H, W), the likelier the larger.

    Parts that are less than a share ``least`` of the picture do not count; if there is no other, it is all of the
    picture, and the second value False.
    """
    labels, count = ndimage.label(mask.numpy())
    sizes = torch.from_numpy(labels).flatten().bincount(minlength=count + 1)[1:]
    sizes = torch.where(sizes >= least * mask.numel(), sizes, 0)
    if not sizes.any():
        return torch.tensor([0, 0, *mask.shape]), False
    rows, columns = ndimage.find_objects(labels)[int(weighted_choice(sizes[None], draw, "segment"))]
    return torch.tensor([rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start]), True


def around(boxes: Tensor, sizes: Tensor, draw: Draw) -> Tensor:
    """Squares (B, 4: top, left, height, width) int64 about ``boxes`` (B, 4), jittered, in pictures of ``sizes``."""
    longer = boxes[:, 2:].amax(dim=1) / OBJECT
    side = (longer * 2 ** draw.uniform("size", -SCALE, SCALE)).round().long()
    side = torch.minimum(side, sizes.amin(dim=1)).clamp(min=1)
    middle = boxes[:, :2] + boxes[:, 2:] / 2 + side[:, None] * draw.uniform("place", -SHIFT, SHIFT, (2,))
    corner = (middle - side[:, None] / 2).round().long()
    corner = torch.minimum(corner.clamp(min=0), sizes - side[:, None])
    return torch.cat([corner, side[:, None], side[:, None]], dim=1)


@in_float32
def masked_entropy(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Logistic loss (B, 1, h, w), meant over the pixels of each picture that count; 0 where none does."""
    entropy = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none") * counts
    return (entropy.flatten(1).sum(dim=1) / counts.flatten(1).sum(dim=1).clamp(min=1)).mean()


@torch.no_grad()
def overlap(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Intersection over union with the pseudo-masks, of all pictures' pixels that count."""
    predicted = logits > 0
    both, either = (predicted & target & counts).sum(), ((predicted | target) & counts).sum()
    return both / either.clamp(min=1)


class MaskHead(nn.Module):
    """A feature (B, D) and maps to logits of a mask (B, 1, h, w)."""

    def __init__(self, encoder: nn.Module, feature_dim: int, size: tuple[int, int], bottleneck: int) -> None:
        super().__init__()
        self.maps, self.size = bottleneck_maps(encoder), size
        self.squeeze = nn.ModuleList(
            nn.Sequential(nn.Conv2d(found.channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(inplace=True))
            for found in self.maps
        )
        places = sum(found.size[0] * found.size[1] for found in self.maps)
        self.bottleneck = nn.Linear(feature_dim + 128 * places, bottleneck, bias=False)
        self.norm = nn.BatchNorm1d(bottleneck)
        self.mask = nn.Linear(bottleneck, size[0] * size[1])

    def forward(self, feature: Tensor, maps: list[Tensor]) -> Tensor:
        known = [squeeze(found).flatten(1) for squeeze, found in zip(self.squeeze, maps, strict=True)]
        return self.mask(self.norm(self.bottleneck(torch.cat([feature, *known], dim=1)))).unflatten(1, (1, *self.size))


class MovingObjects(PretextMethod):
    info = MethodInfo(
        name="moving_objects",
        category="free_label",
        family="moving-object-segmentation",
        modalities=("clip",),
        paper=Paper(
            authors="Pathak, Girshick, Dollár, Darrell & Hariharan",
            title="Learning Features by Watching Objects Move",
            venue="CVPR",
            year=2017,
            url="https://arxiv.org/abs/1612.06370",
        ),
        summary="From a single frame, tell which pixels belong to what moves.",
    )
    Config = MovingObjectsConfig
    # DeepMask's solver, in its published code: SGD at 1e-3, halved after 50 epochs of 128,000 crops and divided by ten
    # after 120, here at once.
    defaults = PretrainConfig(
        dataset="world",
        encoder="resnet50",
        epochs=300,
        batch_size=32,
        optimizer="momentum",
        lr=1e-3,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        milestones=(0.4,),
    )
    recipes = {"small": {**SMALL, "batch_size": 32}}

    @staticmethod
    def views(config: MovingObjectsConfig, spec: InputSpec) -> Views:
        return SegmentCrops(config, spec)

    def __init__(self, encoder: nn.Module, config: MovingObjectsConfig) -> None:
        super().__init__(encoder, config)
        if takes_clips(encoder):
            raise UsageError("moving_objects looks at single frames: take an encoder of images, such as resnet50")
        _, height, width = spec_of(encoder).input.size
        self.head = MaskHead(encoder, self.feature_dim, (height // STRIDE, width // STRIDE), config.bottleneck)

    def logits(self, batch: Batch) -> Tensor:
        """(B, 1, H / 4, W / 4)."""
        return self.head(*encode_maps(self.encoder, batch["views"][0], self.head.maps))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits, target, counts = self.logits(batch), batch["target"], batch["counts"]
        return {"loss": masked_entropy(logits, target, counts), "iou": overlap(logits, target, counts)}

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """The frame, what moves in it (grey where it does not count), and what is predicted to."""
        spec, target = spec_of(self.encoder).input, batch["target"].float()
        masks = {
            "what moves": torch.where(batch["counts"], target, 0.5),
            "predicted": self.logits(batch).float().sigmoid(),
        }
        larger = {title: F.interpolate(mask, spec.size[1:]).expand(-1, 3, -1, -1) for title, mask in masks.items()}
        return {"frame": denormalize(batch["views"][0], spec.mean, spec.std), **larger}
