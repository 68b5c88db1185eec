"""What blows sound like: each lets the modes of both things ring, whose pitch and decay tell material and size.

Modal synthesis, as in van den Doel, Kry and Pai, "FoleyAutomatic", SIGGRAPH 2001: damped sines, louder with the
impulse, and a click of noise. Rolling and sliding are silent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sslzoo.datasets.world.physics import Hit, Solid

Array = NDArray[np.floating]

RATE = 16_000
"""``sslzoo.views.spectrograms.SOUND_RATE``, which would bring torch along."""
SECONDS = 0.7
"""After which a mode is cut off."""
_REFERENCE = 0.3
"""Metres: the size at which materials have their pitch."""
_HUSH = 2e-3
"""Of the noise that is always there."""
_LOUD = 0.15
"""Amplitude of a blow of one newton second."""


def synthesise(rng: np.random.Generator, solids: Sequence[Solid], hits: Sequence[Hit], seconds: float) -> Array:
    """(N,) float32 in [-1, 1] at ``RATE``, ``seconds`` long."""
    length = round(seconds * RATE)
    sound = rng.normal(0, _HUSH, length + round(SECONDS * RATE))
    voices = [_voice(rng, solid.material.pitch * _REFERENCE / solid.mesh.size, solid) for solid in solids]
    floor = _thud(rng)
    for hit in hits:
        strength = _LOUD * hit.impulse**0.4
        start = round(hit.seconds * RATE)
        for number, share in ((hit.first, 1.0), (hit.second, 1.0)):
            if number == -2:
                continue
            ringing = floor if number < 0 else voices[number]
            gain = strength * share * (0.25 if number < 0 else rng.uniform(0.8, 1.2))
            sound[start : start + len(ringing)] += gain * ringing
    return np.tanh(sound[:length]).astype(np.float32)


def _voice(rng: np.random.Generator, pitch: float, solid: Solid) -> Array:
    """(n,): how a thing answers to a blow of strength 1."""
    material = solid.material
    time = np.arange(round(SECONDS * RATE)) / RATE
    frequency = pitch * np.array(material.modes) * rng.normal(1, 0.02, len(material.modes))
    decay = material.damping[0] + material.damping[1] * frequency
    loudness = rng.uniform(0.3, 1, len(frequency)) / np.arange(1, len(frequency) + 1) ** 0.5
    loudness[frequency > 0.45 * RATE] = 0
    rung = loudness[:, None] * np.exp(-decay[:, None] * time) * np.sin(2 * np.pi * frequency[:, None] * time)
    return rung.sum(0) + material.click * rng.normal(0, 0.5, len(time)) * np.exp(-400 * time)


def _thud(rng: np.random.Generator) -> Array:
    """(n,): the floor's answer."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    return np.exp(-rng.uniform(40, 90) * time) * np.sin(2 * np.pi * rng.uniform(60, 140) * time)
