"""Encoders of clips are torchvision's nets, and to timm and everyone who publishes one they are like any other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from published_run import trained, write_run

from sslzoo.card import write_card
from sslzoo.config import UsageError, UserError
from sslzoo.encoders import create_encoder, feature_dim, spec_of, takes_clips
from sslzoo.hub.fingerprint import fingerprint, synthetic_input
from sslzoo.hub.folder import save_encoder
from sslzoo.hub.load import load_encoder
from sslzoo.hub.push import push
from sslzoo.hub.verify import verify
from sslzoo.testing.loopback import LoopbackHub

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("r3d_18", (4, 32, 32)),
        ("mc3_18", (4, 32, 32)),
        ("r2plus1d_18", (4, 32, 32)),
        ("s3d", (14, 209, 209)),  # of smaller clips torchvision's cannot take the mean
    ],
)
def test_an_encoder_computes_what_torchvisions_net_computes_with_its_weights(
    architecture: str, shape: tuple[int, int, int]
) -> None:
    theirs = getattr(torchvision.models.video, architecture)().eval()
    ours = timm.create_model(architecture).eval()
    state = {name.replace("classifier.1.", "fc."): tensor for name, tensor in theirs.state_dict().items()}
    ours.load_state_dict({name: tensor.flatten(1) if name == "fc.weight" else tensor for name, tensor in state.items()})
    clips = torch.randn(1, 3, *shape)
    with torch.no_grad():
        torch.testing.assert_close(ours(clips), theirs(clips), rtol=1e-5, atol=1e-6)


def test_it_has_timms_interface() -> None:
    encoder = timm.create_model("test_r3d", num_classes=0, in_chans=2).eval()
    clips = torch.randn(2, 2, 16, 48, 48)
    with torch.no_grad():
        last, maps = encoder.forward_intermediates(clips)
        features = encoder(clips)
        assert torch.equal(encoder.forward_features(clips), last) and torch.equal(encoder.forward_head(last), features)
        assert len(encoder.forward_intermediates(clips, indices=2, intermediates_only=True)) == 2
        assert timm.create_model("test_r3d", num_classes=0, in_chans=2, global_pool="")(clips).shape == last.shape
    assert features.shape == (2, encoder.num_features) and feature_dim(encoder) == encoder.num_features
    for found, info in zip(maps, encoder.feature_info, strict=True):
        assert found.shape[1] == info["num_chs"] and found.shape[-1] * info["reduction"] == 48
    encoder.reset_classifier(5)
    assert encoder(clips).shape == (2, 5) and encoder.get_classifier().out_features == 5
    pyramid = timm.create_model("test_r3d", features_only=True, out_indices=(1, 3))
    assert [found.shape[1:] for found in pyramid(torch.zeros(1, 3, 16, 48, 48))] == [(8, 16, 24, 24), (32, 4, 6, 6)]
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 300_000


@pytest.mark.parametrize("channels", [3, 1])
def test_its_spec_tells_the_frames_and_builds_it_again(channels: int) -> None:
    encoder = create_encoder("test_r3d", 32, channels, frames=8, seed=0).eval()
    spec = spec_of(encoder)
    assert takes_clips(encoder) and not takes_clips(create_encoder("test_resnet", 32, frames=8))
    assert spec.input.size == (channels, 32, 32) and spec.input.shape == (channels, 8, 32, 32)
    again = spec.build().eval()
    again.load_state_dict(encoder.state_dict())
    clips = torch.randn(2, *spec.input.shape)
    assert torch.equal(encoder(clips), again(clips))
    assert spec_of(load_encoder("random:r3d_18")).input.shape == (3, 16, 112, 112)


def test_frames_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="has no frames"):
        create_encoder("test_r3d", 32, frames=0)
    with pytest.raises(UsageError, match="'frames' is sslzoo's to set"):
        create_encoder("test_r3d", 32, args=["frames=4"])


def test_a_published_encoder_is_the_same_through_every_door(tmp_path: Path) -> None:
    encoder = trained("test_r3d", 48)
    save_encoder(encoder, tmp_path / "encoder", {})
    checks = verify(tmp_path / "encoder")
    assert all(check.ok for check in checks), checks
    with torch.no_grad():
        clips = synthetic_input(spec_of(encoder).input.shape)
        assert torch.equal(encoder.eval()(clips), load_encoder(tmp_path / "encoder")(clips))


def test_the_fingerprint_is_of_a_small_clip_whose_frames_differ() -> None:
    encoder = create_encoder("test_r3d", 96, seed=0).eval()
    assert fingerprint(encoder)["size"] == [3, 8, 64, 64]
    clip = synthetic_input((3, 8, 64, 64))
    assert clip.shape == (2, 3, 8, 64, 64) and clip.diff(dim=2).abs().mean() > 0.1
    assert torch.equal(clip[:, :, 0], synthetic_input((3, 64, 64)))


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [(2**14, "absurdly large"), ("many", "not a number of them"), (0, "has no frames"), (-1, "not a number of them")],
)
def test_a_config_that_asks_for_other_clips_is_one_line(tmp_path: Path, frames: object, complaint: str) -> None:
    save_encoder(create_encoder("test_r3d", 48, seed=0), tmp_path / "encoder", {})
    path = tmp_path / "encoder" / "config.json"
    config = json.loads(path.read_text())
    config["model_args"]["frames"] = frames
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=complaint):
        load_encoder(tmp_path / "encoder")


def test_the_card_says_what_to_import_for_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    run = write_run(tmp_path / "run", trained("test_r3d", 48))
    text = write_card(run, "tester/x").read_text()
    assert "clips of 3 × 16 × 48 × 48 (channels, frames, height, width)" in text
    assert "clips of 16 frames, 48 × 48 pixels" in text and "library_name: sslzoo" in text
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert [re.findall(r"sslzoo\.\w+", snippet)[:1] for snippet in snippets] == [
        *(["sslzoo.encoders"], ["sslzoo.encoders"], [], ["sslzoo.load_encoder"])
    ]
    with LoopbackHub() as hub:
        push(run, "tester/x", endpoint=hub.endpoint, token=hub.token)
        environment = os.environ | hub.environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT)}
        script = f"{snippets[0]}\nassert features.shape == (1, 64)"
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
