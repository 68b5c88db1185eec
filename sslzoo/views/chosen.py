"""Running a batched operation only on the samples that a draw chose."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

_PIECE_BYTES = 2**20
"""On a CPU a piece this large stays in the core's cache while an operation goes over it many times."""


def on_chosen_(images: Tensor, index: Tensor, operation: Callable[..., Tensor], *parameters: Tensor) -> None:
    """``images[index] = operation(images[index], *parameters[index])``, in place; no work for an empty index.

    ``images`` is (B, ...), ``index`` (N,) int64 without repeats, each of ``parameters`` (B, ...). ``operation`` must
    treat samples independently of one another, for it gets them in pieces; it may overwrite what it is given, and
    return that.
    """
    if len(index) == 0:
        return
    if comes_alone(images):
        for place in index.tolist():
            one = slice(place, place + 1)
            done = operation(images[one], *(parameter[one] for parameter in parameters))
            if done.data_ptr() != images[one].data_ptr():
                images[one] = done
        return
    for piece in index.split(_piece_length(images)):
        done = operation(images.index_select(0, piece), *(parameter[piece] for parameter in parameters))
        images.index_copy_(0, piece, done)


def where(chosen: Tensor) -> Tensor:
    """The index (N,) int64 of the samples ``chosen`` (B,) bool."""
    return chosen.nonzero().squeeze(1)


def comes_alone(images: Tensor) -> bool:
    """Whether each of ``images`` is a piece by itself, for its size."""
    return images.device.type == "cpu" and 2 * images[0].nbytes > _PIECE_BYTES


def _piece_length(images: Tensor) -> int:
    if images.device.type != "cpu":
        return len(images)
    return max(1, _PIECE_BYTES // max(1, images[0].nbytes))
