"""Renders shards: ``python -m sslzoo.datasets.world DATASET VERSION SHARDS PARENT``, as long as PARENT lives."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping

from sslzoo.datasets.world import actions, scene
from sslzoo.datasets.world.cache import Shard, write
from sslzoo.datasets.world.fields import encode
from sslzoo.datasets.world.renderer import Fields

RENDER: Mapping[str, Callable[[str, int], Fields]] = {"world": scene.clip, "world-actions": actions.clip}


def main(dataset: str, version: str, shards: str, parent: str) -> None:
    """``shards`` are splits and numbers, as JSON."""
    for split, number in json.loads(shards):
        shard, rows = Shard(dataset, int(version), split, number), []
        for clip in shard.clips:
            if os.getppid() != int(parent):
                sys.exit("whoever asked for the clips has ended")
            rows.append({name: encode(name, values) for name, values in RENDER[dataset](split, clip).items()})
        write(shard, rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
