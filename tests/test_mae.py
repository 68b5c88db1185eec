"""Masked autoencoders are the paper's, around timm's own ViTs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_samples import (
    batch_of,
    built,
    check_views_depend_on_picture_and_key_alone,
    samples_of,
    without_gradient,
)
from sslzoo_plugins.generation.mae import MAE, MAEConfig, standardized
from torch import nn
from view_samples import picture

from sslzoo.config import UsageError
from sslzoo.encoders import InputSpec, create_encoder
from sslzoo.method import Batch
from sslzoo.nn.masked_vit import MaskedDecoder, encode_visible, image_of, in_place, patches_of, plain_vit, taken
from sslzoo.views.masks import patch_order

CONFIG = MAEConfig(decoder_dim=32, decoder_depth=1, decoder_heads=2)
PLAIN = MAEConfig(decoder_dim=32, decoder_depth=1, decoder_heads=2, normalized=False)
VITS = {
    "class token": ("test_vit", ()),
    "class token, mean": ("test_vit", ("global_pool=avg",)),
    "registers, mean": ("test_vit2", ()),
    "positions of patches only": ("test_vit", ("no_embed_class=True", "reg_tokens=2")),
    "no token at all": ("test_vit", ("class_token=False", "global_pool=avg", "dynamic_img_size=False")),
    "norm before": ("test_vit", ("pre_norm=True",)),
}


def method_of(config: MAEConfig = CONFIG, size: int = 64, *, encoder: str = "test_vit", args: tuple = ()) -> MAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MAE(create_encoder(encoder, size, args=args), config)


def test_patches_are_cut_by_rows_and_put_together_again() -> None:
    images = torch.arange(2 * 3 * 8 * 12, dtype=torch.float32).view(2, 3, 8, 12)
    patches = patches_of(images, (4, 2))
    assert patches.shape == (2, 12, 4 * 2 * 3)
    for patch in range(12):
        top, left = patch // 6 * 4, patch % 6 * 2
        by_hand = images[:, :, top : top + 4, left : left + 2].permute(0, 2, 3, 1).reshape(2, -1)
        assert torch.equal(patches[:, patch], by_hand)
    assert torch.equal(image_of(patches, (4, 2), (2, 6)), images)


def test_rows_that_were_shuffled_come_back_to_their_places() -> None:
    rows = torch.randn(3, 10, 4)
    order = torch.stack([torch.randperm(10, generator=torch.Generator().manual_seed(seed)) for seed in range(3)])
    shuffled = taken(rows, order)
    for sample in range(3):
        for place in range(10):
            assert torch.equal(shuffled[sample, place], rows[sample, order[sample, place]])
    assert torch.equal(in_place(shuffled, order), rows)


@pytest.mark.parametrize("kind", VITS)
def test_with_nothing_masked_the_encoder_is_timms(kind: str) -> None:
    name, args = VITS[kind]
    encoder = create_encoder(name, 64, args=args, seed=0).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tokens = encode_visible(plain_vit(encoder), images, torch.arange(16).expand(2, 16))
        torch.testing.assert_close(tokens, encoder.fc_norm(encoder.forward_features(images)))
        if encoder.global_pool == "token":
            torch.testing.assert_close(tokens[:, 0], encoder(images))


def test_what_is_masked_cannot_be_seen() -> None:
    method, batch = method_of().eval(), batch_of(MAE, CONFIG, size=64)
    order = patch_order(batch["chances"], 16)
    masked = torch.zeros(4, 16, 1).scatter_(1, order[:, 4:, None], 1.0)
    other = image_of(patches_of(batch["views"][0], (16, 16)) + masked, (16, 16), (4, 4))
    with torch.no_grad():
        predicted, _ = method.predict(batch)
        again, _ = method.predict(batch | {"views": [other]})
        assert torch.equal(predicted, again) and predicted.shape == (4, 12, 16 * 16 * 3)
        seen = image_of(patches_of(batch["views"][0], (16, 16)) + (1 - masked), (16, 16), (4, 4))
        assert not torch.equal(predicted, method.predict(batch | {"views": [seen]})[0])


def test_targets_are_normalised_by_each_patchs_own_mean_and_deviation() -> None:
    patches = np.random.default_rng(0).normal(3, 2, size=(2, 5, 48))
    patches[0, 0] = 0.7
    by_hand = (patches - patches.mean(-1, keepdims=True)) / np.sqrt(patches.var(-1, ddof=1, keepdims=True) + 1e-6)
    made, mean, std = standardized(torch.tensor(patches))
    np.testing.assert_allclose(made.numpy(), by_hand, atol=1e-6)
    np.testing.assert_allclose((made * std + mean).numpy(), patches, atol=1e-9)


@pytest.mark.parametrize("config", [CONFIG, PLAIN])
def test_the_loss_is_the_mean_squared_error_of_masked_patches_only(config: MAEConfig) -> None:
    """As in the authors' code: tokens in order, all patches predicted, and a mask that leaves out the visible ones.

    But for the pixels, which are not normalised by channel.
    """
    method, batch = method_of(config).eval(), batch_of(MAE, config, size=64)
    spec = InputSpec.square(64)
    image = batch["views"][0] * torch.tensor(spec.std)[:, None, None] + torch.tensor(spec.mean)[:, None, None]
    with torch.no_grad():
        loss = float(method(batch)["loss"])
        predicted, order = method.predict(batch)
    total, count = 0.0, 0
    for sample in range(4):
        for place, patch in enumerate(order[sample, 4:].tolist()):
            top, left = patch // 4 * 16, patch % 4 * 16
            target = image[sample, :, top : top + 16, left : left + 16].permute(1, 2, 0).reshape(-1).double().numpy()
            if config.normalized:
                target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
            total += float(((predicted[sample, place].double().numpy() - target) ** 2).mean())
            count += 1
    assert count == 4 * 12 and loss == pytest.approx(total / count, rel=1e-5)


def test_the_order_of_tokens_does_not_matter_to_the_decoder() -> None:
    """Decoding in the random order is the same as putting tokens in place first, as the paper does."""
    torch.manual_seed(0)
    decoder = MaskedDecoder(8, 12, (3, 4), dim=16, depth=2, heads=2).eval()
    prefix, visible = torch.randn(2, 1, 8), torch.randn(2, 3, 8)
    order = torch.stack([torch.randperm(12), torch.randperm(12)])
    with torch.no_grad():
        found = decoder(prefix, visible, order)
        tokens = torch.cat([decoder.embed(visible), decoder.mask_token.expand(2, 9, -1)], dim=1)
        placed = in_place(tokens, order) + decoder.positions
        decoded = decoder.blocks(torch.cat([decoder.embed(prefix), placed], dim=1))[:, 1:]
        everything = decoder.predict(decoder.norm(decoded))
    torch.testing.assert_close(found, taken(everything, order[:, 3:]))


def test_three_quarters_of_the_patches_are_masked_anew_for_each_sample() -> None:
    method = method_of(size=64)
    order = patch_order(batch_of(MAE, CONFIG, size=64, count=8)["chances"], 16)
    assert method.shown == 4 and method.grid == (4, 4)
    assert len({tuple(sorted(row[:4].tolist())) for row in order}) > 5


def test_a_decoders_positions_are_sines_and_cosines_and_do_not_learn() -> None:
    decoder = MaskedDecoder(8, 12, (3, 4), dim=16, depth=1, heads=2)
    assert "positions" not in dict(decoder.named_parameters())
    angles = np.arange(4)[:, None] / 10000 ** (np.arange(4) / 4)  # of columns, by four frequencies
    row_zero = decoder.positions[:4].numpy()
    expected = {"sin": np.sin(angles), "cos": np.cos(angles)}
    columns = {tuple(column.round(5)) for column in row_zero.T}
    for wave in expected.values():
        assert {tuple(column.astype(np.float32).round(5)) for column in wave.T} <= columns
    assert len(np.unique(decoder.positions.numpy().round(5), axis=0)) == 12


@pytest.mark.parametrize("kind", VITS)
def test_the_gradient_reaches_every_parameter(kind: str) -> None:
    name, args = VITS[kind]
    method, batch = method_of(encoder=name, args=args), batch_of(MAE, CONFIG, size=64)
    method(batch)["loss"].backward()
    assert not [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum()]


def test_the_gradient_reaches_every_parameter_where_one_patch_is_visible() -> None:
    assert without_gradient(MAE, CONFIG, "test_vit") == []


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit3", "vit_relpos_small_patch16_224"])
def test_what_is_no_plain_vit_is_refused_with_one_that_is(encoder: str) -> None:
    size = 160 if encoder == "test_vit3" else 64
    with pytest.raises(UsageError, match=f"{encoder} is not: take one .* such as vit_base_patch16_224"):
        MAE(create_encoder(encoder, size), CONFIG)


@pytest.mark.parametrize("masked", [0.0, 1.0, 0.99])
def test_some_patches_are_visible_and_some_are_not(masked: float) -> None:
    with pytest.raises(UsageError, match="of 16 patches"):
        method_of(MAEConfig(masked=masked))


def test_a_decoder_that_its_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(UsageError, match="a width that 4 and 3 divide; 32 is not one"):
        method_of(MAEConfig(decoder_dim=32, decoder_heads=3))


def test_views_depend_on_picture_and_key_alone() -> None:
    check_views_depend_on_picture_and_key_alone(MAE, CONFIG)


@pytest.mark.parametrize("mode, channels", [("L", 1), ("RGBA", 4)])
def test_pictures_may_have_any_number_of_channels(mode: str, channels: int) -> None:
    samples = [{"image": picture(40, 50, mode, seed=i), "index": i, "key": i} for i in range(3)]
    batch: Batch = MAE.views(CONFIG, InputSpec.square(32, channels))(samples)
    method = MAE(create_encoder("test_vit", 32, channels), CONFIG).eval()
    with torch.no_grad():
        assert method(batch)["loss"].isfinite()
        assert all(shown.shape == (3, channels, 32, 32) for shown in method.illustrate(batch).values())


def test_held_out_scores_change_no_state() -> None:
    method = built(MAE, CONFIG, "test_vit").eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method(batch_of(MAE, CONFIG))
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_stripes_are_soon_continued_behind_the_mask() -> None:
    method = method_of(args=("patch_size=8",))
    stripes = (torch.arange(64) // 4 % 2 * 255).to(torch.uint8)
    pictures = [
        stripes.expand(3, 64, 64).clone() if i % 2 else stripes[:, None].expand(3, 64, 64).clone() for i in range(16)
    ]
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    for step in range(40):
        samples = [
            sample | {"image": image, "key": 100 * step + i}
            for i, (sample, image) in enumerate(zip(samples_of(16), pictures, strict=True))
        ]
        loss = method(MAE.views(MAEConfig(min_scale=1.0), InputSpec.square(64))(samples))["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.4  # predicting each patch's mean costs 1


def test_the_default_recipe_is_the_papers() -> None:
    recipe, config = MAE.defaults, MAEConfig()
    assert (recipe.optimizer, recipe.lr, recipe.base_batch_size, recipe.weight_decay) == ("adamw", 1.5e-4, 256, 0.05)
    assert (recipe.batch_size, recipe.epochs, recipe.warmup_epochs, recipe.schedule) == (4096, 800, 40, "cosine")
    assert (config.masked, config.decoder_dim, config.decoder_depth) == (0.75, 512, 8) and config.normalized


@pytest.mark.parametrize("config", [CONFIG, PLAIN])
def test_illustrations_show_visible_patches_in_place_and_predict_the_others(config: MAEConfig) -> None:
    method, batch = method_of(config).eval(), batch_of(MAE, config, size=64)
    with torch.no_grad():
        visible, predicted, original = method.illustrate(batch).values()
    order = patch_order(batch["chances"], 16)
    for sample in range(4):
        for place, patch in enumerate(order[sample].tolist()):
            top, left = patch // 4 * 16, patch % 4 * 16
            window = (sample, slice(None), slice(top, top + 16), slice(left, left + 16))
            assert torch.equal(visible[window], original[window]) == (place < 4)
            assert torch.equal(predicted[window], original[window]) == (place < 4)


def test_illustrations_give_predicted_patches_their_own_mean_and_contrast() -> None:
    method, batch = method_of().eval(), batch_of(MAE, CONFIG, size=64)
    nn.init.zeros_(method.decoder.predict.weight)  # it predicts nothing but the mean
    with torch.no_grad():
        pictures = method.illustrate(batch)
    assert [*pictures] == ["visible", "predicted, with each patch's true mean and contrast", "original"]
    _, predicted, original = (patches_of(images, (16, 16)) for images in pictures.values())
    expected = original.mean(dim=2, keepdim=True).expand_as(original)
    masked = patch_order(batch["chances"], 16)[:, 4:]
    torch.testing.assert_close(taken(predicted, masked), taken(expected, masked), rtol=0, atol=1e-4)


def test_a_flat_grey_patch_has_no_contrast() -> None:
    method, batch = method_of(), batch_of(MAE, CONFIG, size=64)
    spec = InputSpec.square(64)
    for color in ((1.0, 1.0, 1.0), (0.1, 0.1, 0.1)):
        flat = ((torch.tensor(color) - torch.tensor(spec.mean)) / torch.tensor(spec.std))[:, None, None]
        made, _, _ = standardized(method.pixels(flat.expand_as(batch["views"][0])))
        assert made.abs().max() < 1e-2
