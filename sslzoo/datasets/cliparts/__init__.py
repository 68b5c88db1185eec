"""Clip art with labels: small, public-domain, always there. Built by ``scripts/build_cliparts.py``."""

from __future__ import annotations

from pathlib import Path

import datasets
from pyarrow import parquet

from sslzoo.data.rows import Rows
from sslzoo.data.source import DatasetInfo, NamedDataset, Source
from sslzoo.data.splits import check_split, slices

FOLDER = Path(__file__).parent


class Cliparts(NamedDataset):
    info = DatasetInfo(
        name="cliparts",
        splits=("unlabeled", "train", "test"),
        modalities=("image",),
        license="LicenseRef-Public-Domain",
        homepage="https://openclipart.org",
        summary="Drawings at 96 px with alpha, organised like STL-10: unlabelled, and labelled train and test.",
    )

    def open(self, split: str) -> Source:
        check_split(split, self.info.splits, self.info.name)
        tables = {name: parquet.read_table(FOLDER / f"{name}.parquet") for name in self.info.splits if name in split}
        parts = [
            datasets.Dataset(tables[name]).select(rows)
            for name, rows in slices(split, {name: len(table) for name, table in tables.items()}, self.info.name)
        ]
        rows = parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
        return Rows(rows, f"{self.info.name}[{split}]", license=self.info.license)
