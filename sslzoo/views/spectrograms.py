"""Sounds as pictures: the logarithm of the energy by band and time."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sslzoo.views.color import normalize

if TYPE_CHECKING:
    from sslzoo.encoders import InputSpec

SOUND_RATE = 16_000
"""Numbers per second of all sounds."""
HOP = 160
"""Numbers from one tick of a spectrogram to the next."""
WINDOW = 400
"""Numbers that a tick is of."""
LOWEST, HIGHEST = 125.0, 7500.0
"""Hertz: ends of the mel bands."""
OFFSET = 0.01
"""Added before the logarithm is taken."""
LOUD = 4.0
"""Standard deviations over the mean: white in pictures."""


def log_mel(
    sound: Tensor,
    bands: int = 64,
    window: int = WINDOW,
    hop: int = HOP,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    offset: float = OFFSET,
) -> Tensor:
    """(B, 1, bands, 1 + N // hop) float32 of sounds (B, N) at ``SOUND_RATE``: low bands first, time to the right.

    log(mel + ``offset``) of the magnitudes in periodic Hann windows of 25 ms, one each 10 ms and the first centred on
    the first number, with silence around the sound. Defaults are those of Hershey et al., "CNN Architectures for
    Large-Scale Audio Classification", ICASSP 2017, in the authors' code (VGGish).
    """
    fft = 2 ** math.ceil(math.log2(window))
    hann = torch.hann_window(window, device=sound.device)
    spectrum = torch.stft(
        sound.float(), fft, hop, window, hann, center=True, pad_mode="constant", return_complex=True
    ).abs()
    mel = mel_matrix(bands, fft, lowest, highest).to(sound.device) @ spectrum
    return (mel + offset).log()[:, None]


def length_heard(spec: InputSpec) -> int:
    """Numbers of the sounds that an encoder takes, whose spectrograms are of the size that its ``spec`` says."""
    return (spec.size[2] - 1) * HOP


def spectrogram(sound: Tensor, spec: InputSpec) -> Tensor:
    """(B, 1, F, T) as an encoder takes it, of sounds (B, ``length_heard(spec)``)."""
    return normalize(log_mel(sound, bands=spec.size[1]), spec.mean, spec.std, inplace=True)


def as_pictures(spectrograms: Tensor, spec: InputSpec) -> Tensor:
    """Spectrograms (B, 1, F, T) of ``spectrogram`` as pictures (B, 3, F, T) in [0, 1]: low bands below, white is loud.

    Black is silence.
    """
    silence = normalize(log_mel(spectrograms.new_zeros(1, 1)), spec.mean, spec.std).min()
    return ((spectrograms - silence) / (LOUD - silence)).clamp(0, 1).flip(2).expand(-1, 3, -1, -1)


@lru_cache(maxsize=8)
def mel_matrix(bands: int, fft: int, lowest: float, highest: float) -> Tensor:
    """(bands, fft // 2 + 1) float32: triangles on the mel scale, each from its neighbours' centres, with a peak of 1.

    Mel is O'Shaughnessy's, 1127 ln(1 + f / 700), in which the centres are equally far apart.
    """
    frequency = torch.linspace(0, SOUND_RATE / 2, fft // 2 + 1, dtype=torch.float64)
    first, last = _mel(torch.tensor([lowest, highest])).tolist()
    corners = torch.linspace(first, last, bands + 2, dtype=torch.float64)
    width = corners[1] - corners[0]
    distance = (_mel(frequency) - corners[1:-1, None]).abs() / width
    return (1 - distance).clamp(min=0).float()


def _mel(frequency: Tensor) -> Tensor:
    return 1127 * torch.log1p(frequency.double() / 700)
