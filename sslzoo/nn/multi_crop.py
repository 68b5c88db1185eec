"""Views of several sizes: one encoder for all, and predicting from each what another shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.encoders import spec_of
from sslzoo.nn.precision import in_float32
from sslzoo.nn.siamese import encode_views


def encode_crops(encoder: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """Features (B, V, D) of V views (B, C, ., .), in one pass for each run of views of one size.

    So batch statistics are taken per size, as in Caron et al., NeurIPS 2020. Encoders of fixed input size take small
    views enlarged, at the cost of whole images, unless they were built with ``dynamic_img_size=True`` (timm's vision
    transformers interpolate their position embeddings then).
    """
    groups = [list(group) for _, group in groupby(views, key=lambda view: view.shape[2:])]
    if spec_of(encoder).model_args.get("dynamic_img_size"):
        features = [encoder(torch.cat(group)).unflatten(0, (len(group), -1)).transpose(0, 1) for group in groups]
    else:
        features = [encode_views(encoder, group) for group in groups]
    return torch.cat(features, dim=1)


@in_float32
def cross_view_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    """The mean cross entropy of all views' predictions with the targets of the other views.

    ``targets`` (B, T, K) are distributions, of the first T views; ``logits`` (B, V, K) are what V views predict. The T
    pairs of a view with itself are left out.
    """
    entropies = -torch.einsum("btk,bvk->tv", targets, F.log_softmax(logits, dim=-1)) / len(targets)
    other = ~torch.eye(*entropies.shape, dtype=torch.bool, device=entropies.device)
    return entropies[other].mean()
