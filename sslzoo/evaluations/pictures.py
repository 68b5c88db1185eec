"""A few pictures of a data set: which ones, and how an encoder and how people see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sslzoo.config import UsageError, UserError
from sslzoo.data.loader import Prepare
from sslzoo.data.samples import InOrder
from sslzoo.data.source import Source
from sslzoo.encoders import InputSpec
from sslzoo.views.color import denormalize
from sslzoo.views.keyed import Draw


@dataclass(frozen=True, eq=False)
class Pictures:
    """Readable samples, cut as evaluation cuts them."""

    image: Tensor
    """(N, C, H, W) normalised, as an encoder takes them; (N, C, T, H, W) if it takes clips."""
    shown: Tensor
    """(N, 3, H, W) in [0, 1], for people; (N, 1, H, W) for a number of channels that is no colour."""
    index: Tensor
    """(N,) positions in the data set."""


def known_labels(source: Source) -> Tensor | None:
    """(N,) labels; None if there are none, they are kept secret, or a sample may have several."""
    try:
        labels = source.labels()
    except UsageError:
        return None
    return labels if labels.ndim == 1 and len(labels) and bool((labels >= 0).all()) else None


def class_name(source: Source, label: int) -> str:
    """The name of a label; its number if it has none."""
    return source.class_names[label] if label < len(source.class_names) else str(label)


def by_turns(index: Tensor, labels: Tensor | None) -> Tensor:
    """The rows of ``index`` (N,) in an order that goes through the classes in turn, at random but always the same.

    ``index`` are positions in the data set, which decide the drawing; ``labels`` (N,) are theirs.
    """
    draw = Draw.root(0).at("evaluation", "pictures")
    order = draw.of(index).bits("order").argsort(stable=True)
    if labels is None:
        return order
    drawn = labels[order]
    turn = torch.zeros_like(drawn)
    for label in drawn.unique():
        members = drawn == label
        turn[members] = torch.arange(int(members.sum()))
    among = draw.at("class").of(drawn).bits("order").argsort(stable=True)
    return order[among[turn[among].argsort(stable=True)]]


def read_pictures(source: Source, order: Sequence[int], count: int, spec: InputSpec) -> Pictures:
    """The first ``count`` readable samples of ``source`` in an ``order`` of positions.

    Raises:
        UserError: if none can be read, or they cannot have the channels that ``spec`` wants.
    """
    reader, prepare = InOrder(source, spec), Prepare(spec)
    found, reason = [], "it is empty"
    for position in order:
        batch = prepare(reader.__getitems__([position]))
        if "error" in batch:
            raise batch["error"]
        if len(batch["index"]):
            found.append(batch)
        else:
            reason = batch["unreadable"][0]
        if len(found) == count:
            break
    if not found:
        raise UserError(f"no sample of {source.name} can be read: {reason}; choose another split, or repair it")
    image = torch.cat([batch["image"] for batch in found])
    return Pictures(image, _shown(image, spec), torch.cat([batch["index"] for batch in found]))


def _shown(image: Tensor, spec: InputSpec) -> Tensor:
    """As people see it, of a clip the middle: RGB of RGB or RGBA, and else the mean of the channels in grey."""
    pixels = denormalize(image[:, :, spec.frames // 2] if spec.frames else image, spec.mean, spec.std)
    return pixels[:, :3] if spec.size[0] in (3, 4) else pixels.mean(1, keepdim=True)
