"""pybullet's server in this process. What it prints, on both streams, only processes of their own should see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Client = Any
"""``pybullet_utils.bullet_client.BulletClient``, which has pybullet's functions as methods."""


@contextmanager
def connected() -> Iterator[Client]:
    """A server of one's own."""
    from pybullet import DIRECT
    from pybullet_utils.bullet_client import BulletClient

    client = BulletClient(DIRECT)
    try:
        yield client
    finally:
        client.disconnect()


def quaternions(rotations: Array) -> Array:
    """(..., 4) as pybullet has them, real part last, of rotations (..., 3, 3)."""
    from scipy.spatial.transform import Rotation

    found: Array = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat().reshape(*rotations.shape[:-2], 4)
    return found
