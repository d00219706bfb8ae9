"""Other Iceberg tools change the tables while the streams are stopped: they go on or refuse by name; all is noticed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyiceberg.expressions import EqualTo
from pyiceberg.table import Table
from pyiceberg.types import StringType
from pyspark.sql import SparkSession
from stream_fixtures import ask, check, drain, send_events

from rtap_assets.config import Settings
from rtap_assets.contracts.offset_gaps import GapKind
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER, TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.offset_gaps import read_gaps
from rtap_assets.lake.table_changes import acknowledge_change, note_changes, read_changes
from rtap_assets.streaming.checkpoints.layers import open_layers
from rtap_assets.streaming.operations.maintenance import expire_when_due
from rtap_assets.streaming.operations.rebuild import rebuild_layer

COUNTED = "SELECT coalesce(sum(orders + refunds), 0)::BIGINT FROM gold WHERE epoch_us(window_start) % 300000000 = 0"


def table(settings: Settings, spec: TableSpec) -> Table:
    return load_table(open_catalog(settings), spec.identifier)


def counts(settings: Settings) -> list[Any]:
    return [ask(settings, f"SELECT count(*) FROM {layer}")[0][0] for layer in ("bronze", "silver")] + [
        ask(settings, COUNTED)[0][0]
    ]


def refused(session: SparkSession, settings: Settings, stream: str, message: str) -> str:
    with pytest.raises(StreamError, match=message) as caught:
        drain(session, settings, stream)
    return caught.value.remedy


def test_rows_deleted_by_another_tool_stop_no_stream_and_are_noticed_and_named(
    spark: SparkSession, streams: Settings
) -> None:
    send_events(streams, events=60, invalid=0, delayed=0, duplicates=0, span_seconds=60)
    drain(spark, streams)
    with open_layers(spark, streams):
        assert read_changes(streams) == []
    assert counts(streams) == [60, 60, 60]

    # The rows of one account; some of their files hold other rows, too.
    account = ask(streams, "SELECT account_id FROM silver GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")[0][0]
    gone = ask(streams, f"SELECT count(*) FROM silver WHERE account_id = '{account}'")[0][0]
    for spec in (BRONZE, SILVER):
        spark.sql(f"DELETE FROM {streams.catalog_name}.{spec.identifier} WHERE account_id = '{account}'")
    send_events(streams, events=1, invalid=0, delayed=0, duplicates=0, span_seconds=1, seed=2)
    drain(spark, streams)
    assert counts(streams) == [61 - gone, 61 - gone, 61]  # gold still counts what it was not told of

    with open_layers(spark, streams):
        changes = read_changes(streams)
    assert [(one.table_name, one.operation, one.rows_deleted - one.rows_added) for one in changes] == [
        (spec.identifier, "overwrite", gone) for spec in (BRONZE, SILVER)
    ]
    assert {one.engine.split()[0] for one in changes} == {"spark"}
    # Those before a Kafka partition's first row are recorded, and lie outside of what conservation counts.
    assert sum(gap.records for gap in read_gaps(streams) if gap.kind == GapKind.REMOVED) == gone
    assert [check(streams, BRONZE, "conservation").detail[name] for name in ("missing", "repeated")] == ["0", "0"]
    result = check(streams, GOLD, "foreign_changes")
    assert (result.passed, result.rows_failed, result.detail["newest"]) == (False, 2, changes[1].sentence)
    # The way on: gold is built anew from silver as it is now, and agrees again.
    rebuild_layer(spark, streams, "gold")
    assert counts(streams) == [61 - gone, 61 - gone, 61 - gone]
    assert check(streams, GOLD, "gold_equals_silver").passed
    for change in changes:
        acknowledge_change(streams, change.change_id, now=datetime.now(UTC))
    assert check(streams, GOLD, "foreign_changes").passed

    # All that bronze holds, with PyIceberg; and rows that were added to silver, which the stream of gold counts.
    table(streams, BRONZE).delete(EqualTo("topic", streams.topic_events))
    rows = table(streams, SILVER).scan().to_arrow().slice(0, 3)
    again = [f"again-{number}" for number in range(3)]
    rows = rows.set_column(rows.schema.get_field_index("event_id"), "event_id", [again])
    spark.createDataFrame(rows).writeTo(f"{streams.catalog_name}.{SILVER.identifier}").append()
    send_events(streams, events=2, invalid=0, delayed=0, duplicates=0, span_seconds=1, seed=4)
    drain(spark, streams)
    assert counts(streams) == [2, 61 - gone + 5, 61 - gone + 5]
    short = streams.model_copy(update={"snapshot_retention_seconds": 0, "snapshots_to_keep": 1, "snapshot_expiry_batch": 1})
    for spec in (BRONZE, SILVER):
        assert expire_when_due(spark, short, spec, lambda: datetime.now(UTC) + timedelta(hours=2)).expired > 0
    newest = [(one.table_name, one.operation, one.rows_added, one.rows_deleted) for one in read_changes(streams)[2:]]
    assert newest == [
        (BRONZE.identifier, "overwrite", 0, 61 - gone),
        (SILVER.identifier, "append", 3, 0),
    ]


def test_columns_and_partitioning_changed_by_another_tool_are_refused_by_name_and_an_added_column_is_not(
    spark: SparkSession, streams: Settings
) -> None:
    send_events(streams, events=50, invalid=0, delayed=0, duplicates=0, span_seconds=60)
    drain(spark, streams)

    # Columns that the platform does not know, in every table.
    for spec in (BRONZE, SILVER, GOLD):
        with table(streams, spec).update_schema() as update:
            update.add_column("note", StringType())
    send_events(streams, events=10, invalid=0, delayed=0, duplicates=0, span_seconds=60, seed=2)
    drain(spark, streams)
    assert counts(streams) == [60, 60, 60]
    assert len(note_changes(streams, now=datetime.now(UTC))) == 3

    with table(streams, SILVER).update_schema() as update:
        update.rename_column("region", "area")
    with open_layers(spark, streams):  # adds no second column of that name
        remedy = refused(spark, streams, "silver", r"silver\.sales_events was .*: column region was renamed to area")
        refused(spark, streams, "gold", "column region was renamed to area")
        drain(spark, streams, "bronze", "dlq")
    assert "rename the column back" in remedy
    assert "`rtap rebuild silver`" in remedy
    with table(streams, SILVER).update_schema() as update:
        update.rename_column("area", "region")

    with table(streams, BRONZE).update_schema() as update:
        update.delete_column("currency")
    with open_layers(spark, streams):
        remedy = refused(spark, streams, "bronze", r"bronze\.sales_events was .*: column currency was dropped")
        refused(spark, streams, "dlq", "column currency was dropped")
    assert "put it back from its backup" in remedy

    spark.sql(f"ALTER TABLE {streams.catalog_name}.{GOLD.identifier} DROP PARTITION FIELD days(window_start)")
    remedy = refused(spark, streams, "gold", r"gold\.revenue_5m was .* no longer by day\(window_start\)")
    assert "`rtap rebuild gold`" in remedy
    spark.sql(f"ALTER TABLE {streams.catalog_name}.{GOLD.identifier} ADD PARTITION FIELD days(window_start)")
    drain(spark, streams, "gold")

    # A window that gold holds twice cannot be added to.
    gold = f"{streams.catalog_name}.{GOLD.identifier}"
    spark.sql(f"INSERT INTO {gold} SELECT * FROM {gold}")
    silver = table(streams, SILVER).scan().to_arrow().slice(0, 5)
    spark.createDataFrame(silver).writeTo(f"{streams.catalog_name}.{SILVER.identifier}").append()
    remedy = refused(spark, streams, "gold", r"gold\.revenue_5m holds a window twice")
    assert "`rtap rebuild gold`" in remedy

    # Rolled back under its reader.
    first = next(one.snapshot_id for one in table(streams, SILVER).snapshots())
    spark.sql(f"CALL {streams.catalog_name}.system.rollback_to_snapshot('{SILVER.identifier}', {first})").collect()
    refused(spark, streams, "gold", r"stands at snapshot \d+, from which silver\.sales_events was rolled back")
    last = {(one.table_name, one.operation) for one in note_changes(streams, now=datetime.now(UTC))}
    assert last == {(SILVER.identifier, "rollback"), (GOLD.identifier, "append")}
