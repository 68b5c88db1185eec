"""Decoders take the maps of any timm encoder back to the size of an image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslzoo.config import UsageError
from sslzoo.encoders import EncoderSpec, InputSpec, create_encoder
from sslzoo.nn.decoders import Decoder, MapShape, bottleneck_maps, encode_maps, map_shapes, stage_sizes

ENCODERS = ["test_resnet", "test_vit", "test_vit2", "test_efficientnet", "test_convnext"]


def images(count: int, size: int) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_a_convolutional_encoder_has_a_map_of_each_size_and_a_transformer_one() -> None:
    assert [(shape.channels, shape.size) for shape in map_shapes(create_encoder("test_resnet", 64))] == [
        (96, (2, 2)),
        (192, (4, 4)),
        (48, (8, 8)),
        (32, (16, 16)),
        (32, (32, 32)),
    ]
    assert map_shapes(create_encoder("test_vit", 64)) == (MapShape(block=5, channels=64, size=(4, 4)),)


def test_the_bottleneck_of_a_small_picture_takes_in_maps_until_one_has_as_many_places_as_alexnets() -> None:
    def sizes(name: str, size: int) -> list[tuple[int, int]]:
        return [shape.size for shape in bottleneck_maps(create_encoder(name, size))]

    assert sizes("test_resnet", 224) == [(7, 7)] and sizes("test_resnet", 192) == [(6, 6)]
    assert sizes("test_resnet", 64) == [(2, 2), (4, 4), (8, 8)]
    assert sizes("test_vit", 64) == [(4, 4)]


def test_looking_at_the_maps_changes_nothing() -> None:
    encoder = create_encoder("test_resnet", 32, seed=0).train()
    before, state = {name: value.clone() for name, value in encoder.state_dict().items()}, torch.get_rng_state()
    map_shapes(encoder)
    assert encoder.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    map_shapes(encoder.eval())
    assert not encoder.training


@pytest.mark.parametrize("name", ENCODERS)
def test_the_feature_is_the_one_that_is_published_and_maps_are_timms(name: str) -> None:
    encoder = create_encoder(name, 64, seed=0).eval()
    shapes = map_shapes(encoder)
    with torch.no_grad():
        feature, maps = encode_maps(encoder, images(2, 64), shapes)
        torch.testing.assert_close(feature, encoder(images(2, 64)))
        every = encoder.forward_intermediates(images(2, 64), norm=True, intermediates_only=True)
    for shape, found in zip(shapes, maps, strict=True):
        assert found.shape == (2, shape.channels, *shape.size)
        torch.testing.assert_close(found, every[shape.block])
    assert all(coarse.size < fine.size for coarse, fine in zip(shapes, shapes[1:], strict=False))


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [64, 48])
@pytest.mark.parametrize("count", [1, 9])
def test_a_decoder_ends_at_the_size_it_is_asked_for(name: str, size: int, count: int) -> None:
    encoder = create_encoder(name, size, seed=0)
    shapes = map_shapes(encoder)[:count]
    decoder = Decoder(encoder.num_features, shapes, (size, size), channels=5, width=32)
    assert decoder(*encode_maps(encoder, images(2, size), shapes)).shape == (2, 5, size, size)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("count", [1, 9])
def test_the_gradient_reaches_every_parameter_of_encoder_and_decoder(name: str, count: int) -> None:
    encoder = create_encoder(name, 64, seed=0)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm closes residual branches at first
            nn.init.ones_(module.weight)
    shapes = map_shapes(encoder)[:count]
    decoder = Decoder(encoder.num_features, shapes, (64, 64), channels=3, width=32)
    both = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    decoder(*encode_maps(encoder, images(4, 64), shapes)).square().mean().backward()
    assert not [name for name, p in both.named_parameters() if p.grad is None or not p.grad.abs().sum()]


def test_sizes_follow_the_maps_and_then_double() -> None:
    assert stage_sizes([(2, 2), (4, 4), (7, 7)], (50, 50)) == [(2, 2), (4, 4), (7, 7), (14, 14), (28, 28), (50, 50)]
    assert stage_sizes([(4, 6)], (32, 48)) == [(4, 6), (8, 12), (16, 24), (32, 48)]
    assert stage_sizes([(4, 4)], (4, 4)) == [(4, 4)]


def test_a_decoder_adds_each_map_where_it_belongs() -> None:
    shapes = (MapShape(1, 8, (2, 2)), MapShape(0, 4, (4, 4)))
    torch.manual_seed(0)
    decoder = Decoder(6, shapes, (8, 8), channels=3, width=32).eval()
    feature, coarse, fine = torch.randn(2, 6), torch.randn(2, 8, 2, 2), torch.randn(2, 4, 4, 4)
    with torch.no_grad():
        x = decoder.laterals[0](coarse) + decoder.whole(feature)[:, :, None, None]
        x = decoder.stages[0](x).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = decoder.stages[1](x + decoder.laterals[1](fine)).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        torch.testing.assert_close(decoder(feature, [coarse, fine]), decoder.last(decoder.stages[2](x)))
    assert [stage[0].out_channels for stage in decoder.stages] == [16, 16, 16]


def test_a_decoder_learns_to_draw_what_an_encoder_sees() -> None:
    torch.manual_seed(0)
    encoder = create_encoder("test_resnet", 32)
    shapes = map_shapes(encoder)
    decoder = Decoder(encoder.num_features, shapes, (32, 32), channels=3, width=32)
    target = F.interpolate(images(8, 4), size=(32, 32), mode="bilinear")
    optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], 3e-3)
    for _ in range(40):
        error = (decoder(*encode_maps(encoder, target, shapes)) - target).square().mean()
        error.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert error < 0.1 * target.var()


def test_an_encoder_without_maps_is_refused_by_name() -> None:
    class Mapless(nn.Module):
        spec = EncoderSpec("mapless", InputSpec.square(32))

    with pytest.raises(UsageError, match="no maps of mapless"):
        map_shapes(Mapless())
