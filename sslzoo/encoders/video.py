"""Torchvision's 3D nets with timm's interface, in timm's registry: ``timm.create_model("r3d_18", num_classes=0)``.

Clips (B, C, T, H, W) in, features (B, D) out; maps are (B, C', T', H', W'). Any number of frames goes in: ``frames``
only says how many an encoder is meant for, as ``input_size`` does of pixels. Timm's ``pretrained_cfg`` has no place for
it, so it is an argument of the model.

- ``r3d_18``, ``mc3_18``, ``r2plus1d_18``: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action
  Recognition", CVPR 2018.
- ``s3d``: Xie et al., "Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video Classification",
  ECCV 2018. Maps are averaged over all places, where torchvision averages over windows of 2 x 7 x 7 places and then
  over the windows: the same for 16 frames of 224 px, and it needs no more.
- ``test_r3d``: for tests, as timm's ``test_resnet``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch.nn.functional as F
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torchvision.models import video
from torchvision.models.video.resnet import BasicBlock, Conv3DSimple
from torchvision.ops import Conv3dNormActivation

FRAMES = 16
"""Of a clip, as in the papers."""


class Stage(NamedTuple):
    """What makes one map of the map before."""

    modules: tuple[str, ...]
    """Names in torchvision's net, in their order."""
    width: int
    """Channels of the map."""
    reduction: int
    """Pixels of the input to one of the map, along a side."""


_RESNET = (
    Stage(("stem",), 64, 2),
    Stage(("layer1",), 64, 2),
    Stage(("layer2",), 128, 4),
    Stage(("layer3",), 256, 8),
    Stage(("layer4",), 512, 16),
)
_S3D = tuple(
    Stage(tuple(f"features.{place}" for place in range(first, last)), width, reduction)
    for first, last, width, reduction in [
        (0, 1, 64, 2),
        (1, 4, 192, 4),
        (4, 7, 480, 8),
        (7, 13, 832, 16),
        (13, 16, 1024, 32),
    ]
)
_TINY = (
    Stage(("stem",), 8, 2),
    Stage(("layer1",), 8, 2),
    Stage(("layer2",), 16, 4),
    Stage(("layer3",), 32, 8),
    Stage(("layer4",), 64, 16),
)


class VideoNet(nn.Module):
    """The layers of one of torchvision's nets under the names that they have there, so that its weights fit."""

    def __init__(
        self,
        make: Callable[[], nn.Module],
        stages: tuple[Stage, ...],
        num_classes: int = 400,
        in_chans: int = 3,
        frames: int = FRAMES,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        """
        Args:
            make: gives torchvision's net.
            num_classes: outputs of the classifier; 0 gives features.
            frames: of the clips it is meant for.
            global_pool: "avg", or "" to give the last map as it is.
            drop_rate: of features, before the classifier.
        """
        super().__init__()
        if frames < 1:
            raise ValueError(f"a clip of {frames} frames has no frames")
        net = make()
        _set_channels(net, in_chans)
        for name in dict.fromkeys(path.partition(".")[0] for stage in stages for path in stage.modules):
            self.add_module(name, net.get_submodule(name))
        self._stages = stages
        self.feature_info = [
            {"num_chs": stage.width, "reduction": stage.reduction, "module": stage.modules[-1]} for stage in stages
        ]
        self.in_chans, self.frames, self.drop_rate = in_chans, frames, drop_rate
        self.num_features = self.head_hidden_size = stages[-1].width
        self.global_pool = global_pool
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier; none if there are no classes.

        Raises:
            ValueError: for a pooling that there is not.
        """
        pool = self.global_pool if global_pool is None else global_pool
        if pool not in ("avg", "") or (num_classes and not pool):
            raise ValueError(f"global_pool is 'avg' or, without a classifier, ''; not {pool!r}")
        self.global_pool, self.num_classes = pool, num_classes
        self.fc: nn.Module = nn.Identity()
        if num_classes:
            self.fc = nn.Linear(self.num_features, num_classes)
            nn.init.normal_(self.fc.weight, std=0.01)
            nn.init.zeros_(self.fc.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) to the last map (B, C', T', H', W')."""
        for stage in self._stages:
            x = self._map(stage, x)
        return x

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps (B, C', T', H', W') of the stages and, before them unless ``intermediates_only``, the last one.

        The arguments are timm's. ``output_fmt`` must be NCHW, which here is channels first, and there is no ``norm``.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be NCHW, not {output_fmt!r}")
        wanted, last = feature_take_indices(len(self._stages), indices)
        maps = []
        for place, stage in enumerate(self._stages[: last + 1] if stop_early else self._stages):
            x = self._map(stage, x)
            if place in wanted:
                maps.append(x)
        return maps if intermediates_only else (x, maps)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last map to features (B, D), and if there is a classifier to its outputs (B, num_classes)."""
        if self.global_pool:
            x = x.mean((2, 3, 4))
        x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def _map(self, stage: Stage, x: Tensor) -> Tensor:
        for name in stage.modules:
            x = self.get_submodule(name)(x)
        return x


def _set_channels(net: nn.Module, channels: int) -> None:
    """Let the first convolution take so many, drawn as torchvision draws those of its ResNets."""
    name, first = next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv3d))
    if first.in_channels != channels:
        conv = nn.Conv3d(channels, first.out_channels, first.kernel_size, first.stride, first.padding, bias=False)  # type: ignore[arg-type]
        _draw(conv)
        net.set_submodule(name, conv)


def _tiny_net() -> nn.Module:
    """A residual net of torchvision's own blocks, one for each stage, drawn as torchvision draws its ResNets."""
    net = nn.Module()
    net.add_module("stem", Conv3dNormActivation(3, 8, kernel_size=(3, 5, 5), stride=(1, 2, 2)))
    net.add_module("layer1", BasicBlock(8, 8, Conv3DSimple))
    for number, (narrow, wide) in enumerate([(8, 16), (16, 32), (32, 64)], start=2):
        shortcut = Conv3dNormActivation(narrow, wide, kernel_size=1, stride=2, activation_layer=None)
        net.add_module(f"layer{number}", BasicBlock(narrow, wide, Conv3DSimple, stride=2, downsample=shortcut))
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            _draw(module)
    return net


def _draw(conv: nn.Conv3d) -> None:
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")


def _cfg(first_conv: str, side: int) -> dict[str, Any]:
    return {
        "input_size": (3, side, side),
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "num_classes": 400,
        "first_conv": first_conv,
        "classifier": "fc",
    }


default_cfgs = generate_default_cfgs(
    {
        "r3d_18": _cfg("stem.0", 112),
        "mc3_18": _cfg("stem.0", 112),
        "r2plus1d_18": _cfg("stem.0", 112),
        "s3d": _cfg("features.0.0.0", 224),
        "test_r3d": _cfg("stem.0", 48),
    }
)
"""What timm's registry is told of each architecture. There are no weights: pretraining starts from scratch."""


def is_video(architecture: str) -> bool:
    """Whether a registered name is one of these."""
    return architecture in default_cfgs


def _build(name: str, pretrained: bool, make: Callable[[], nn.Module], stages: tuple[Stage, ...], **kwargs: Any) -> Any:
    feature_cfg = {"out_indices": (0, 1, 2, 3, 4), "feature_cls": "getter"}
    return build_model_with_cfg(partial(VideoNet, make, stages), name, pretrained, feature_cfg=feature_cfg, **kwargs)


@register_model
def r3d_18(pretrained: bool = False, **kwargs: Any) -> Any:
    """R3D-18: every convolution over time and space."""
    return _build("r3d_18", pretrained, video.r3d_18, _RESNET, **kwargs)


@register_model
def mc3_18(pretrained: bool = False, **kwargs: Any) -> Any:
    """MC3-18: over time and space in the stem and the first stage, else over space."""
    return _build("mc3_18", pretrained, video.mc3_18, _RESNET, **kwargs)


@register_model
def r2plus1d_18(pretrained: bool = False, **kwargs: Any) -> Any:
    """R(2+1)D-18: each convolution over space, then over time."""
    return _build("r2plus1d_18", pretrained, video.r2plus1d_18, _RESNET, **kwargs)


@register_model
def s3d(pretrained: bool = False, **kwargs: Any) -> Any:
    """S3D: an Inception net whose convolutions are over space, then over time."""
    return _build("s3d", pretrained, video.s3d, _S3D, **kwargs)


@register_model
def test_r3d(pretrained: bool = False, **kwargs: Any) -> Any:
    """R3D with one block for each stage and an eighth of the channels, for tests."""
    return _build("test_r3d", pretrained, _tiny_net, _TINY, **kwargs)
