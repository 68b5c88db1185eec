"""Encoders are timm's, and described as ours."""

from __future__ import annotations

import pytest
import torch

from sslzoo.config import UsageError
from sslzoo.encoders import EncoderSpec, InputSpec, create_encoder, feature_dim, parse_encoder_args, spec_of


@pytest.mark.parametrize(
    ("architecture", "size", "channels", "args"),
    [
        ("test_resnet", 48, 3, ()),
        ("test_convnext", 64, 4, ()),
        ("test_vit", 32, 1, ("patch_size=4", "global_pool=avg")),
        ("test_resnet", 32, 5, ()),
    ],
)
def test_any_timm_encoder_is_made_for_any_size_and_number_of_channels(
    architecture: str, size: int, channels: int, args: tuple[str, ...]
) -> None:
    encoder = create_encoder(architecture, size, channels, args)
    spec = spec_of(encoder).input
    assert spec.size == (channels, size, size) and len(spec.mean) == len(spec.std) == channels
    assert encoder(torch.zeros(2, *spec.size)).shape == (2, encoder.num_features)


def test_an_encoder_is_built_again_from_its_spec() -> None:
    first = create_encoder("test_vit", 32, 1, ["patch_size=4"])
    again = spec_of(first).build()
    again.load_state_dict(first.state_dict())
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(first.eval()(images), again.eval()(images))


def test_a_seed_makes_the_untrained_weights_repeatable_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (create_encoder("test_resnet", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.0.weight"], other["conv1.0.weight"])


def test_nothing_of_the_supervised_weights_is_said_of_ours() -> None:
    described = create_encoder("resnet18", 64).pretrained_cfg
    assert not {"tag", "license", "origin_url", "paper_ids", "hf_hub_id", "url"} & described.keys()
    assert described["input_size"] == (3, 64, 64) and described["num_classes"] == 0


@pytest.mark.parametrize(
    ("arg", "value"),
    [("patch_size=4", 4), ("global_pool=avg", "avg"), ("drop_rate=0.1", 0.1), ("pos_embed=None", None)],
)
def test_encoder_arguments_are_literals_or_words(arg: str, value: object) -> None:
    assert parse_encoder_args([arg]) == {arg.partition("=")[0]: value}


@pytest.mark.parametrize("arg", ["patch_size", "=4", "num_classes=10", "pretrained=True", "features_only=True"])
def test_encoder_arguments_that_are_not_a_users_to_set_are_refused(arg: str) -> None:
    with pytest.raises(UsageError):
        parse_encoder_args([arg])


@pytest.mark.parametrize("args", [("no_such=1",), ("patch_size=0",), ("embed_dim=7",)])
def test_what_timm_cannot_build_is_one_line(args: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="timm cannot build test_vit with") as error:
        create_encoder("test_vit", 32, args=args)
    assert "\n" not in str(error.value)


def test_a_module_of_somewhere_else_has_no_spec() -> None:
    with pytest.raises(UsageError, match="not made by sslzoo.encoders"):
        spec_of(torch.nn.Linear(2, 2))


def test_equal_specs_are_equal() -> None:
    assert EncoderSpec("resnet18", InputSpec.square(64)) == EncoderSpec("resnet18", InputSpec.square(64))


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "mobilenetv3_small_050"])
def test_the_length_of_features_is_known_before_there_are_any(architecture: str) -> None:
    encoder = create_encoder(architecture, 32).eval()
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, 32, 32)).shape == (1, feature_dim(encoder))
