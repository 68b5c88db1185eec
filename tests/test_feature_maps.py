"""Where an encoder looks: activations of convnets, and the attention of transformers as it is computed."""

from __future__ import annotations

import pytest
import torch
from tiny_source import TinySource
from torch import nn
from torch.nn import functional as F

from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder
from sslzoo.evaluations.feature_maps import FeatureMaps, FeatureMapsConfig, attention_weights, maps_of, scaled

SOURCE = TinySource(size=32)
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def vit(*args: str) -> nn.Module:
    return create_encoder("test_vit", 32, 3, ["patch_size=8", *args], seed=0).eval()


@torch.no_grad()
def test_a_convnets_map_is_the_sum_of_powers_of_its_activations() -> None:
    encoder = create_encoder("test_resnet", 32, seed=0).eval()
    kind, maps = maps_of(encoder, IMAGES, 3.0)
    _, stages = encoder.forward_intermediates(IMAGES)  # type: ignore[operator]
    assert list(maps) == ["stage0", "stage1", "stage2", "stage3", "stage4"] and "|activation|^3" in kind
    for found, stage in zip(maps.values(), stages, strict=True):
        assert torch.allclose(found, stage.abs().pow(3).sum(1))


@torch.no_grad()
def test_a_transformers_maps_are_the_attention_of_its_last_block_from_the_class_token() -> None:
    encoder = vit()
    kind, maps = maps_of(encoder, IMAGES, 2.0)
    assert kind == "self-attention of the last block, from the class token"
    block, seen = encoder.blocks[-1], []  # type: ignore[index, union-attr]
    block.attn.qkv.register_forward_hook(lambda module, inputs, output: seen.append(output))  # type: ignore[union-attr]
    encoder.forward_features(IMAGES)  # type: ignore[operator]
    query, key, _ = seen[0].reshape(2, 17, 3, 2, 32).permute(2, 0, 3, 1, 4)
    by_hand = (query @ key.transpose(2, 3) / 32**0.5).softmax(3)[:, :, 0, 1:].reshape(2, 2, 4, 4)
    assert torch.allclose(maps["head 0"], by_hand[:, 0], atol=1e-6)
    assert torch.allclose(maps["head 1"], by_hand[:, 1], atol=1e-6)
    assert torch.allclose(maps["all heads"], by_hand.mean(1), atol=1e-6)


@torch.no_grad()
def test_where_features_are_averaged_so_is_attention_over_the_patches() -> None:
    encoder = vit("global_pool=avg")
    kind, maps = maps_of(encoder, IMAGES, 2.0)
    assert kind == "self-attention of the last block, from the patches, averaged"
    assert maps["all heads"].shape == (2, 4, 4)
    assert maps["all heads"].sum((1, 2)).max() < 1, "some of it goes to the class token, which has no place"


def test_attention_weights_are_those_that_average_the_values() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 7, 4, generator=generator) for _ in range(3))
    mask = torch.randn(7, 7, generator=generator)
    for rest in ({}, {"attn_mask": mask}, {"is_causal": True}, {"scale": 2.0}):
        weights = attention_weights(query, key, value=value, **rest)
        assert weights.shape == (2, 3, 7, 7) and torch.allclose(weights.sum(3), torch.ones(2, 3, 7))
        expected = F.scaled_dot_product_attention(query, key, value, **rest)
        assert torch.allclose(weights @ value, expected, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(("architecture", "prefix"), [("test_vit2", 1), ("test_vit3", 1), ("cait_xxs24_224", 1)])
def test_attention_of_other_transformers_is_seen_too(architecture: str, prefix: int) -> None:
    encoder = create_encoder(architecture, 64 if architecture != "cait_xxs24_224" else 32, seed=0).eval()
    size = encoder.spec.input.size  # type: ignore[union-attr]
    kind, maps = maps_of(encoder, torch.rand(2, *size), 2.0)
    assert kind.startswith("self-attention") and len(maps) >= 2


@torch.no_grad()
def test_where_attention_is_not_seen_stages_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = vit()
    for block in encoder.blocks:  # type: ignore[union-attr]
        block.attn.fused_attn = False
    kind, maps = maps_of(encoder, IMAGES, 2.0)
    assert "by stage" in kind and list(maps) == [f"stage{number}" for number in range(6)]
    monkeypatch.setattr("sslzoo.evaluations.feature_maps._MOST", 3)
    assert list(maps_of(encoder, IMAGES, 2.0)[1]) == ["stage1", "stage3", "stage5"], "spread out, the last among them"


def test_a_map_is_scaled_by_itself_and_a_flat_one_is_dark() -> None:
    found = scaled(torch.stack([torch.tensor([[2.0, 4.0], [6.0, 3.0]]), torch.full((2, 2), 5.0)]))
    assert torch.allclose(found[0], torch.tensor([[0.0, 0.5], [1.0, 0.25]])) and found[1].max() == 0


def test_the_figure_has_each_image_once_and_its_maps_for_both_encoders() -> None:
    evaluation = FeatureMaps(FeatureMapsConfig(images=3))
    result = evaluation.run(create_encoder("test_resnet", 32, seed=0), SOURCE, SOURCE)
    assert result.details["shapes"]["stage4"] == [1, 1] and result.metrics == {}
    figure = evaluation.draw({"trained": result, "untrained": result})["feature_maps"]
    assert len(figure.axes[0].images) == 3 * (1 + 2 * 5)
    assert len(evaluation.draw({"trained": result})["feature_maps"].axes[0].images) == 3 * (1 + 5)


def test_what_cannot_be_drawn_is_refused_in_a_line() -> None:
    encoder = create_encoder("test_resnet", 32, seed=0)
    for config in (FeatureMapsConfig(images=0), FeatureMapsConfig(power=0.0)):
        with pytest.raises(UsageError, match="an image and a power above 0"):
            FeatureMaps(config).run(encoder, SOURCE, SOURCE)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    flat.spec = encoder.spec  # type: ignore[assignment]
    with pytest.raises(UsageError, match=r"test_resnet does not tell its stages .* no maps to draw"):
        FeatureMaps(FeatureMapsConfig()).run(flat, SOURCE, SOURCE)
    torch.nn.init.constant_(next(encoder.parameters()), torch.nan)
    with pytest.raises(UserError, match=r"stage0 of tiny\[train\] is not finite"):
        FeatureMaps(FeatureMapsConfig()).run(encoder, SOURCE, SOURCE)
