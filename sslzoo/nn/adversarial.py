"""Two players, one loss, one optimizer: each player's gradient kept out of the other."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def frozen_call(module: nn.Module, *inputs: Tensor) -> Any:
    """``module(*inputs)`` with gradient to the inputs but none to the module's parameters.

    For the generator's loss: ``frozen_call(discriminator, generator(z))`` moves the generator only, while
    ``discriminator(generator(z).detach())`` moves the discriminator only, so the sum of both losses gives each player
    its own gradient in one backward pass. Buffers (batch statistics) are left as they were.
    """
    state = {name: parameter.detach() for name, parameter in module.named_parameters()}
    state |= {name: buffer.clone() for name, buffer in module.named_buffers()}
    return functional_call(module, state, inputs)
