"""Clips with sound for the tests of methods that see and hear."""

from __future__ import annotations

from typing import Any

import torch
from clip_samples import noisy_clip, spec_for
from torch import Tensor
from view_samples import draw_of

from sslzoo.method import Batch, PretextMethod, Sample, Views
from sslzoo.views.clips import cut, window_for
from sslzoo.views.spectrograms import SOUND_RATE

FPS = 8.0


def counting_sound(frames: int, fps: float = FPS) -> Tensor:
    """A sound that tells its time: number n of it is n / 16000 / 100, so that it is below 1."""
    return torch.arange(round(frames / fps * SOUND_RATE)) / SOUND_RATE / 100


def tone(seconds: float, frequency: float, loudness: float = 0.3) -> Tensor:
    time = torch.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    return loudness * torch.sin(2 * torch.pi * frequency * time)


def samples_of(count: int, channels: int = 3, frames: int = 24) -> list[Sample]:
    keys = draw_of(count).key.tolist()
    return [
        {
            "clip": noisy_clip(frames, 40 + i, 50, channels, seed=i),
            "sound": tone(frames / FPS, 200 * (i + 1)),
            "fps": FPS,
            "index": i,
            "key": key,
        }
        for i, key in enumerate(keys)
    ]


def windows(views: Views, samples: list[Sample]) -> list[Sample]:
    """The samples with the frames that the views ask for, as the data layer gives them."""
    assert views.sampling is not None
    return [
        cut(sample, window_for(views.sampling, sample["key"], len(sample["clip"]), sample["fps"])) for sample in samples
    ]


def batch_of(method: type[PretextMethod], config: Any, encoder: str, count: int = 4) -> Batch:
    views = method.views(config, spec_for(encoder))
    return views(windows(views, samples_of(count)))


def check_views_depend_on_clip_and_key_alone(method: type[PretextMethod], config: Any, encoder: str) -> None:
    """Not on index, batch-mates or global random numbers, which they leave alone."""
    views = method.views(config, spec_for(encoder))
    samples = windows(views, samples_of(3))
    state = torch.get_rng_state()
    together = views([dict(sample) for sample in samples])
    assert torch.equal(torch.get_rng_state(), state)
    alone = [views([sample | {"index": 9}]) for sample in samples]
    for name in together.keys() - {"index"}:
        parts = [_tensor(batch[name]) for batch in alone]
        torch.testing.assert_close(_tensor(together[name]), torch.cat(parts), msg=name)
    other = views([samples[0] | {"key": 5}])
    assert not torch.equal(_tensor(other["views"]), _tensor(together["views"])[:1])


def _tensor(value: Tensor | list[Tensor]) -> Tensor:
    return torch.stack(value, dim=1) if isinstance(value, list) else value
