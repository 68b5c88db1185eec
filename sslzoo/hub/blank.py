"""Building an encoder whose weights are about to be loaded: nothing is drawn, which is most of the time it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sslzoo.encoders import EncoderSpec

_DRAWING = frozenset(
    f"{name}_"
    for name in (
        *("uniform", "normal", "trunc_normal", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal"),
        *("orthogonal", "sparse", "erfinv", "random", "bernoulli", "exponential", "cauchy", "log_normal"),
    )
)


def build_blank(spec: EncoderSpec) -> nn.Module:
    """As ``spec.build()``, in ``eval()``, but parameters may hold anything until each is loaded.

    Raises:
        UsageError: as ``spec.build()`` does.
    """
    with _WithoutDrawing():
        return spec.build().eval()


class _WithoutDrawing(TorchFunctionMode):
    """Leaves out every random fill; what is computed without chance (tables, masks, gains) is as ever."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function.__name__ in _DRAWING:
            tensor: Tensor = args[0] if args else kwargs["tensor"]
            return tensor
        return function(*args, **kwargs)
