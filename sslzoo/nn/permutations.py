"""Permutations: all of a few things, and some of them that are easy to tell apart."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sslzoo.config import UsageError
from sslzoo.views.keyed import Draw


@lru_cache(maxsize=4)
def every_permutation(length: int) -> Tensor:
    """(length!, length) uint8 in lexicographic order: for up to nine things or so. Not to be written to."""
    count = math.factorial(length)
    flat = itertools.chain.from_iterable(itertools.permutations(range(length)))
    return torch.from_numpy(np.fromiter(flat, np.uint8, count * length).reshape(count, length))


@lru_cache(maxsize=4)
def distant_permutations(count: int, length: int) -> Tensor:
    """(count, length) int64: permutations with a large Hamming distance from one another. Not to be written to.

    Noroozi & Favaro, ECCV 2016, algorithm 1: the first is random, and each next one is, of all that are left, the one
    with the largest mean distance to those chosen. Of equals the first in a random order is taken. The set is the same
    in every run.

    Raises:
        UsageError: if there are not so many.
    """
    everything = every_permutation(length)
    if not 1 <= count <= len(everything):
        raise UsageError(f"{length} things have {len(everything)} permutations: choose 1 to {len(everything)} of them")
    shuffled = everything[Draw.root(0).permutation("distant permutations", len(everything))[0]]
    places = np.ascontiguousarray(shuffled.numpy().T)  # by place: each comparison below runs along memory
    distance = np.zeros(len(everything), np.int32)
    chosen = [0]
    while len(chosen) < count:
        for place in places:
            distance += place != place[chosen[-1]]
        distance[chosen[-1]] = np.iinfo(np.int32).min // 2  # never again
        chosen.append(int(distance.argmax()))
    return shuffled[chosen].long()
