"""UnFlow: the optical flow between two frames, learned from what it must be like instead of from the true one.

Meister, Hur & Roth, "UnFlow: Unsupervised Learning of Optical Flow with a Bidirectional Census Loss", AAAI 2018,
https://arxiv.org/abs/1711.07837. The flow is predicted from the first frame to the second and back. The second, warped
by it, must look like the first in its ternary census transform, which light does not change; flow must change evenly
(second order); and there and back must end where it began, but where it does not, the pixel counts as covered, and
neither this nor the census loss is asked of it. Weights, robust penalty, the weight and the census patch of each
resolution, the tenth of the frame's border that is left out and the photometric augmentation are those of the authors'
code. As there, training has two stages: census and smoothness alone first, all of it after that.

Covered pixels cost a constant each, without which all would count as covered. The check is a threshold, so no gradient
comes of it, here as in the authors' code; the loss tells how many there are.

Deviations. What comes out is to be a plain encoder of pictures. So it sees each frame by itself, to its last map, where
FlowNetC's layers are shared by the frames to the third only; and a decoder compares its maps at every resolution and
warps between them (PWC-Net), where FlowNetC compares once. Both frames are cut alike, and the second is not warped
against the first, so that flow which the data know stays true: the held-out score ``epe`` is the distance from it, in
pixels, beside that of no motion at all. Noise is drawn for each pixel, where the authors' code has one number for a
pair, which only makes it brighter. The loss is a thousandth of the authors', whose gradients are hundreds of times
those of other methods: Adam does not see it, and other optimizers' usual rates suit. Between the stages the rate falls
to a tenth, but not by half after every 100 thousand steps as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, takes_clips
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.flow import SiameseFlow, endpoint_error, resize_flow, warp
from sslzoo.nn.flow_losses import both_ways, inside_border, round_trip
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling
from sslzoo.views.color import normalize, to_float
from sslzoo.views.dense import dense_random_resized_crop
from sslzoo.views.flow_colors import flow_colors, largest_motion
from sslzoo.views.keyed import Draw

if TYPE_CHECKING:
    from sslzoo.run import Run

LAYER_WEIGHTS = (12.7, 4.35, 3.9, 3.4, 1.1)
PATCH_RADII = (3, 2, 2, 1, 1)
"""By resolution, the finest first: weight of its losses, and pixels around the middle of its census patches."""
SCALE = 1e-3
"""What the sum of all losses is multiplied with."""


@dataclass(frozen=True)
class UnFlowConfig:
    census: float = 1.0
    """Weight of the census loss."""
    smooth: float = 3.0
    """That of the second derivatives of the flow."""
    consistency: float = 0.2
    """That of the distance that remains after going there and back."""
    occlusion: float = 12.4
    """What a covered pixel costs."""
    first_stage: float = 0.5
    """Share of the training that is without the last two."""
    stride: int = 4
    """Pixels of a frame for one of the finest flow."""
    width: int = 128
    """Channels of the decoder's layers."""
    radius: int = 4
    """Places around each that are compared, up, down, left and right, at each resolution."""
    min_scale: float = 0.8
    """Smallest crop, as a share of the frame's area."""


class TwoFrames(Views):
    """The same crop of two frames in a row, as ``frames`` (B, 2, C, H, W) in [0, 1] and, with other light, as two
    views; and ``flow`` (B, 2, H, W), where the data have it."""

    def __init__(self, config: UnFlowConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec
        self.sampling = ClipSampling(length=2, fields=("flow",), short_side=2 * min(spec.size[1:]))

    def crop(self, samples: list[Sample]) -> Batch:
        fields = ("clip", "flow") if all("flow" in sample for sample in samples) else ("clip",)
        scale, ratio = (self.config.min_scale, 1.0), (0.9, 1 / 0.9)
        cut = dense_random_resized_crop(samples, fields, self.spec.size[1:], draw_for(samples).at("crop"), scale, ratio)
        return {"frames": cut["clip"]} | ({"flow": cut["flow"][:, 0]} if "flow" in cut else {})

    def augment(self, batch: Batch) -> Batch:
        draw, frames = Draw(batch["key"]), to_float(batch["frames"])
        noise = draw.normal("noise", frames.shape[1:])
        seen = relight(frames, draw) + 0.04 * noise
        batch["frames"] = frames
        batch["views"] = list(normalize(seen, self.spec.mean, self.spec.std, inplace=True).unbind(1))
        return batch


def relight(frames: Tensor, draw: Draw) -> Tensor:
    """Frames (B, T, C, H, W) in [0, 1] with other contrast, brightness, colour and gamma, the same in all of a clip."""
    channels = frames.shape[2]

    def drawn(values: Tensor) -> Tensor:
        return values.view(len(values), 1, -1, 1, 1)

    contrast, brightness = drawn(draw.uniform("contrast", 0.7, 1.3)), drawn(0.02 * draw.normal("brightness"))
    colour, gamma = draw.uniform("colour", 0.9, 1.1, (channels,)), drawn(draw.uniform("gamma", 0.7, 1.5))
    return ((frames * contrast + brightness) * drawn(colour)).clamp(0, 1) ** (1 / gamma)


class UnFlow(PretextMethod):
    info = MethodInfo(
        name="unflow",
        category="cross_modal",
        family="optical-flow-estimation",
        modalities=("clip",),
        paper=Paper(
            authors="Meister, Hur & Roth",
            title="UnFlow: Unsupervised Learning of Optical Flow with a Bidirectional Census Loss",
            venue="AAAI",
            year=2018,
            url="https://arxiv.org/abs/1711.07837",
        ),
        summary="Find the optical flow by which the second of two frames looks like the first.",
    )
    Config = UnFlowConfig
    # The authors' solver: 500 thousand steps of four pairs in each stage, the second at a tenth of the rate; as epochs
    # of their first data's 37 thousand pairs.
    defaults = PretrainConfig(
        dataset="world",
        encoder="resnet50",
        image_size=224,
        epochs=108,
        batch_size=4,
        optimizer="adam",
        lr=1e-4,
        momentum=0.9,
        weight_decay=4e-4 * SCALE,
        schedule="step",
        milestones=(0.5,),
    )
    recipes = {
        "small": {
            **SMALL,
            "image_size": 64,
            "epochs": 20,
            "batch_size": 16,
            "lr": 1e-3,
            "weight_decay": 4e-4,
            "stride": 2,
            "width": 24,
            "radius": 2,
        }
    }

    @staticmethod
    def views(config: UnFlowConfig, spec: InputSpec) -> Views:
        return TwoFrames(config, spec)

    full: Tensor
    """Whether the second stage has begun."""

    def __init__(self, encoder: nn.Module, config: UnFlowConfig) -> None:
        super().__init__(encoder, config)
        if takes_clips(encoder):
            raise UsageError("unflow looks at each frame by itself: choose an encoder of images, such as resnet18")
        self.flow = SiameseFlow(encoder, self.feature_dim, config.stride, config.width, config.radius)
        self.register_buffer("full", torch.tensor(config.first_stage <= 0))

    def on_epoch_start(self, run: Run) -> None:
        self.full.fill_(run.progress.fraction >= self.config.first_stage)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``epe`` and ``epe_of_no_motion`` are in pixels of the view; ``covered`` is a share of the finest flow's."""
        first, second = batch["views"]
        theres, backs = self.flow(self.encoder, first, second)
        losses = self.losses(theres, backs, batch["frames"])
        total = torch.stack([weight * losses[name] for name, weight in self._weights().items()]).sum()
        found = {"loss": SCALE * total}
        found |= {name: losses[name].detach() for name in ("census", "smooth", "consistency")}
        found["covered"] = round_trip(theres[-1], backs[-1])[1].float().mean()
        if "flow" in batch:
            there = resize_flow(theres[-1].detach(), (first.shape[2], first.shape[3]))
            for name, flow in (("epe", there), ("epe_of_no_motion", torch.zeros_like(there))):
                error, known = endpoint_error(flow, batch["flow"])
                found[name] = error.sum() / known.sum().clamp(min=1)
        return found

    def losses(self, theres: list[Tensor], backs: list[Tensor], frames: Tensor) -> dict[str, Tensor]:
        """Each loss, summed over both directions and, by their weights, over resolutions (coarsest first)."""
        total = {name: frames.new_zeros(()) for name in ("census", "smooth", "consistency", "occlusion")}
        border = inside_border((frames.shape[3], frames.shape[4])).to(frames.device)
        finest_first = zip(LAYER_WEIGHTS, PATCH_RADII, theres[::-1], backs[::-1], strict=False)
        for weight, radius, there, back in finest_first:
            first, second = (F.interpolate(frame, there.shape[2:], mode="area") for frame in frames.unbind(1))
            mask = F.interpolate(border, there.shape[2:], mode="area")
            for name, loss in both_ways(there, back, first, second, mask, radius, self.full).items():
                total[name] = total[name] + weight * loss
        return total

    def _weights(self) -> dict[str, Tensor | float]:
        config = self.config
        second = self.full.float()
        return {
            "census": config.census,
            "smooth": config.smooth,
            "consistency": config.consistency * second,
            "occlusion": config.occlusion * second,
        }

    @torch.no_grad()
    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """Both frames, the flow as colours (hue for direction), what is covered, and the second warped to the first."""
        frames, (first, second) = batch["frames"], batch["views"]
        size = (first.shape[2], first.shape[3])
        theres, backs = self.flow(self.encoder, first, second)
        there = resize_flow(theres[-1].float(), size)
        covered = F.interpolate(round_trip(theres[-1], backs[-1])[1].float(), size)
        largest = largest_motion(batch.get("flow", there))
        true = {"true flow": flow_colors(batch["flow"], largest)} if "flow" in batch else {}
        return {
            "first frame": frames[:, 0],
            "second frame": frames[:, 1],
            **true,
            "flow": flow_colors(there, largest),
            "second, warped by it": warp(frames[:, 1], there),
            "covered": covered.expand(-1, 3, -1, -1),
        }
