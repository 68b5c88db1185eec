"""A plain ViT of timm on some of its patches, and a decoder for the others.

He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, section 3.
"""

from __future__ import annotations

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from sslzoo.config import UsageError
from sslzoo.encoders import spec_of

Size = tuple[int, int]


def plain_vit(encoder: nn.Module) -> VisionTransformer:
    """The encoder, if each of its tokens is a patch with a position and it can be called on some of them.

    Raises:
        UsageError: if it is anything else.
    """
    # Timm's relatives of this class have position in their attention, or tokens that they do not pass on alike.
    if type(encoder) is not VisionTransformer or encoder.pos_embed is None or encoder.attn_pool is not None:
        raise UsageError(
            f"patches are hidden from a plain ViT, which {spec_of(encoder).architecture} is not: take one with learnt "
            "positions that pools by class token or mean, such as vit_base_patch16_224 or vit_tiny_patch16_224"
        )
    return encoder


def encode_visible(encoder: VisionTransformer, images: Tensor, visible: Tensor) -> Tensor:
    """Tokens (B, prefix + V, D) of the patches ``visible`` (B, V), after class and register tokens.

    The steps of timm's ``forward_features``, with patches left out after they got their positions. One of the two
    norms does nothing: timm norms either tokens or what it pools from them.
    """
    tokens = encoder._pos_embed(encoder.patch_embed(images))
    prefix = encoder.num_prefix_tokens
    tokens = torch.cat([tokens[:, :prefix], taken(tokens[:, prefix:], visible)], dim=1)
    return encoder.fc_norm(encoder.norm(encoder.blocks(encoder.norm_pre(tokens))))


def taken(rows: Tensor, index: Tensor) -> Tensor:
    """Of each sample of (B, N, D), the rows ``index`` (B, V)."""
    return rows.take_along_dim(index[:, :, None], dim=1)


def in_place(rows: Tensor, order: Tensor) -> Tensor:
    """The inverse of ``taken`` for an order (B, N) of all rows."""
    return taken(rows, order.argsort(dim=1))


def patches_of(images: Tensor, patch: Size) -> Tensor:
    """(B, C, H, W) to (B, N, pixels of a patch): patches by rows from the upper left, pixels by rows, channels last."""
    rows = images.unflatten(3, (-1, patch[1])).unflatten(2, (-1, patch[0]))  # b c h p w q
    return rows.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def image_of(patches: Tensor, patch: Size, grid: Size) -> Tensor:
    """The inverse of ``patches_of``, for ``grid`` rows and columns of patches."""
    rows = patches.unflatten(2, (patch[0], patch[1], -1)).unflatten(1, grid)  # b h w p q c
    return rows.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


class MaskedDecoder(nn.Module):
    """Tokens of visible patches to the content of the masked ones."""

    def __init__(self, feature_dim: int, pixels: int, grid: Size, dim: int, depth: int, heads: int) -> None:
        """``pixels`` is the number of values in a patch, ``grid`` the rows and columns of patches.

        Raises:
            UsageError: if ``dim`` cannot be divided among the heads, or by 4 for the positions.
        """
        super().__init__()
        if dim % 4 or dim % heads:
            raise UsageError(f"a decoder of {heads} heads has a width that 4 and {heads} divide; {dim} is not one")
        self.embed = nn.Linear(feature_dim, dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim))
        self.positions: Tensor
        self.register_buffer("positions", build_sincos2d_pos_embed(list(grid), dim), persistent=False)
        self.blocks = nn.Sequential(*(Block(dim, heads, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.predict = nn.Linear(dim, pixels)
        self.apply(_init)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, prefix: Tensor, visible: Tensor, order: Tensor) -> Tensor:
        """(B, N - V, pixels) of class and register tokens (B, P, D), of V patches' (B, V, D), and the order (B, N)."""
        masked = self.mask_token.expand(len(order), order.shape[1] - visible.shape[1], -1)
        patches = torch.cat([self.embed(visible), masked], dim=1) + self.positions[order]
        decoded = self.blocks(torch.cat([self.embed(prefix), patches], dim=1))
        return self.predict(self.norm(decoded[:, prefix.shape[1] + visible.shape[1] :]))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
