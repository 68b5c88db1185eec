"""``python -m sslzoo.datasets.world DATASET SPLIT PARENT SHARDS``: render shards, as long as the parent lives."""

from __future__ import annotations

import json
import os
import sys

from sslzoo.datasets.world import RENDERINGS
from sslzoo.datasets.world.cache import Shard, write
from sslzoo.datasets.world.fields import encode


def main(dataset: str, split: str, parent: str, numbers: str) -> None:
    rendering = RENDERINGS[dataset]
    for number in json.loads(numbers):
        shard, rows = Shard(dataset, rendering.version, split, number), []
        for clip in shard.clips:
            if os.getppid() != int(parent):
                sys.exit("whoever asked for the clips has ended")
            rows.append({name: encode(name, values) for name, values in rendering.clip(split, clip).items()})
        write(shard, rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
