"""What differs between two encoders, or two descriptions of one, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from sslzoo.hub.weights import few


def differing_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Which tensors of a state dict are not as expected; nothing if all are, bit for bit."""
    return "; ".join(_differing_tensors(found, expected))


def _differing_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[str]:
    if missing := sorted(expected.keys() - found.keys()):
        yield f"it lacks {few(missing)}"
    if more := sorted(found.keys() - expected.keys()):
        yield f"it also has {few(more)}"
    shared = [name for name in expected if name in found]
    if reshaped := [name for name in shared if found[name].shape != expected[name].shape]:
        yield f"of another shape: {few(reshaped)}"
    changed = [
        f"{name} by up to {_farthest(found[name], expected[name]):.1e}"
        for name in shared
        if name not in reshaped and not found[name].equal(expected[name])
    ]
    if changed:
        yield f"{len(changed)} of {len(expected)} tensors differ: {few(changed)}"


def _farthest(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).abs().max())


def differing_keys(found: Mapping[str, Any], expected: Mapping[str, Any], prefix: str = "") -> str:
    """Which of the expected keys have another value, as far as JSON can tell (tuples are lists); nothing if none."""
    ours, theirs = (json.loads(json.dumps(dict(values))) for values in (expected, found))
    return "; ".join(
        f"{prefix}{key} is {theirs.get(key)!r} instead of {value!r}"
        for key, value in ours.items()
        if theirs.get(key) != value
    )
