"""A checkpoint that does not belong to its tables is refused by name, over a small lake. Without Spark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from lake_fixtures import NOON, bronze_row, make_lake, silver_row
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.tables import BRONZE, SILVER, TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import NATIVE_EPOCH_ID, NATIVE_QUERY_ID
from rtap_assets.streaming.queries.bindings import verify_binding, verify_in_place
from rtap_assets.streaming.queries.definitions import STREAMS

SILVER_STREAM, GOLD_STREAM = STREAMS["silver"], STREAMS["gold"]
QUERY, NEWEST_BATCH = "query-1", 3


def table_of(settings: Settings, spec: TableSpec) -> Table:
    with open_catalog(settings) as catalog:
        return load_table(catalog, spec.identifier)


def plan(checkpoint: Path, batch_id: int, position: dict[str, object], *, committed: bool = True) -> None:
    details = {"batchWatermarkMs": 0, "batchTimestampMs": round(NOON.timestamp() * 1000)}
    for log in ("offsets", "commits") if committed else ("offsets",):
        path = checkpoint / log / str(batch_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["v1", json.dumps(details), json.dumps(position)]))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lake in which silver has read all of bronze, with the checkpoint of the query that did."""
    own = load_settings(state_dir=tmp_path / ".rtap")
    own.lake_dir.mkdir(parents=True)
    make_lake(own, bronze=[bronze_row(0)])
    table = table_of(own, SILVER)
    rows = pa.Table.from_pylist([silver_row("event-1")], schema_to_pyarrow(table.schema(), include_field_ids=False))
    table.append(rows, snapshot_properties={NATIVE_QUERY_ID: QUERY, NATIVE_EPOCH_ID: str(NEWEST_BATCH)})
    checkpoint = SILVER_STREAM.checkpoint(own)
    checkpoint.mkdir(parents=True)
    (checkpoint / "metadata").write_text(json.dumps({"id": QUERY}))
    snapshot = table_of(own, BRONZE).current_snapshot()
    assert snapshot is not None
    plan(checkpoint, NEWEST_BATCH, {"snapshot_id": snapshot.snapshot_id, "position": 1})
    return own


def test_a_checkpoint_at_the_batch_of_its_table_passes(settings: Settings) -> None:
    verify_binding(settings, SILVER_STREAM)
    verify_in_place(settings, SILVER_STREAM, QUERY)


def test_a_batch_that_is_in_the_table_and_not_yet_in_the_log_of_commits_passes(settings: Settings) -> None:
    (SILVER_STREAM.checkpoint(settings) / "commits" / str(NEWEST_BATCH)).unlink()
    verify_binding(settings, SILVER_STREAM)


def removed(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)


def foreign(checkpoint: Path) -> None:
    (checkpoint / "metadata").write_text('{"id": "query-2"}')


def rolled_back(checkpoint: Path) -> None:
    for log in ("offsets", "commits"):
        (checkpoint / log / str(NEWEST_BATCH)).rename(checkpoint / log / str(NEWEST_BATCH - 1))


def ahead(checkpoint: Path) -> None:
    for log in ("offsets", "commits"):
        shutil.copy(checkpoint / log / str(NEWEST_BATCH), checkpoint / log / str(NEWEST_BATCH + 1))


def past_its_source(checkpoint: Path) -> None:
    plan(checkpoint, NEWEST_BATCH, {"snapshot_id": 99, "position": 1})


@pytest.mark.parametrize(
    "damage, message",
    [
        (removed, "is missing: silver.sales_events has batch 3 of query query-1"),
        (foreign, "belongs to query query-2: silver.sales_events has batch 3 of query query-1"),
        (rolled_back, "ends at batch 2: silver.sales_events has batch 3"),
        (ahead, "has committed batch 4: silver.sales_events has batch 3 of query query-1, so it was rolled back"),
        (past_its_source, "stands at snapshot 99, which bronze.sales_events no longer has"),
    ],
)
def test_a_checkpoint_that_is_not_its_tables_is_refused_with_what_to_do(
    settings: Settings, damage: Callable[[Path], None], message: str
) -> None:
    damage(SILVER_STREAM.checkpoint(settings))
    with pytest.raises(StreamError, match=message) as caught:
        verify_binding(settings, SILVER_STREAM)
    assert "`rtap rebuild silver`" in caught.value.remedy


def test_a_table_from_which_another_tool_dropped_a_column_is_refused(settings: Settings) -> None:
    with table_of(settings, SILVER).update_schema() as change:
        change.delete_column("region")
    with pytest.raises(StreamError, match=r"silver\.sales_events was changed by another tool: column region was dropped"):
        verify_binding(settings, SILVER_STREAM)


def test_a_state_in_the_checkpoint_of_a_stream_that_keeps_none_is_refused(settings: Settings) -> None:
    (GOLD_STREAM.checkpoint(settings) / "state").mkdir(parents=True)
    with pytest.raises(StreamError, match="written by an earlier version, which kept a state in it") as caught:
        verify_binding(settings, GOLD_STREAM)
    assert "`rtap rebuild gold`" in caught.value.remedy


@pytest.mark.parametrize("damage, message", [(removed, "is missing"), (foreign, "belongs to query query-2")])
def test_a_checkpoint_that_is_changed_under_a_running_query_is_noticed(
    settings: Settings, damage: Callable[[Path], None], message: str
) -> None:
    damage(SILVER_STREAM.checkpoint(settings))
    with pytest.raises(StreamError, match=f"{message}.* changed under the running query {QUERY}"):
        verify_in_place(settings, SILVER_STREAM, QUERY)
