"""Every installed method keeps every promise of the contract."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sslzoo.registry import datasets, evaluations, methods
from sslzoo.testing import check_dataset, check_evaluation, check_method


@pytest.fixture(autouse=True)
def clips_are_rendered_once(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """For all methods that are checked on them, in whichever process."""
    session = tmp_path_factory.getbasetemp()
    session = session.parent if "PYTEST_XDIST_WORKER" in os.environ else session
    for name in ("world", "world-actions"):
        rendered = session / f"rendered-{name}"
        rendered.mkdir(exist_ok=True)
        Path(os.environ["SSLZOO_CACHE"], name).symlink_to(rendered, target_is_directory=True)


@pytest.mark.parametrize("name", methods.names())
def test_a_method_keeps_every_promise(name: str) -> None:
    check_method(name).raise_for_failures()


QUICK: dict[str, dict[str, Any]] = {
    "action": {"windows": 1, "strengths": (0.1, 1.0)},
    "audio": {"windows": 1, "strengths": (0.1, 1.0)},
    "finetune": {"epochs": 1, "percent": 20.0},
    "svm": {"strengths": (0.1, 1.0)},
}
"""Settings of evaluations that would take minutes."""
DRAWN = {"depth", "detection", "flow", "segmentation"}
"""They need depth, flow, masks or boxes; their own tests check them on data that have them."""


@pytest.mark.parametrize("name", sorted(set(evaluations.names()) - DRAWN))
def test_an_evaluation_keeps_every_promise(name: str) -> None:
    check_evaluation(name, **QUICK.get(name, {})).raise_for_failures()


@pytest.mark.parametrize("name", datasets.names())
def test_a_data_set_keeps_every_promise(name: str) -> None:
    check_dataset(name).raise_for_failures()
