"""What a downloaded config.json may ask for. It is held against the weights before anything of its size is made.

An encoder cannot have more tensors, or larger ones, than the file of weights that it is loaded from: so it is first
built on torch's meta device, where nothing is allocated, and no further than that.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from sslzoo.config import UserError

MOST_PIXELS = 2**23
"""Of channels, height and width together: the fingerprint is computed on two such images."""
MOST_OF_CLIP = 2**24
"""The same of a clip, and of its frames: 64 of 256 px, as the longest that video nets are trained with."""
MOST_NUMBER = 2**15
MOST_ITEMS = 64
MOST_LETTERS = 256
DEEPEST = 3
"""Of lists and objects in each other."""
TABLES = 2**27
"""Numbers that an encoder may compute for itself and does not save, such as masks and position tables."""
PARTS = 1000
"""Modules and tensors that an encoder may have beyond ten for each tensor of its file."""


def too_large(value: Any, depth: int = 0) -> str | None:
    """What in an argument of ``timm.create_model`` no encoder can mean; None if it is sound."""
    if isinstance(value, (dict, list)):
        if depth == DEEPEST or len(value) > MOST_ITEMS:
            return f"lists of more than {MOST_ITEMS} items, or more than {DEEPEST} in each other"
        items = [*value.values(), *value] if isinstance(value, dict) else value
        return next((found for item in items if (found := too_large(item, depth + 1))), None)
    if isinstance(value, str) and len(value) > MOST_LETTERS:
        return f"a text of {len(value)} letters"
    if isinstance(value, (int, float)) and not abs(value) <= MOST_NUMBER:
        return f"the number {value:.4g}" if abs(value) < 1e300 else "a number without end"  # nan too
    return None


@contextmanager
def on_meta(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[None]:
    """Inside, modules are built without memory, and not beyond what a file with these tensors can fill.

    Raises:
        UserError: in place of any error that comes of going beyond.
    """
    count = _Count(len(shapes), sum(map(math.prod, shapes.values())))
    with ExitStack() as stack:
        stack.enter_context(torch.device("meta"))
        for register, seen in (
            (register_module_parameter_registration_hook, count.tensor),
            (register_module_buffer_registration_hook, count.tensor),
            (register_module_module_registration_hook, count.part),
        ):
            stack.callback(register(seen).remove)
        try:
            yield
        except UserError as error:
            if count.exceeded:
                raise UserError(count.exceeded) from error
            raise


class _Count:
    """What was built so far in this thread."""

    def __init__(self, tensors: int, numbers: int) -> None:
        self.parts, self.numbers = 10 * tensors + PARTS, 2 * numbers + TABLES
        self.exceeded = ""
        self._thread = threading.get_ident()

    def part(self, *_: object) -> None:
        if threading.get_ident() == self._thread:
            self.parts -= 1
            self._check()

    def tensor(self, module: nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        if threading.get_ident() == self._thread and tensor is not None:
            self.parts -= 1
            self.numbers -= tensor.numel()
            self._check()

    def _check(self) -> None:
        if self.parts < 0 or self.numbers < 0:
            self.exceeded = "asks for an encoder far larger than the file of its weights; do not trust it"
            raise ValueError(self.exceeded)
