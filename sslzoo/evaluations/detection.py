"""Object detection: torchvision's Faster R-CNN on an encoder's maps (Ren et al., Faster R-CNN: Towards Real-Time Object
Detection with Region Proposal Networks, NeurIPS 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.utils import draw_bounding_boxes

from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Annotation, Source
from sslzoo.encoders import InputSpec
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.annotated import (
    Annotated,
    AnnotatedImages,
    by_name,
    class_colors,
    ignored,
    same_names,
    stacked,
)
from sslzoo.evaluations.average_precision import DETECTIONS, Detections, average_precision
from sslzoo.evaluations.pyramid import COARSEST, FeatureMaps, Pyramid, anchor
from sslzoo.evaluations.tuning import TuningConfig, check_settings, repeatable, tune, workers_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FINEST = 4
ASPECTS = (0.5, 1.0, 2.0)
SHOWN = 8
ENLARGED = 2
"""Pictures, so that boxes are thin lines."""


@dataclass(frozen=True)
class DetectionConfig(TuningConfig):
    lr: float = 3e-3
    """AdamW's rate for what is new; it rises over the first 5 % of the steps, then falls along a cosine."""
    channels: int = 32
    """Of the feature pyramid."""
    hidden: int = 256
    """Width of the two layers that look at a proposal."""
    proposals: int = 200
    """Places that are looked at in an image."""
    sampled: int = 32
    """Proposals, and anchors, of an image that a training step learns from."""


@final
class Detection(Evaluation):
    """Where objects are, and of which class, by Faster R-CNN on the frozen or fine-tuned encoder.

    ``Pyramid`` says how levels are made of a convnet's or a transformer's maps. Anchors are RetinaNet's: on the level
    of stride s their sides are 4, 5 and 6.3 s, in three aspects each (Lin et al., Focal Loss for Dense Object
    Detection, ICCV 2017, section 4); Faster R-CNN's own, of 8 s, would be too large for small images. Heads are
    narrower than torchvision's by default, to be trained on a CPU.

    Images are fitted into the input size whole, and normalised as the encoder wants it. Ignored boxes are left out of
    training. ``ap50``, ``ap`` and ``ap75`` are COCO's, ``voc07_map`` is PASCAL VOC's over eleven recalls, all of them
    means over the classes that have boxes in the test split.
    """

    info = EvaluationInfo(
        name="detection",
        version=1,
        metric="ap50",
        modalities=("image",),
        summary="Boxes around objects and their classes, by Faster R-CNN on the feature maps.",
        variants=("finetune",),
    )
    Config = DetectionConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Train the detector on ``train``, score once on ``test``.

        Raises:
            UsageError: if a setting, the splits' boxes or the size of the images do not suit.
            UserError: if features or the loss are not finite, or too many samples cannot be read.
        """
        config: DetectionConfig = self.config
        check_settings(config)
        if min(config.channels, config.hidden, config.proposals, config.sampled) < 1:
            raise UsageError("channels, hidden, proposals and sampled must be at least 1")
        names = same_names(train, test, "boxes")
        device = next(encoder.parameters()).device
        maps = FeatureMaps(encoder, config.image_size, FINEST, config.finetune)
        _check_size(maps.spec)
        fitted, scored = (AnnotatedImages(source, maps.spec, "boxes", workers_for(device)) for source in (train, test))
        with repeatable(device):
            model = detector(Pyramid(maps, config.channels), len(names), config).to(device)
            losses = tune(model.train(), fitted, config, lambda *step: _loss(model, *step), "backbone.maps")
        drawn, found, shown = _found(model.eval(), scored, config.batch_size)
        return _result(drawn, found, names, losses, model.backbone, fitted, scored, shown)

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        """Test images with their boxes, and as many of what was found, the highest scored."""
        from sslzoo.figures import illustration_sheet

        rows = {"annotation": next(iter(results.values())).visuals["drawn"]}
        rows |= {f"found on {name} features": found.visuals["found"] for name, found in results.items()}
        scores = ", ".join(f"{name} {found.metrics['ap50']:.1%}" for name, found in results.items())
        caption = f"AP at an overlap of 0.5: {scores}; a colour is a class; shown are as many boxes as are annotated"
        return {"detection": illustration_sheet(rows, "Detection: where objects are, and what they are", caption)}


def detector(pyramid: Pyramid, classes: int, config: DetectionConfig) -> FasterRCNN:
    """Torchvision's Faster R-CNN for images in [0, 1] of the pyramid's input size; its class 0 is background."""
    spec = pyramid.maps.spec
    height, width = spec.size[1:]
    sizes = tuple(tuple(round(anchor(stride) * 2 ** (octave / 3)) for octave in range(3)) for stride in pyramid.strides)
    pooled = [str(place) for place, stride in enumerate(pyramid.strides) if stride <= COARSEST]
    align = MultiScaleRoIAlign(pooled, output_size=7, sampling_ratio=2)
    return FasterRCNN(
        pyramid,
        min_size=min(height, width),
        max_size=max(height, width),
        fixed_size=(width, height),
        image_mean=list(spec.mean),
        image_std=list(spec.std),
        rpn_anchor_generator=AnchorGenerator(sizes, (ASPECTS,) * len(sizes)),
        rpn_pre_nms_top_n_train=config.proposals,
        rpn_pre_nms_top_n_test=config.proposals,
        rpn_post_nms_top_n_train=config.proposals,
        rpn_post_nms_top_n_test=config.proposals,
        rpn_batch_size_per_image=config.sampled,
        box_batch_size_per_image=config.sampled,
        box_roi_pool=align,
        box_head=TwoMLPHead(config.channels * 7**2, config.hidden),
        box_predictor=FastRCNNPredictor(config.hidden, classes + 1),
        box_detections_per_img=DETECTIONS,
    )


def _check_size(spec: InputSpec) -> None:
    odd = [side for side in spec.size[1:] if side % COARSEST]
    if odd:
        larger = COARSEST * (odd[0] // COARSEST + 1)
        raise UsageError(
            f"detection needs images whose sides are multiples of {COARSEST} pixels, not {odd[0]}; "
            f"choose --image-size {larger}"
        )


def _loss(model: FasterRCNN, samples: list[Annotated], mirrored: Tensor) -> Tensor:
    """The sum of the detector's four losses."""
    device = next(model.roi_heads.parameters()).device
    targets = []
    for sample, mirror in zip(samples, mirrored.tolist(), strict=True):
        boxes, labels = sample.boxes()
        if mirror:
            left, top, right, bottom = boxes.unbind(1)
            width = sample.image.shape[2]
            boxes = torch.stack([width - right, top, width - left, bottom], dim=1)
        targets.append({"boxes": boxes.to(device), "labels": labels.to(device) + 1})
    losses = model(list(stacked(samples, device, mirrored)), targets)
    return torch.stack(list(losses.values())).sum()


@torch.no_grad()
def _found(
    model: FasterRCNN, images: AnnotatedImages, batch_size: int
) -> tuple[list[Annotation], list[Detections], dict[str, Tensor]]:
    """What was drawn and what was found on all test images, and pictures of the first."""
    device = next(model.roi_heads.parameters()).device
    drawn, found = [], []
    shown: list[tuple[Tensor, Tensor]] = []
    for samples in images.batches(range(len(images)), batch_size):
        for sample, own in zip(samples, model(list(stacked(samples, device))), strict=True):
            height, width = sample.size
            boxes = own["boxes"].cpu() / sample.scale
            boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height] * 2))
            detections = Detections(boxes, own["labels"].cpu() - 1, own["scores"].cpu())
            drawn.append(sample.annotation)
            found.append(detections)
            if len(shown) < SHOWN:
                shown.append(_pictures(sample, detections))
    if all(bool(ignored(each).all()) for each in drawn):
        raise UserError(f"no image of {images.source.name} has a box to be found; choose another split")
    rows = [torch.stack(row) for row in zip(*shown, strict=True)]
    return drawn, found, {"drawn": rows[0], "found": rows[1]}


def _pictures(sample: Annotated, found: Detections) -> tuple[Tensor, Tensor]:
    """(C, H, W) each: a test image with the boxes that were drawn, and with as many that were found."""
    boxes, labels = sample.boxes()
    best = found.scores.argsort(descending=True)[: len(boxes)]
    return _boxed(sample, boxes, labels), _boxed(sample, found.boxes[best] * sample.scale, found.labels[best])


def _boxed(sample: Annotated, boxes: Tensor, labels: Tensor) -> Tensor:
    image = sample.image if len(sample.image) == 3 else sample.image[:1].expand(3, -1, -1)
    image = image.repeat_interleave(ENLARGED, 1).repeat_interleave(ENLARGED, 2)
    if len(boxes):
        palette = (class_colors(int(labels.max()) + 1) * 255).round().int().tolist()
        colors = [tuple(palette[label]) for label in labels.tolist()]
        image = draw_bounding_boxes(image, boxes * ENLARGED, colors=colors, width=3)
    return image / 255


def _result(
    drawn: list[Annotation],
    found: list[Detections],
    names: tuple[str, ...],
    losses: list[float],
    pyramid: Pyramid,
    train: AnnotatedImages,
    test: AnnotatedImages,
    visuals: dict[str, Any],
) -> Result:
    precision = average_precision(drawn, found, len(names))
    return Result(
        metrics={
            "ap50": precision.coco50.nanmean().item(),
            "ap": precision.coco.nanmean().item(),
            "ap75": precision.coco75.nanmean().item(),
            "voc07_map": precision.voc07.nanmean().item(),
        },
        details={
            "ap50": by_name(names, precision.coco50),
            "ap": by_name(names, precision.coco),
            "loss": losses,
            "image_size": list(pyramid.maps.spec.size[1:]),
            "strides": pyramid.strides,
            "readable": {"train": len(train.readable), "test": len(test.readable)},
        },
        visuals=visuals,
    )
