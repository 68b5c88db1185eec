"""What is left open is decided from the machine, and busy threads are not more than cores."""

from __future__ import annotations

import pytest
import torch

from sslzoo.config import PretrainConfig
from sslzoo.machine import resolve

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_threads_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")


@pytest.mark.parametrize(
    ("cores", "processes", "threads", "workers"),
    [(1, 1, 1, 0), (2, 1, 2, 0), (4, 1, 3, 1), (8, 1, 6, 2), (8, 2, 3, 1), (64, 1, 56, 8), (2, 4, 1, 0)],
)
def test_cores_are_shared_among_processes_threads_and_workers(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, threads: int, workers: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)))
    found = resolve(PretrainConfig(), CPU, processes)
    assert (found.threads, found.workers) == (threads, workers)


def test_what_is_asked_for_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert resolve(PretrainConfig(workers=0), CPU, 1).threads == 3
    found = resolve(PretrainConfig(threads=5, workers=0, precision="fp32"), CPU, 1)
    assert (found.threads, found.workers, found.precision) == (5, 0, "fp32")


@pytest.mark.parametrize(("offers", "precision"), [({"avx512_bf16": True}, "bf16"), ({"avx2": True}, "fp32")])
def test_bf16_is_chosen_where_the_processor_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, offers: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: offers)
    assert resolve(PretrainConfig(), CPU, 1).precision == precision
