"""Optical flow between two frames, by a decoder on frozen features of each (Sun et al., "PWC-Net: CNNs for Optical Flow
Using Pyramid, Warping, and Cost Volume", CVPR 2018)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast, final

import torch
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.data.clips import clip_with_channels
from sslzoo.data.source import Source, Unreadable
from sslzoo.data.tally import UnreadableTally
from sslzoo.encoders import feature_dim, spec_of, takes_clips
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.tuning import CLIP, WARMUP, repeatable
from sslzoo.nn.decoders import encode_maps
from sslzoo.nn.flow import FlowDecoder, endpoint_error, flow_maps, resize_flow
from sslzoo.nn.schedules import rate_factor
from sslzoo.optimizers import parameter_groups, set_rate
from sslzoo.views import Sample
from sslzoo.views.clips import ClipSampling, Window, cut, num_frames, window_for
from sslzoo.views.color import normalize, to_float
from sslzoo.views.crop import Interpolation
from sslzoo.views.dense import dense_resized_crop
from sslzoo.views.flow_colors import flow_colors, largest_motion
from sslzoo.views.keyed import Draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TWO = ClipSampling(length=2)
FIELDS = ("clip", "flow")
SHOWN = 8


@dataclass(frozen=True)
class FlowConfig:
    epochs: int = 30
    """Passes over the training split; each looks at another two frames of every clip."""
    batch_size: int = 16
    """Pairs of frames of a step."""
    lr: float = 1e-3
    """AdamW's rate; it rises over the first 5 % of the steps, then falls along a cosine."""
    weight_decay: float = 1e-4
    """AdamW's; biases are spared."""
    pairs: int = 4
    """Of frames of each test clip, evenly spaced."""
    stride: int = 4
    """Of the finest map that is looked at."""
    width: int = 64
    """Channels of the decoder's layers."""
    radius: int = 4
    """Places around each that are compared, up, down, left and right, at each resolution."""


@final
class Flow(Evaluation):
    """Where each pixel is in the next frame, by a decoder on a frozen encoder's feature and maps of both frames.

    The decoder is a small PWC-Net: from the coarsest map on it warps the second by the flow so far, takes the cosines
    of places around, and corrects the flow. It is trained on the known flow, with the distance from it at every
    resolution as the loss, on pairs of frames of which half are mirrored. Frames are resized to the encoder's input.

    ``epe`` is the mean distance from the true flow, in pixels of the frames as they are and over all pixels of the test
    pairs where it is known, and ``epe_of_no_motion`` what it is of flow 0. ``within_1px`` and ``within_3px`` are shares
    of these pixels; ``outliers`` are off by more than 3 pixels and by more than 5 % (KITTI's Fl-all; less is better).
    """

    info = EvaluationInfo(
        name="flow",
        version=1,
        metric="within_1px",
        modalities=("clip",),
        summary="Optical flow between two frames, by a decoder on the feature maps of each.",
        numbers=("epe", "epe_of_no_motion"),
    )
    Config = FlowConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Train the decoder on ``train``, score once on ``test``.

        Raises:
            UsageError: if a setting does not suit, the encoder is one of clips, or the data have no flow.
            UserError: if a loss is not finite, or too many clips cannot be read.
        """
        config: FlowConfig = self.config
        for name in ("epochs", "batch_size", "lr", "pairs", "stride", "width"):
            if not getattr(config, name) > 0:
                raise UsageError(f"{name} must be above 0, not {getattr(config, name)}")
        if takes_clips(encoder):
            raise UsageError("flow compares what is made of single frames: choose an encoder of images")
        device = next(encoder.parameters()).device
        with repeatable(device):
            model = FrozenFlow(encoder, config).to(device)
            losses = train_decoder(model, train, config)
        return scored(model.eval(), test, config, losses)

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        """Test frames, their flow, and what was found, as colours: hue for direction."""
        from sslzoo.figures import illustration_sheet

        first = next(iter(results.values())).visuals
        rows = {"first frame": first["frames"], "true flow": first["true"]}
        rows |= {f"found on {name} features": found.visuals["found"] for name, found in results.items()}
        scores = ", ".join(f"{name} {found.metrics['epe']:.2f}" for name, found in results.items())
        return {"flow": illustration_sheet(rows, "Optical flow", f"mean distance from the true flow in px: {scores}")}


class FrozenFlow(nn.Module):
    """Frames (B, 2, C, H, W) uint8 to their flow at each resolution, coarsest first; only the decoder is trained."""

    def __init__(self, encoder: nn.Module, config: FlowConfig) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False).eval()
        self.spec = spec_of(self.encoder).input
        self.maps = flow_maps(self.encoder, config.stride)
        self.decoder = FlowDecoder(feature_dim(self.encoder), self.maps, config.width, config.radius)

    def train(self, mode: bool = True) -> FrozenFlow:
        """The encoder stays in ``eval()``."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, frames: Tensor) -> list[Tensor]:
        device = next(self.encoder.parameters()).device
        seen = normalize(to_float(frames.to(device).transpose(0, 1).flatten(0, 1)), self.spec.mean, self.spec.std)
        with torch.no_grad():
            feature, maps = encode_maps(self.encoder, seen, self.maps)
        return self.decoder(feature, maps, both_ways=False)

    def pair(self, sample: Sample, window: Window) -> Sample:
        """Two frames of a sample, with as many channels as the encoder takes, and the flow between them."""
        taken = cut(sample, window, FIELDS)
        return taken | {"clip": clip_with_channels(taken["clip"], self.spec.size[0])}

    def resized(self, samples: Sequence[Sample], mirrored: Tensor) -> tuple[Tensor, Tensor]:
        """Two whole frames of each (B, 2, C, H, W) as the encoder takes them, and their flow (B, 2, H, W)."""
        boxes = torch.tensor([[0, 0, *sample["clip"].shape[2:]] for sample in samples])
        interpolation = cast(Interpolation, self.spec.interpolation)
        found = dense_resized_crop(samples, FIELDS, boxes, mirrored, self.spec.size[1:], interpolation)
        return found["clip"], found["flow"][:, 0].to(next(self.encoder.parameters()).device)


def train_decoder(model: FrozenFlow, source: Source, config: FlowConfig) -> list[float]:
    """The mean loss of each epoch.

    Raises:
        UsageError: if there is no flow.
        UserError: if a loss is not finite, or too many clips cannot be read.
    """
    groups = parameter_groups(model.decoder, config.weight_decay, {})
    optimizer = torch.optim.AdamW(groups, lr=config.lr)
    total = config.epochs * math.ceil(len(source) / config.batch_size)
    draw, step, losses = Draw.root(0).at("evaluation", "flow"), 0, []
    for epoch in range(config.epochs):
        found = []
        order = draw.at(epoch).permutation("order", len(source))[0].tolist()
        for clips in batches(source, order, config.batch_size):
            keyed = draw.at(epoch).of(torch.tensor([index for index, _ in clips]))
            pairs = [
                model.pair(clip, window_for(TWO, key, num_frames(clip)))
                for (_, clip), key in zip(clips, keyed.key.tolist(), strict=True)
            ]
            frames, truth = model.resized(pairs, keyed.bernoulli("mirrored", 0.5))
            loss = torch.stack([distance(flow, truth) for flow in model(frames)]).sum()
            if not loss.isfinite():
                raise UserError(f"the loss is {loss.item()} at step {step} of {total}; choose a lower --lr")
            set_rate(optimizer, config.lr * rate_factor(step, total, warmup_steps=WARMUP * total))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.decoder.parameters(), CLIP)
            optimizer.step()
            found.append(loss.item())
            step += 1
        losses.append(sum(found) / len(found))
    return losses


def distance(flow: Tensor, truth: Tensor) -> Tensor:
    """The mean distance of flow of any resolution from the truth, where that is known."""
    error, known = endpoint_error(resize_flow(flow, (truth.shape[2], truth.shape[3])), truth)
    return error.sum() / known.sum().clamp(min=1)


@torch.no_grad()
def scored(model: FrozenFlow, source: Source, config: FlowConfig, losses: list[float]) -> Result:
    """What was found on test pairs; as ``Flow`` says."""
    totals = torch.zeros(6, dtype=torch.float64)
    shown: list[tuple[Tensor, ...]] = []
    for clips in batches(source, range(len(source)), 1):
        ((_, clip),) = clips
        pairs = [model.pair(clip, window) for window in TWO.evenly(config.pairs, num_frames(clip))]
        frames, seen = model.resized(pairs, torch.zeros(len(pairs), dtype=torch.bool))
        finest = model(frames)[-1]
        truth = torch.stack([pair["flow"][0] for pair in pairs])
        totals += measured(resize_flow(finest, (truth.shape[2], truth.shape[3])).cpu(), truth)
        if len(shown) < SHOWN:
            largest = largest_motion(seen)
            drawn = (flow_colors(flow, largest)[0].cpu() for flow in (seen, resize_flow(finest, model.spec.size[1:])))
            shown.append((to_float(frames[0, 0]), *drawn))
    if not totals[0]:
        raise UserError(f"of no pixel of {source.name} the flow is known, so there is nothing to score by")
    means = dict(zip(("epe", "epe_of_no_motion", "within_1px", "within_3px", "outliers"), totals[1:], strict=True))
    rows = [torch.stack(row) for row in zip(*shown, strict=True)]
    return Result(
        metrics={name: (value / totals[0]).item() for name, value in means.items()},
        details={"loss": losses, "sizes": [list(shape.size) for shape in model.maps], "pixels": int(totals[0])},
        visuals=dict(zip(("frames", "true", "found"), rows, strict=True)),
    )


def measured(found: Tensor, truth: Tensor) -> Tensor:
    """(6,) float64 sums over pixels of known flow: how many, by how much ``found`` and no motion miss it, and how many
    are within 1 pixel, within 3, and outliers."""
    error, known = endpoint_error(found, truth)
    error, length = error[known].double(), truth.norm(dim=1)[known].double()
    outliers = (error > 3) & (error > 0.05 * length)
    parts = (torch.ones_like(error), error, length, error < 1, error < 3, outliers)
    return torch.stack([part.double().sum() for part in parts])


def batches(source: Source, order: Sequence[int], batch_size: int) -> Iterator[list[tuple[int, Sample]]]:
    """The readable clips of ``order`` with their positions, ``batch_size`` at a time.

    Raises:
        UsageError: if they have no flow.
        UserError: if more than 1 % cannot be read.
    """
    tally, batch = UnreadableTally(source.name, len(source)), []
    for index in order:
        try:
            sample = source.read(index)
        except Unreadable as error:
            tally.add([str(error)], 1)
            continue
        if "flow" not in sample:
            raise UsageError(f"{source.name} has no flow, which this evaluation needs; choose data that have, as world")
        batch.append((index, sample))
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch
