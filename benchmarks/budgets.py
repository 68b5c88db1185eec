"""What the project promises of each benchmark, and how a figure is judged by it."""

from __future__ import annotations

from typing import Any

TRAINING = {
    "simclr resnet18": {"bare": 0.9, "lightly": 1.9},
    "simclr test_resnet": {"bare": 0.75, "lightly": 3.5},
}
"""Times as many samples per second as that side, at least."""
VIEWS = {32: 8, 64: 4, 224: 3}
"""By pixels of the views: times as many samples per second as lightly, decoding excluded, at least."""
EVALUATIONS = 3
"""Times as fast as scikit-learn, at least."""
STARTUP = {"import sslzoo": 0.05, "sslzoo --help": 0.2, "sslzoo list": 0.3}
"""Seconds at most: of an import beyond the interpreter's own, of a command as its user waits."""
HUB = 1.15
"""Times as long as the same through bare libraries, at most: for save, push and pull."""
SUITE = 12
"""Minutes of all tests that are not slow, on two cores, at most."""

SMALL_SHARE = 0.05
"""Of a step: a part that takes less is not named."""


def verdict(found: float, budget: float, at_most: bool = False) -> str:
    """``met``, or by how much it is missed."""
    missed = found / budget - 1 if at_most else 1 - found / budget
    return "met" if missed <= 0 else f"missed by {missed:.0%}"


def blamed(profile: dict[str, Any]) -> str:
    """What a step's time went to, the largest part first, and what a loader that was waited for did meanwhile."""
    step = profile["step"]
    parts = sorted(profile["parts"].items(), key=lambda part: -part[1])
    named = [f"{part} {spent / step:.0%}" for part, spent in parts if spent >= SMALL_SHARE * step]
    if profile["parts"].get("wait", 0) >= SMALL_SHARE * step and profile["loader"]:
        slowest = max(profile["loader"], key=profile["loader"].__getitem__)
        named.append(f"a batch takes the loader {sum(profile['loader'].values()):.0f} ms, most of them to {slowest}")
    return ", ".join(named)
