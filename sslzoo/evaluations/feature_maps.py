"""Where an encoder looks: activation maps of convnets, self-attention of transformers.

Activation-based attention is that of Zagoruyko & Komodakis, Paying More Attention to Attention, ICLR 2017, section 3.1,
as drawn of RotNet by Gidaris et al., Unsupervised Representation Learning by Predicting Image Rotations, ICLR 2018,
Fig. 3; self-attention of the last block as drawn by Caron et al., Emerging Properties in Self-Supervised Vision
Transformers, ICCV 2021, Fig. 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sslzoo.config import UsageError, UserError
from sslzoo.data.source import Source
from sslzoo.encoders import spec_of
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.canvas import Canvas
from sslzoo.evaluations.pictures import by_turns, known_labels, read_pictures
from sslzoo.features.frozen import frozen
from sslzoo.figures import GAP, LINE, MARGIN, WIDTH

_MOST = 6
"""Maps of an image that are drawn: stages, or heads."""
_SIDE, _GAP = 136, 4
_OPACITY = 0.65
_LABEL = 76


@dataclass(frozen=True)
class FeatureMapsConfig:
    images: int = 4
    """How many are drawn, of as many classes as there are."""
    power: float = 2.0
    """p of the sum over channels of |activation|^p: a larger one shows the strongest places only. RotNet's figure takes
    1, 2 and 4 from the first stage to the last."""


@final
class FeatureMaps(Evaluation):
    """Where in an image the encoder is active, or attends.

    Of an encoder whose last block attends from one token to all, each head's attention is drawn: from the class token
    where features are taken from it, and else averaged over the patches, as features are. It is computed from the
    queries and keys that the block gives to torch, with the scale, the positions and the mask it gives with them.

    Of any other, the map of a stage of ``forward_intermediates`` is the sum over channels of |activation|^p; so also
    of transformers whose attention cannot be seen (windows; attention that is not torch's).

    Each map is scaled to [0, 1] by its own least and largest value, and enlarged bilinearly. At most six are drawn: the
    mean over all heads and the first five, or stages spread over the depth.
    """

    info = EvaluationInfo(
        name="feature_maps",
        version=1,
        metric="",
        modalities=("image",),
        summary="Where the encoder is active in each stage, or where each head of its last block attends.",
        fits=False,
    )
    Config = FeatureMapsConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Take maps of a few images of ``test``.

        Raises:
            UsageError: if the settings do not suit, or the encoder has no spatial maps.
            UserError: if no image can be read, or maps are not finite.
        """
        if self.config.images < 1 or self.config.power <= 0:
            raise UsageError(
                f"there must be an image and a power above 0, not images={self.config.images} and "
                f"power={self.config.power}"
            )
        spec, device = spec_of(encoder).input, next(encoder.parameters()).device
        pictures = read_pictures(
            test, by_turns(torch.arange(len(test)), known_labels(test)).tolist(), self.config.images, spec
        )
        with frozen(encoder, device):
            kind, maps = maps_of(encoder, pictures.image.to(device), self.config.power)
        for name, values in maps.items():
            if not values.isfinite().all():
                raise UserError(
                    f"{name} of {test.name} is not finite, so the encoder has diverged; draw an earlier one"
                )
        return Result(
            metrics={},
            details={"maps": kind, "shapes": {name: list(values.shape[1:]) for name, values in maps.items()}},
            visuals={"shown": pictures.shown, "maps": {name: scaled(values.cpu()) for name, values in maps.items()}},
        )

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        """Beside each image, in a row for each encoder, its maps laid over it."""
        first = results["trained"]
        shown, maps, rows = first.visuals["shown"], first.visuals["maps"], len(results)
        side = min(_SIDE, (WIDTH - 2 * MARGIN - _LABEL - len(maps) * GAP) // (len(maps) + rows))
        large = rows * side + (rows - 1) * _GAP
        top, block = Canvas.TOP + LINE + 6, large + 2 * GAP
        caption = f"{first.details['maps']}; each map from its own least (dark) to its most (yellow)"
        canvas = Canvas(WIDTH, top + len(shown) * block + MARGIN - 2 * GAP, "Where the encoder looks", caption)
        columns = [MARGIN + large + _LABEL + number * (side + GAP) for number in range(len(maps))]
        for left, (name, values) in zip(columns, maps.items(), strict=True):
            canvas.text(name, left + side / 2, top - 16, ha="center", va="bottom")
            size = f"{values.shape[1]} × {values.shape[2]}"
            canvas.text(size, left + side / 2, top - 4, size=7.5, ha="center", va="bottom")
        for number, image in enumerate(shown):
            canvas.picture(image, MARGIN, top + number * block, large, large)
            for row, (name, result) in enumerate(results.items()):
                low = top + number * block + row * (side + _GAP)
                canvas.text(name, MARGIN + large + _LABEL - GAP, low + side / 2, ha="right", va="center")
                for left, values in zip(columns, result.visuals["maps"].values(), strict=True):
                    canvas.picture(overlaid(image, values[number]), left, low, side, side)
        return {"feature_maps": canvas.figure}


def maps_of(encoder: nn.Module, images: Tensor, power: float) -> tuple[str, dict[str, Tensor]]:
    """What kind of maps an encoder has, and maps (B, h, w) by name.

    Raises:
        UsageError: if it has none.
    """
    if not hasattr(encoder, "forward_intermediates"):
        raise UsageError(
            f"{spec_of(encoder).architecture} does not tell its stages (timm's forward_intermediates), so there are "
            f"no maps to draw; choose another encoder"
        )
    with _Attending() as attending:
        _, stages = encoder.forward_intermediates(images)  # type: ignore[operator]
    spatial = {f"stage{number}": stage for number, stage in enumerate(stages) if stage.ndim == 4}
    if not spatial:
        raise UsageError(f"the stages of {spec_of(encoder).architecture} are no maps; choose another encoder")
    grid, prefix = stages[-1].shape[2:], getattr(encoder, "num_prefix_tokens", None) or 0
    weights = attending.last(len(images), prefix + grid.numel())
    if weights is None:
        step = math.ceil(len(spatial) / _MOST)
        kind = f"sum over channels of |activation|^{power:g}, by stage"
        return kind, {name: spatial[name].abs().pow(power).sum(1) for name in list(spatial)[::-step][::-1]}
    return _by_head(weights, prefix, grid, from_class_token=getattr(encoder, "global_pool", "") == "token")


def _by_head(weights: Tensor, prefix: int, grid: torch.Size, from_class_token: bool) -> tuple[str, dict[str, Tensor]]:
    """Maps of the attention (B, heads, queries, keys), where the first ``prefix`` tokens have no place in the grid."""
    if weights.shape[2] == 1 or (from_class_token and prefix):
        source, row = "the class token", weights[:, :, 0]
    else:
        source, row = "the patches, averaged", weights[:, :, prefix:].mean(2)
    maps = row[:, :, prefix:].unflatten(2, grid)
    heads = {f"head {head}": maps[:, head] for head in range(min(maps.shape[1], _MOST - 1))}
    return f"self-attention of the last block, from {source}", {"all heads": maps.mean(1), **heads}


class _Attending(TorchFunctionMode):
    """Sees what is given to torch's attention, and changes nothing: so no model needs to be taken apart."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
            self.calls.append(dict(zip(names, args, strict=False)) | (kwargs or {}))
        return func(*args, **(kwargs or {}))

    def last(self, images: int, tokens: int) -> Tensor | None:
        """(B, heads, queries, tokens) weights of the last attention to all tokens; None if there was none."""
        wanted = [call for call in self.calls if (len(call["key"]), call["key"].shape[-2]) == (images, tokens)]
        return attention_weights(**wanted[-1]) if wanted and wanted[-1]["query"].ndim == 4 else None


def attention_weights(query: Tensor, key: Tensor, attn_mask: Tensor | None = None, **rest: Any) -> Tensor:
    """(B, heads, queries, keys): the weights by which ``scaled_dot_product_attention`` averages values."""
    rest["value"] = torch.eye(key.shape[-2], dtype=key.dtype, device=key.device).expand(*key.shape[:-1], -1)
    return F.scaled_dot_product_attention(query, key, attn_mask=attn_mask, **rest)


def scaled(maps: Tensor) -> Tensor:
    """(N, h, w) each to [0, 1] by its own least and largest value; zero where they are the same."""
    least, most = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - least) / (most - least).clamp(min=1e-12)


def overlaid(image: Tensor, values: Tensor) -> Tensor:
    """A map (h, w) in colours over an image (1 or 3, H, W) in grey: (3, H, W)."""
    large = F.interpolate(values[None, None], size=image.shape[1:], mode="bilinear", antialias=False)[0, 0]
    colours = torch.from_numpy(colormaps["inferno"](large.clamp(0, 1).numpy())[:, :, :3]).permute(2, 0, 1).float()
    return _OPACITY * colours + (1 - _OPACITY) * image.mean(0, keepdim=True)
