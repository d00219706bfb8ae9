"""Ages are those of the records that a commit appended, whatever its manifests list besides."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from rtap_assets.config import PROJECT_ROOT

FIRST_MS = 1_795_824_000_000
SCHEMA = pa.schema([("kafka_timestamp", pa.timestamp("us", "UTC"))])


def test_a_merged_manifest_does_not_count_the_files_of_earlier_commits_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PROJECT_ROOT)  # `bench` is no part of the package
    appended = import_module("bench.latencies")._appended

    with SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}") as catalog:
        catalog.create_namespace("bronze")
        merging = {"commit.manifest-merge.enabled": "true", "commit.manifest.min-count-to-merge": "2"}
        table = catalog.create_table("bronze.events", SCHEMA, properties=merging)
        for second in range(4):
            stamp = pa.array([FIRST_MS + 1_000 * second]).cast(pa.timestamp("ms", "UTC")).cast(SCHEMA.field(0).type)
            table.append(pa.table([stamp], schema=SCHEMA))
        newest = table.current_snapshot()
        assert newest is not None
        assert len(newest.manifests(table.io)) < 4, "nothing was merged"
        counted = [stamp for _, stamps in appended(table, 0, 2**62) for stamp in stamps]
    assert sorted(counted) == [FIRST_MS + 1_000 * second for second in range(4)]
