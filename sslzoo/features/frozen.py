"""Frozen features: what an encoder, as it is, makes of every image of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sslzoo.config import UserError
from sslzoo.data.loader import VIEWS, Loader, eval_loader
from sslzoo.data.source import Source
from sslzoo.data.tally import UnreadableTally
from sslzoo.encoders import InputSpec, spec_of
from sslzoo.views import Sample
from sslzoo.views.clips import ClipSampling

FINAL = "final"
_GATHERED_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Features:
    """One row per readable sample, in the data set's order, float32 on the CPU.

    A clip's row is the mean over some of its frames, or of its windows for an encoder of clips.
    """

    final: Tensor
    """(N, D): the encoder's own pooled output, ``encoder(images)``, or ``encoder(clips)``."""
    index: Tensor
    """(N,) int64: the positions of these samples in the data set."""
    layers: dict[str, Tensor] = field(default_factory=dict)
    """If asked for: (N, D_l) by name from the first stage to the last, ``stage0``, ``stage1``, …, ``final``.

    A stage is one of timm's ``forward_intermediates``, averaged over space (of a transformer: over the patch tokens).
    """


def extract(
    encoder: nn.Module,
    source: Source,
    *,
    layers: bool = False,
    batch_size: int = 64,
    workers: int = 0,
    device: torch.device | str | None = None,
    accelerator: Accelerator | None = None,
    views: int = VIEWS,
    sampling: ClipSampling | None = None,
) -> Features:
    """The features of all of ``source``, in one pass in fp32, with the encoder in ``eval()`` for the time.

    Images are prepared as the encoder's own spec says. It runs on ``device``, by default where it is. With an
    ``accelerator`` of several processes each does its share, and all get the whole; all must call this together.
    ``views`` and ``sampling`` are of clips, as ``eval_loader`` has them.

    Raises:
        UserError: if there are no samples, or more than 1 % cannot be read.
    """
    if len(source) == 0:
        raise UserError(f"{source.name} has no samples to compute features of; choose another split or folder")
    spec = spec_of(encoder).input
    share = _Share(source, 0, 1)
    if accelerator is not None:
        share = _Share(source, accelerator.process_index, accelerator.num_processes)
        device = device or accelerator.device
    with frozen(encoder, device) as where:
        at_once = max(1, batch_size // max(1, spec.frames))
        batch_size = max(1, batch_size * VIEWS // (views * max(1, spec.frames)))
        forward = _forward(encoder, torch.linspace(-2, 2, _numel(spec), device=where).reshape(1, *spec.shape), layers)
        loader = eval_loader(share, spec, batch_size, workers, views=views, sampling=sampling)
        found = _forward_all(forward, share, spec, loader, where, at_once)
    if accelerator is not None and accelerator.num_processes > 1:
        found = {name: _gather(accelerator, rows) for name, rows in found.items()}
    index = found.pop("index")
    return Features(found[FINAL], index, found if layers else {})


def _forward_all(
    forward: Callable[[Tensor], dict[str, Tensor]],
    share: _Share,
    spec: InputSpec,
    loader: Loader,
    device: torch.device,
    at_once: int,
) -> dict[str, Tensor]:
    """Every output by name, each (N, D_l), and ``index``."""
    tally = UnreadableTally(share.name, len(share.source))
    rows: dict[str, list[Tensor]] = {}
    for batch in loader if len(share) else ():
        tally.add(batch.get("unreadable", ()), len(batch["index"]))
        if len(batch["index"]):
            image = batch["image"].to(device, non_blocking=True)
            found = _forward_views(forward, image, len(batch["index"]), at_once)
            for name, value in {**found, "index": batch["index"] + share.start}.items():
                rows.setdefault(name, []).append(value.cpu())
    if not rows:  # a process without samples must still know the shapes
        found = forward(torch.zeros(1, *spec.shape, device=device))
        return {name: value[:0].cpu() for name, value in {**found, "index": torch.zeros(1, dtype=torch.int64)}.items()}
    return {name: torch.cat(values) for name, values in rows.items()}


def _forward_views(
    forward: Callable[[Tensor], dict[str, Tensor]], image: Tensor, count: int, at_once: int
) -> dict[str, Tensor]:
    """The outputs for ``count`` samples: of clips, which come with several views each in a row, the means over them.

    Views go forward ``at_once``, of whichever clip: torch's convolutions take five times as long for one alone.
    """
    parts = [forward(part) for part in image.split(at_once)]
    return {name: torch.cat([part[name] for part in parts]).unflatten(0, (count, -1)).mean(1) for name in parts[0]}


def _forward(encoder: nn.Module, image: Tensor, layers: bool) -> Callable[[Tensor], dict[str, Tensor]]:
    """The function from images to outputs by name; ``image`` (1, C, H, W) is there to try it on.

    Timm's ``forward_head`` after ``forward_intermediates`` makes one pass of two. An encoder for which that is not
    ``encoder(images)`` to the bit makes two, and one that does not tell its stages has none.
    """

    def final(images: Tensor) -> dict[str, Tensor]:
        return {FINAL: encoder(images).float()}

    def stages(images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        last, maps = encoder.forward_intermediates(images)  # type: ignore[operator]
        return last, {f"stage{i}": stage.float().flatten(2).mean(2) for i, stage in enumerate(maps)}

    def one_pass(images: Tensor) -> dict[str, Tensor]:
        last, pooled = stages(images)
        return {**pooled, FINAL: encoder.forward_head(last).float()}  # type: ignore[operator]

    if not layers or not hasattr(encoder, "forward_intermediates"):
        return final
    if torch.equal(one_pass(image)[FINAL], final(image)[FINAL]):
        return one_pass
    return lambda images: {**stages(images)[1], **final(images)}


@contextmanager
def frozen(encoder: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """The encoder in ``eval()`` on ``device``, without gradients or autocast; then as it was, module by module."""
    home = next(encoder.parameters()).device
    device = home if device is None else torch.device(device)
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval().to(device)
    try:
        # Not inference_mode: what a layer caches in its forward would then break the training that goes on.
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield device
    finally:
        encoder.to(home)
        for module, training in modes:
            module.training = training


class _Share(Source):
    """The samples of one process: one run of neighbours, so that shares in a row are the data set's order."""

    def __init__(self, source: Source, process: int, processes: int) -> None:
        self.source, self.name = source, source.name
        self.start = len(source) * process // processes
        self.stop = len(source) * (process + 1) // processes

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self, index: int) -> Sample:
        return self.source.read(self.start + index)

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint


def _gather(accelerator: Accelerator, rows: Tensor) -> Tensor:
    """The rows (n, ...) of all processes in a row, where n may differ; they go through the device in blocks."""
    counts = accelerator.gather(torch.tensor([len(rows)], device=accelerator.device)).tolist()
    parts: list[list[Tensor]] = [[] for _ in counts]
    for start in range(0, max(counts), _GATHERED_ROWS):
        size = min(_GATHERED_ROWS, max(counts) - start)
        block = rows.new_zeros(size, *rows.shape[1:])
        mine = rows[start : start + size]
        block[: len(mine)] = mine
        together = accelerator.gather(block.to(accelerator.device)).cpu().split(size)
        for part, theirs, count in zip(parts, together, counts, strict=True):
            part.append(theirs[: max(0, count - start)])
    return torch.cat([theirs for part in parts for theirs in part])


def _numel(spec: InputSpec) -> int:
    return math.prod(spec.shape)
