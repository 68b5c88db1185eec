"""run.json is a recipe that can be repeated, and says nothing of this machine's folders."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sslzoo_plugins.context.rotation import Rotation, RotationConfig

from sslzoo.config import PretrainConfig, UserError
from sslzoo.record import (
    check_same_run,
    command_line,
    new_record,
    plugin_version,
    public_name,
    read_record,
    write_record,
)


def record(config: PretrainConfig = Rotation.defaults, method_config: RotationConfig = RotationConfig()) -> dict:  # noqa: B008
    dataset = {"name": "cliparts[unlabeled]", "fingerprint": "abc", "license": None, "samples": 3}
    return new_record(Rotation.info, method_config, config, Rotation.defaults, dataset, {"precision": "fp32"})


@pytest.mark.parametrize(
    ("given", "public"),
    [
        ("cliparts[train]", "cliparts[train]"),
        ("org/name", "org/name"),
        ("folder:/home/me/flowers[train[:10%]]", "folder:flowers[train[:10%]]"),
        ("folder:flowers/", "folder:flowers"),
        ("/data/set/part.parquet", "part.parquet"),
        ("./part.parquet[train]", "part.parquet[train]"),
    ],
)
def test_names_of_data_sets_lose_the_folders_of_this_machine(given: str, public: str) -> None:
    assert public_name(given) == public


def test_a_record_is_read_back_as_written(tmp_path: Path) -> None:
    begun = record()
    write_record(tmp_path, begun)
    assert read_record(tmp_path) == begun
    assert begun["method"]["paper"]["year"] == 2018 and begun["environment"]["versions"]["torch"]


def test_the_package_a_method_comes_from_is_recorded_with_its_version(install: Callable[..., Path]) -> None:
    install("acme-ssl", {"sslzoo.methods": {"acme": "acme_ssl:Acme"}})
    assert plugin_version("acme") == {"acme-ssl": "1.0"}
    assert plugin_version("nobody") == {}


def test_a_run_goes_on_with_its_own_settings_only(tmp_path: Path) -> None:
    check_same_run(tmp_path, record(), record())
    check_same_run(tmp_path, record(), record(replace(Rotation.defaults, workers=3, log_every=1)))
    changed = record(replace(Rotation.defaults, lr=0.2, epochs=3), RotationConfig(min_scale=0.5))
    with pytest.raises(UserError, match=r"min_scale: 0.08 -> 0.5; epochs: 50 -> 3; lr: 0.1 -> 0.2"):
        check_same_run(tmp_path, record(), changed)


def test_a_folder_of_something_else_is_not_taken_for_a_run(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    (tmp_path / "photo.txt").write_text("x")
    with pytest.raises(UserError, match="no run.json, so it is not a run"):
        read_record(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        read_record(tmp_path)


def test_the_command_names_all_that_differs_from_the_papers_recipe() -> None:
    config = replace(
        Rotation.defaults, dataset="folder:/a/b", encoder="test_vit", channels_last=False, milestones=(0.5,)
    )
    words = shlex.split(command_line("rotation", RotationConfig(min_scale=0.5), config, Rotation.defaults))
    assert words == [
        *("sslzoo", "pretrain", "rotation", "--dataset", "folder:b", "--encoder", "test_vit"),
        *("--milestones", "0.5", "--no-channels-last", "--min-scale", "0.5"),
    ]
