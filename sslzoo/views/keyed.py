"""Random numbers that are functions of a key, not of a state.

Every sample of every epoch has a 64-bit key made from (run seed, epoch, sample index). Whatever a view draws is a
function of that key, the view and the purpose, so worker count, process count and resuming change nothing, and CPU and
GPU draw the same integers. The generator is SplitMix64 (Steele, Lea & Flood, OOPSLA 2014) in wrapping 64-bit integer
arithmetic, for a whole batch in one tensor operation.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import torch
from torch import Tensor

Purpose = int | str


def _signed(number: int) -> int:
    """The 64-bit two's complement reading of ``number``."""
    return (number + 2**63) % 2**64 - 2**63


_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _xor_shift(x: Tensor, bits: int) -> Tensor:
    """``x ^ (x >>> bits)``: torch shifts in the sign, so it is masked away."""
    return x ^ ((x >> bits) & ((1 << (64 - bits)) - 1))


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser: a bijection of 64-bit integers that leaves no visible structure."""
    x = _xor_shift(x, 30) * _MIX_1
    x = _xor_shift(x, 27) * _MIX_2
    return _xor_shift(x, 31)


@lru_cache(maxsize=4096)
def _token(purpose: Purpose) -> int:
    """A 64-bit number for a purpose; strings and integers cannot meet by accident."""
    digest = hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class Draw:
    """Random numbers for a batch, each a pure function of its sample's key and a purpose.

    The same purpose gives the same numbers again, so every draw names its own::

        draw = Draw(batch["key"]).at("view", 1)
        flip = draw.bernoulli("flip", 0.5)              # (B,) bool
        box = draw.uniform("box", shape=(4,))           # (B, 4) in [0, 1)
    """

    def __init__(self, key: Tensor) -> None:
        """``key`` is (B,) int64."""
        self.key = key

    @classmethod
    def root(cls, seed: int) -> Draw:
        """One key for a run, to branch from."""
        return cls(torch.tensor([_token(seed)]))

    def at(self, *purposes: Purpose) -> Draw:
        """The draws of a branch, such as ``at("view", 1)``; independent of every other branch."""
        key = self.key
        for purpose in purposes:
            key = _mix(key ^ _token(purpose))
        return Draw(key)

    def of(self, index: Tensor) -> Draw:
        """One branch per integer of ``index`` (B,): the keys of samples."""
        return Draw(_mix(_mix(self.key + _GAMMA) ^ _mix(index.to(torch.int64) + _GAMMA)))

    def bits(self, purpose: Purpose, shape: tuple[int, ...] = ()) -> Tensor:
        """(B, *shape) int64, all 64 bits random."""
        count = math.prod(shape)
        key = self.at(purpose).key
        counter = torch.arange(1, count + 1, device=key.device, dtype=torch.int64)
        return _mix(key[:, None] + counter * _GAMMA).reshape(len(key), *shape)

    def uniform(self, purpose: Purpose, low: float = 0.0, high: float = 1.0, shape: tuple[int, ...] = ()) -> Tensor:
        """(B, *shape) float32, uniform in [low, high)."""
        unit = ((self.bits(purpose, shape) >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24
        return low + (high - low) * unit

    def bernoulli(self, purpose: Purpose, p: float, shape: tuple[int, ...] = ()) -> Tensor:
        """(B, *shape) bool, True with probability ``p``."""
        return self.uniform(purpose, shape=shape) < p

    def integers(self, purpose: Purpose, high: int, shape: tuple[int, ...] = ()) -> Tensor:
        """(B, *shape) int64, uniform in 0 .. high - 1 (``high`` at most 2**31)."""
        return (((self.bits(purpose, shape) >> 32) & 0xFFFFFFFF) * high) >> 32

    def normal(self, purpose: Purpose, shape: tuple[int, ...] = ()) -> Tensor:
        """(B, *shape) float32, standard normal (Box & Muller)."""
        pair = self.uniform(purpose, shape=(2, *shape))
        radius = (-2 * torch.log1p(-pair[:, 0])).sqrt()
        return radius * torch.cos(2 * math.pi * pair[:, 1])

    def permutation(self, purpose: Purpose, length: int) -> Tensor:
        """(B, length) int64: a random order of 0 .. length - 1 per sample."""
        return self.bits(purpose, (length,)).argsort(dim=1, stable=True)
