"""Log-mel spectrograms against another library's and cases solved by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, window_function
from transformers.audio_utils import spectrogram as by_transformers

from sslzoo.encoders import sound_spec
from sslzoo.views.spectrograms import SOUND_RATE, as_pictures, length_heard, log_mel, mel_matrix, spectrogram


def tone(frequency: float, seconds: float = 0.5) -> torch.Tensor:
    return torch.sin(2 * math.pi * frequency * torch.arange(int(seconds * SOUND_RATE)) / SOUND_RATE)


def test_it_is_what_transformers_computes_in_numpy() -> None:
    sound = torch.rand(2, 8000, generator=torch.Generator().manual_seed(0)) - 0.5
    filters = mel_filter_bank(257, 64, 125, 7500, SOUND_RATE, mel_scale="htk", triangularize_in_mel_space=True)
    for number, picture in enumerate(log_mel(sound)):
        mel = by_transformers(
            sound[number].numpy(),
            window_function(400, "hann"),
            frame_length=400,
            hop_length=160,
            fft_length=512,
            power=1.0,
            pad_mode="constant",
            mel_filters=filters,
            mel_floor=0.0,
        )
        frames = min(mel.shape[1], picture.shape[2])
        assert frames >= 50
        assert np.abs(np.log(mel + 0.01)[:, :frames] - picture[0, :, :frames].numpy()).max() < 2e-3


def test_a_tone_lights_up_the_band_whose_centre_it_is() -> None:
    low, high = (1127 * math.log1p(edge / 700) for edge in (125, 7500))
    for band in (5, 30, 60):
        centre = 700 * math.expm1((low + (band + 1) * (high - low) / 65) / 1127)
        picture = log_mel(tone(centre)[None])
        assert picture.shape == (1, 1, 64, 51)
        assert picture[0, 0, :, 25].argmax() == band


def test_silence_is_the_logarithm_of_the_offset() -> None:
    assert torch.equal(log_mel(torch.zeros(1, 100)), torch.full((1, 1, 64, 1), 0.01).log())


def test_neighbouring_triangles_sum_to_one_between_the_first_and_the_last_centre() -> None:
    matrix = mel_matrix(10, 2048, 125.0, 7500.0)
    first, last = matrix[0].argmax() + 1, matrix[-1].argmax()
    assert matrix.sum(0)[first:last].tolist() == pytest.approx([1] * int(last - first), abs=1e-5)


def test_an_encoder_of_sounds_takes_them_normalised_and_as_long_as_it_says() -> None:
    spec = sound_spec(0.5)
    sound = tone(1000)
    assert len(sound) == length_heard(spec)
    taken = spectrogram(sound[None], spec)
    assert taken.shape == (1, *spec.size)
    torch.testing.assert_close(taken * spec.std[0] + spec.mean[0], log_mel(sound[None]))


def test_in_pictures_silence_is_black_and_low_tones_are_below_high_ones() -> None:
    spec = sound_spec(0.5)
    silent, low, high = as_pictures(spectrogram(torch.stack([0 * tone(1), tone(300), tone(3000)]), spec), spec)
    assert silent.shape == (3, 64, 51) and silent.max() < 1e-6
    assert low[0].mean(1).argmax() > high[0].mean(1).argmax() + 20
    assert torch.equal(low[0], low[2]) and low.max() <= 1
