"""Two players, one loss, one optimizer: each player's gradient kept out of the other."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from sslzoo.nn.precision import in_float32


def frozen_call(module: nn.Module, *inputs: Tensor) -> Any:
    """``module(*inputs)`` with gradient to the inputs but none to the module's parameters.

    For the generator's loss: ``frozen_call(discriminator, generator(z))`` moves the generator only, while
    ``discriminator(generator(z).detach())`` moves the discriminator only, so the sum of both losses gives each player
    its own gradient in one backward pass. Buffers (batch statistics) are left as they were.
    """
    state = {name: parameter.detach() for name, parameter in module.named_parameters()}
    state |= _copied_buffers(module)
    return functional_call(module, state, inputs)


def call_aside(module: nn.Module, *inputs: Tensor) -> Any:
    """``module(*inputs)`` with all gradients, but buffers (batch statistics) are left as they were.

    For inputs that the module learns from but will not be used on, such as generated pictures.
    """
    return functional_call(module, _copied_buffers(module), inputs)


@in_float32
def judged(logits: Tensor, real: bool) -> Tensor:
    """The cross-entropy of a discriminator's logits and "real", or "not real", as a mean over all.

    With D the sigmoid of the logits, it is -log D or -log (1 - D) (Goodfellow et al., NeurIPS 2014, equation 1). For
    the player that deceives, say of fakes that they are real: unlike the discriminator's own loss with its sign turned,
    that does not go flat where the discriminator is sure.
    """
    return F.softplus(-logits if real else logits).mean()


def _copied_buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}
