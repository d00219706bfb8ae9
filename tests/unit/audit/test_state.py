"""Which state an audit compares: positions that belong to the snapshots that are read, whatever is committed meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lake_fixtures import append_rows, bronze_row, make_lake, silver_row
from pyiceberg.io.pyarrow import _dataframe_to_data_files, schema_to_pyarrow
from pyiceberg.table import Table

from rtap_assets.audit.state import Consumed, look
from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.tables import BRONZE, SILVER
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import NATIVE_EPOCH_ID, NATIVE_QUERY_ID

QUERY = "7d4f6a1e-0000-4000-8000-000000000001"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def log_batch(settings: Settings, stream: str, batch_id: int, source: dict[str, Any]) -> None:
    """A committed micro-batch in the stream's checkpoint."""
    checkpoint = settings.checkpoint_dir / stream
    for name in ("offsets", "commits"):
        (checkpoint / name).mkdir(parents=True, exist_ok=True)
    (checkpoint / "metadata").write_text(json.dumps({"id": QUERY}), encoding="utf-8")
    details = {"batchWatermarkMs": 0, "batchTimestampMs": 0}
    entry = f"v1\n{json.dumps(details)}\n{json.dumps(source)}"
    (checkpoint / "offsets" / str(batch_id)).write_text(entry, encoding="utf-8")
    (checkpoint / "commits" / str(batch_id)).write_text("v1\n{}", encoding="utf-8")


def append(settings: Settings, identifier: str, rows: list[dict[str, Any]], *, epoch: int | None = None) -> int:
    """Append rows as the stream's batch `epoch`; returns the snapshot's id."""
    with open_catalog(settings) as catalog:
        table = load_table(catalog, identifier)
        if epoch is None:
            append_rows(table, rows)
        else:
            schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
            stamp = {NATIVE_QUERY_ID: QUERY, NATIVE_EPOCH_ID: str(epoch)}
            table.append(pa.Table.from_pylist(rows, schema=schema), snapshot_properties=stamp)
        snapshot = load_table(catalog, identifier).current_snapshot()
    assert snapshot is not None
    return int(snapshot.snapshot_id)


def rewrite_into_one_file(table: Table) -> None:
    """All rows in one new file, in a snapshot that streams skip, as a compaction or a correction makes it."""
    old = [task.file for task in table.scan().plan_files()]
    with table.transaction() as transaction:
        rows = table.scan().to_arrow()
        with transaction.update_snapshot().overwrite() as rewrite:
            for file in old:
                rewrite.delete_data_file(file)
            for file in _dataframe_to_data_files(transaction.table_metadata, rows, table.io, rewrite.commit_uuid):
                rewrite.append_data_file(file)


def names(paths: tuple[str, ...]) -> int:
    return len(set(paths))


def test_a_layer_is_compared_up_to_the_position_of_the_batch_that_its_snapshot_holds(settings: Settings) -> None:
    make_lake(settings)
    first = append(settings, BRONZE.identifier, [bronze_row(0)])
    second = append(settings, BRONZE.identifier, [bronze_row(1)])
    log_batch(settings, "silver", 3, {"snapshot_id": first, "position": 1})
    append(settings, SILVER.identifier, [silver_row("a")], epoch=3)
    log_batch(settings, "silver", 4, {"snapshot_id": second, "position": 1})  # committed, but not in silver's snapshot

    state = look(settings)
    assert state.silver.position == {"snapshot_id": first, "position": 1}
    assert names(state.silver.unread) == 1
    assert set(state.silver.unread) < set(state.plans["bronze"].paths)


def test_what_a_stream_has_still_to_read_is_known_after_a_compaction_too(settings: Settings) -> None:
    make_lake(settings)
    first = append(settings, BRONZE.identifier, [bronze_row(0)])
    append(settings, BRONZE.identifier, [bronze_row(1)])
    before = look(settings).plans["bronze"].paths
    log_batch(settings, "silver", 0, {"snapshot_id": first, "position": 1})
    with open_catalog(settings) as catalog:
        rewrite_into_one_file(load_table(catalog, BRONZE.identifier))

    state = look(settings)
    assert names(state.silver.unread) == 1
    assert set(state.silver.unread) < set(before)
    assert not set(state.silver.unread) & set(state.plans["bronze"].paths)


def test_a_stream_that_never_committed_has_read_nothing(settings: Settings) -> None:
    make_lake(settings, bronze=[bronze_row(0)])
    state = look(settings)
    assert (state.silver, state.gold, state.ends) == (Consumed(None), Consumed(None), {})


def test_bronzes_position_is_kafkas_next_offset_by_partition(settings: Settings) -> None:
    make_lake(settings)
    log_batch(settings, "bronze", 0, {settings.topic_events: {"0": 5, "1": 7}})
    append(settings, BRONZE.identifier, [bronze_row(0)], epoch=0)
    log_batch(settings, "bronze", 1, {settings.topic_events: {"0": 50, "1": 70}})
    assert look(settings).ends == {0: 5, 1: 7}, "batch 1 is not in the snapshot"
